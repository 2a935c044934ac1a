"""Arms on one world: what runs, what is kept on disk, what is judged, and what labels say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.adapt.arms import run_arm
from frostline.adapt.judge import ArmResult, Found, mark_arms, open_labels, reference, source_shares
from frostline.adapt.kept import KeptArms
from frostline.adapt.labelled import adapt_by_labels, label_folds
from frostline.adapt.study import adapt_world
from frostline.adapt.world import Adapted, World
from frostline.base.errors import DataError
from frostline.base.events import Event, ProgressEvent
from frostline.train.start import tensors_by_name
from helpers.adapt_worlds import world


@pytest.fixture(scope="module")
def made() -> World:
    return world(60, target_rows=40)


def same(a: Adapted, b: Adapted) -> bool:
    arrays = ("target", "held", "target_features", "held_features", "prior")
    for name in arrays:
        first, second = getattr(a, name), getattr(b, name)
        if (first is None) != (second is None) or (first is not None and not np.array_equal(first, second)):
            return False
    if (a.model is None) != (b.model is None):
        return False
    if a.model is not None and b.model is not None:
        after = tensors_by_name(b.model)
        if not all(torch.equal(tensor, after[name]) for name, tensor in tensors_by_name(a.model).items()):
            return False
    facts = ("arm", "recipe", "steps", "rate", "curve", "audit", "ledger", "seconds")
    return all(getattr(a, name) == getattr(b, name) for name in facts)


@pytest.mark.parametrize("name", ["as-is", "em", "adabn", "coral"])
def test_a_kept_arm_is_the_arm_bit_for_bit(name: str, made: World, tmp_path: Path) -> None:
    kept = KeptArms(tmp_path)
    assert kept.load(name, made) is None
    adapted = run_arm(made, name)
    kept.save(adapted)
    found = kept.load(name, made)
    assert found is not None
    assert same(adapted, found)
    if found.model is not None:
        assert not found.model.training


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_a_damaged_file_counts_as_not_finished(ending: str, made: World, tmp_path: Path) -> None:
    kept = KeptArms(tmp_path)
    kept.save(run_arm(made, "adabn"))
    (file,) = tmp_path.glob(f"*{ending}")
    file.write_bytes(file.read_bytes()[:-9])
    assert kept.load("adabn", made) is None


def test_the_situation_says_what_runs(made: World) -> None:
    arms = ("em", "adabn")
    none = adapt_world(made, arms, Found(situation="none-shown"))
    assert [one.reason for one in none.arms] == [None, "no shift is shown", "no shift is shown"]
    assert (none.choice.arm, none.choice.reason) == ("as-is", "No adaptation: no shift is shown.")
    label = {one.arm: one for one in adapt_world(made, arms, Found(situation="label", covariate_left=False)).arms}
    assert label["em"].adapted is not None
    assert label["adabn"].reason is not None
    everything = adapt_world(made, arms, Found(situation="none-shown"), all_run=True)
    assert all(one.adapted is not None for one in everything.arms)
    assert everything.choice.arm == "as-is"


def test_a_few_target_samples_are_left_alone() -> None:
    study = adapt_world(world(target_rows=19), ("adabn",), Found(situation="covariate"))
    assert study.choice.reason == "No adaptation: 19 target samples are too few to show anything (at least 20)."
    assert study.arms[0].adapted is not None
    assert study.arms[1].adapted is None


def test_finished_arms_are_not_repeated_and_progress_ends(made: World, tmp_path: Path) -> None:
    told: list[Event] = []
    first = adapt_world(made, ("adabn", "entropy"), Found(), kept=KeptArms(tmp_path), emit=told.append)
    progress = [event for event in told if isinstance(event, ProgressEvent)]
    assert all(event.total == 3 and 0 <= event.done <= 3 for event in progress)
    assert [event.data["arm"] for event in told if event.kind == "adapted"] == ["as-is", "adabn", "entropy"]
    told.clear()
    again = adapt_world(made, ("adabn", "entropy"), Found(), kept=KeptArms(tmp_path), emit=told.append)
    assert not [event for event in told if event.kind == "adapted"]
    assert first.choice == again.choice
    assert [one.scores for one in first.arms] == [one.scores for one in again.arms]


def test_a_network_that_answers_one_class_is_told_apart(made: World) -> None:
    """It is the surest of all, and average confidence alone would take it for perfect."""
    as_is = replace(run_arm(made, "as-is"), target=np.eye(5)[np.arange(40) % 5] * 0.5 + 0.1)
    sure = np.tile(np.eye(5)[2] * 0.995 + 0.001, (40, 1))
    collapsed = replace(as_is, arm="entropy", target=sure)
    results = [ArmResult(arm="as-is", adapted=as_is), ArmResult(arm="entropy", adapted=collapsed)]
    marks = mark_arms(made, results, Found(situation="covariate"))[1].marks
    assert marks is not None
    assert marks.scores["atc"] == 1.0
    assert marks.unsuited.startswith("it collapses")


def test_a_network_that_forgets_is_told_apart(made: World) -> None:
    as_is = run_arm(made, "as-is")
    assert made.held is not None
    labels = made.held.dataset.labels
    knows = replace(as_is, held=np.eye(5)[labels] * 0.9 + 0.02)
    forgot = replace(as_is, arm="self-train", held=np.eye(5)[(labels + 1) % 5] * 0.9 + 0.02)
    results = [ArmResult(arm="as-is", adapted=knows), ArmResult(arm="self-train", adapted=forgot)]
    marks = mark_arms(made, results, Found(situation="covariate"))[1].marks
    assert marks is not None
    assert "it forgets: it loses 100 points" in marks.unsuited
    adabn = replace(forgot, arm="adabn")  # reads the source with the source's own statistics
    results = [ArmResult(arm="as-is", adapted=knows), ArmResult(arm="adabn", adapted=adabn)]
    marks = mark_arms(made, results, Found(situation="covariate"))[1].marks
    assert marks is not None
    assert marks.unsuited == ""


def test_without_held_samples_out_of_fold_predictions_judge_what_was_not_trained(made: World) -> None:
    bare = replace(made, source=None, held=None)
    found = reference(bare, run_arm(bare, "as-is"), prior=None)
    assert found is not None
    assert bare.outputs is not None
    assert found.probabilities is bare.outputs.probabilities
    assert reference(bare, run_arm(bare, "entropy"), prior=None) is None
    shares = source_shares(bare)
    assert shares is not None
    assert shares.sum() == pytest.approx(1)
    assert source_shares(replace(bare, outputs=None)) is None


def test_weights_of_a_reference_are_the_factors_of_its_labels(made: World) -> None:
    prior = np.array([2.0, 1.0, 1.0, 0.5, 0.5])
    found = reference(made, run_arm(made, "as-is"), prior=prior)
    assert found is not None
    assert found.weights is not None
    assert np.array_equal(found.weights, prior[found.labels])


def test_opened_labels_count_known_classes_alone(made: World) -> None:
    as_is = run_arm(made, "as-is")
    answers = as_is.target.argmax(axis=1)
    labels = np.where(np.arange(40) < 10, answers, -1)
    labels[20:30] = 7  # a class that the network doesn't have
    labels[30:] = (answers[30:] + 1) % 5
    opened = open_labels([ArmResult(arm="as-is", adapted=as_is)], labels, 5)
    assert opened["as-is"].accuracy == 0.5
    assert open_labels([ArmResult(arm="as-is", adapted=as_is)], np.full(40, -1), 5) == {}


def test_labels_decide_on_samples_that_an_arm_did_not_learn_the_labels_of(made: World) -> None:
    labelled = replace(made, labelled=np.arange(30))
    blocks = label_folds(labelled)
    for block in blocks:
        assert not set(block.train.tolist()) & set(block.validation.tolist())
    assert sorted(row for block in blocks for row in block.validation.tolist()) == list(range(30))
    found = adapt_by_labels(labelled, ("adabn", "surgical-last"))
    assert set(found.cross_validated) == {"as-is", "adabn", "surgical-last"}
    as_is = run_arm(labelled, "as-is")
    right = as_is.target[:30].argmax(axis=1) == labelled.target.dataset.labels[:30]
    shares = [right[block.validation].mean() for block in blocks]
    assert found.cross_validated["as-is"].accuracy == pytest.approx(np.mean(shares))
    assert found.choice.reason.startswith("By 30 labelled target samples: ")


def test_labels_of_one_class_choose_nothing(made: World) -> None:
    labels = made.target.dataset.labels
    with pytest.raises(DataError, match="are of one class"):
        label_folds(replace(made, labelled=np.flatnonzero(labels == 0)))
    with pytest.raises(DataError, match="no target sample has a label"):
        label_folds(replace(made, labelled=np.zeros(0, dtype=np.int64)))
