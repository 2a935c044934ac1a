"""A study of texts of different lengths: what is stored, what a step computes, what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from cases.hf_folders import write_sentences, write_text_network
from frostline.base.clock import Clock
from frostline.base.events import silent
from frostline.data.split import make_blocks
from frostline.data.texts import TextPreprocess
from frostline.features import extract
from frostline.features.extract import Features
from frostline.forecast.forecast import forecast
from frostline.forecast.groups import group_parameters
from frostline.forecast.question import Question
from frostline.forecast.tangent import read_tangent
from frostline.pipeline import prepare
from frostline.planning.plan_race import counted_stages
from frostline.recipe.recipe import Phase
from frostline.recipe.schedule import Length
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.record.journal import Journal
from frostline.train.feed import Reader, reader
from frostline.train.loop import Job, Stepper
from frostline.train.study import Study

MakeStudy = Callable[[str], Study]


@pytest.fixture(scope="module")
def make_study(tmp_path_factory: pytest.TempPathFactory) -> MakeStudy:
    """A study on short sentences and a few long ones; its argument is --store."""
    root = tmp_path_factory.mktemp("texts")
    sentences = write_sentences(root / "sentences.csv", long=True)
    folder = write_text_network(root / "net", positions=80)

    def make(store: str) -> Study:
        settings = Settings(
            data=sentences,
            model=f"hf:{folder}",
            strategies=("probe", "freeze@1", "finetune"),
            epochs=1,
            blocks=1,
            threads=1,
            store=Path(store) if store != "off" else store,  # type: ignore[arg-type]
        )
        return prepare(settings, None, Clock(), Journal(silent)).study

    return make


@pytest.fixture(scope="module")
def unstored(make_study: MakeStudy) -> Study:
    return make_study("off")


def all_rows(study: Study) -> torch.Tensor:
    return torch.arange(len(study.development))


def padded(study: Study) -> Study:
    """The same study whose network reads every text at the longest length."""
    contract = study.network.preprocess
    assert isinstance(contract, TextPreprocess)
    source = replace(study.features.source, preprocess=replace(contract, lengths=()))
    return replace(study, features=Features(source=source, trunk=study.trunk, store=None))


def test_raw_activations_are_stored_without_padding_and_equal_recomputed_ones(
    make_study: MakeStudy, unstored: Study, tmp_path: Path
) -> None:
    stored = make_study(str(tmp_path / "store"))
    assert stored.features.raw == {1}
    stored.features.prepare(0)
    groups = stored.features.groups(all_rows(stored))
    assert len(groups) >= 3
    read = reader(unstored, unstored.trunk.model, 1)
    for group in groups:
        rows = all_rows(stored)[group.places].flip(0)
        found = stored.features.activations(1, rows, 0)
        assert found.shape[:2] == (len(rows), group.length)
        assert torch.equal(found, read.feed(rows, 0).activation)


def test_pooled_features_are_one_array_in_the_samples_order(
    make_study: MakeStudy, unstored: Study, tmp_path: Path
) -> None:
    stored = make_study(str(tmp_path / "store"))
    last = len(stored.stages)
    found = stored.features.plain(last)
    assert torch.equal(found, unstored.features.plain(last))
    assert torch.allclose(found, padded(unstored).features.plain(last), atol=1e-5)


def test_bytes_to_store_are_counted_at_the_mean_length(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = make_study(str(tmp_path / "store"))
    features = stored.features
    features.prepare(0)
    used = 0
    for group in features.groups(all_rows(stored)):
        used += features.activations(1, all_rows(stored)[group.places], 0).nbytes
    for cap, wanted in ((2 * used + 10, {1}), (2 * used - 10, set())):  # an evaluation view and a training view
        monkeypatch.setattr(extract, "RAW_CAP", cap)
        features.want(raw=[1], pooled=[], views=1, pooled_views=[])
        assert features.raw == wanted


def test_a_step_over_several_lengths_has_the_loss_and_gradients_of_a_padded_one(unstored: Study) -> None:
    batch = unstored.development[:12]
    losses = []
    gradients = []
    for study in (unstored, padded(unstored)):
        model = study.network.build(0).eval()
        model.load_state_dict(study.trunk.model.state_dict())
        head = model.get_submodule(study.stages.head.path)
        assert isinstance(head, torch.nn.Linear)
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
        model.requires_grad_(True)
        nothing = np.zeros(0, dtype=np.int64)
        phase = Phase(name="train", solver="stepped", stages=(), head=None)  # type: ignore[arg-type]
        job = Job(phase=phase, rate=0.0, rows=nothing, length=Length(20), block=0)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
        stepper = Stepper(study, reader(study, model, 0), job, optimiser, anchors=(), class_weights=None)
        losses.append(stepper.step(batch, 0))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5, rtol=1e-3), name


def test_every_row_of_a_step_meets_its_own_target(unstored: Study) -> None:
    """A network whose scores are the sample's own class has a loss of 0, whatever the order of lengths."""
    labels = torch.from_numpy(unstored.dataset.labels[unstored.development])
    weight = torch.nn.Parameter(torch.tensor(50.0))

    def scores(rows: torch.Tensor) -> torch.Tensor:
        return weight * torch.nn.functional.one_hot(labels[rows], unstored.classes)

    read = Reader(lambda rows, _view: rows, scores)
    nothing = np.zeros(0, dtype=np.int64)
    phase = Phase(name="train", solver="stepped", stages=(), head=None)  # type: ignore[arg-type]
    job = Job(phase=phase, rate=0.0, rows=nothing, length=Length(20), block=0)
    optimiser = torch.optim.SGD([weight], lr=0.0)
    stepper = Stepper(unstored, read, job, optimiser, anchors=(), class_weights=None)
    order = np.random.default_rng(1).permutation(unstored.development)
    assert stepper.step(order, 0) < 1e-12


def test_gradients_of_single_texts_come_in_their_order_and_are_those_of_padded_ones(unstored: Study) -> None:
    recipe = make_recipe("finetune", unstored.stages.stages)
    found = []
    for study in (unstored, padded(unstored)):
        groups = group_parameters(study.trunk.model, study.stages, [recipe])
        tangent = read_tangent(study.features, groups.members, np.arange(len(study.development)))
        assert all(name.endswith("key.bias") for name in tangent.missing)  # its gradient is nothing but rounding
        found.append(tangent.sketches)
    apart = (found[0] - found[1]).norm(dim=1) / found[1].norm(dim=1)
    assert float(apart.max()) < 1e-2
    assert float((found[1][0] - found[1][1]).norm()) > 0.1 * float(found[1][0].norm())  # or it would say nothing


def test_operations_are_counted_at_the_mean_length(unstored: Study) -> None:
    source = unstored.features.source
    contract = source.preprocess
    assert source.lengths is not None
    assert isinstance(contract, TextPreprocess)
    share = source.lengths.mean() / contract.length
    assert 0.2 < share < 0.8
    counted = counted_stages(unstored)
    assert [s.operations for s in counted] == pytest.approx([share * s.operations for s in unstored.stages.stages])
    assert counted_stages(padded(unstored)) == unstored.stages.stages


def test_what_is_computed_is_part_of_the_fingerprint(unstored: Study) -> None:
    from frostline.planning.prepare import make_trunk

    contract = unstored.network.preprocess
    assert isinstance(contract, TextPreprocess)
    other = replace(unstored.network, preprocess=replace(contract, lengths=()))
    settings = Settings(data=Path("x"), model="hf:x", threads=1)
    made = make_trunk(settings, other, unstored.trunk.model, unstored.stages, len(unstored.development))
    assert made.fingerprint != unstored.trunk.fingerprint
    assert padded(unstored).features.source.key(0) != unstored.features.source.key(0)


def test_texts_of_several_lengths_are_forecast_by_steps_and_a_rerun_gives_the_same_bits(unstored: Study) -> None:
    rows = unstored.development
    asked = Question(
        dataset=unstored.dataset,
        features=unstored.features,
        development=rows,
        blocks=make_blocks(unstored.dataset, count=2, seed=0),
        recipes=[make_recipe(name, unstored.stages.stages) for name in ("probe", "freeze@1", "finetune", "bias")],
        seed=0,
    )
    first, again = forecast(asked), forecast(asked)
    assert not first.missing
    assert not first.left_out
    assert [o.probabilities for o in first.outcomes] == [o.probabilities for o in again.outcomes]
    answers = {o.strategy: o.probabilities for o in first.outcomes if o.block == 0}
    assert len(set(answers.values())) == 4  # every part of the change does something of its own
