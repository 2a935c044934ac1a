"""Trials and refits on little data: paired starts, nothing read that is sealed, and what tiny data does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frostline.base import memory
from frostline.base.errors import RecipeError, TrialError
from frostline.cutting.outputs import flat_logits
from frostline.features import extract
from frostline.planning.choose import check_applicable
from frostline.recipe.recipe import BatchNorm
from frostline.recipe.schedule import FIRST_STEPS
from frostline.recipe.settings import Settings
from frostline.train.refit import TunedValues, network_with_head, refit
from frostline.train.solve import L2_PATH
from frostline.train.start import start_network
from frostline.train.study import Study
from frostline.train.trial import run_trial, solve_head, training_set
from helpers.train_studies import Net, block, recipe, study, trial

EVERY = ("baseline", "probe", "probe@2", "freeze@2", "finetune", "scratch")


@pytest.mark.parametrize("name", EVERY)
def test_every_strategy_predicts_each_held_row_with_probabilities(name: str) -> None:
    made = study(3 * 6, classes=3)
    outcome = run_trial(made, trial(made, name, held=6))
    assert outcome.ok
    assert outcome.rows == tuple(range(12, 18))
    assert np.array(outcome.probabilities).shape == (6, 3)
    assert np.array(outcome.probabilities).sum(axis=1) == pytest.approx(np.ones(6))
    assert (outcome.strategy, outcome.key.split("/")[0]) == (name, "block")
    json.dumps(outcome.log_loss, allow_nan=False)


def test_starts_are_paired_whatever_the_strategy() -> None:
    made = study()
    networks = {name: start_network(made, recipe(made, name), 3) for name in ("freeze@1", "finetune", "scratch")}
    for network in networks.values():
        assert not network.get_parameter("fc.weight").any()  # a zero head: no luck of a draw
    pretrained = made.trunk.model.get_parameter("a.0.weight")
    assert torch.equal(networks["finetune"].get_parameter("a.0.weight"), pretrained)
    assert not torch.equal(networks["scratch"].get_parameter("a.0.weight"), pretrained)
    again, other = start_network(made, recipe(made, "scratch"), 3), start_network(made, recipe(made, "scratch"), 4)
    first = networks["scratch"].get_parameter("a.0.weight")
    assert torch.equal(again.get_parameter("a.0.weight"), first)
    assert not torch.equal(other.get_parameter("a.0.weight"), first)


def test_trials_leave_the_trunk_as_it_was() -> None:
    made = study()
    before = {k: v.clone() for k, v in made.trunk.model.state_dict().items()}
    for name in ("finetune", "freeze@1", "scratch"):
        run_trial(made, trial(made, name))
    assert all(torch.equal(v, before[k]) for k, v in made.trunk.model.state_dict().items())


def test_features_hold_development_rows_only() -> None:
    made = study(14)
    assert len(made.features.source) == 14
    assert {s.part for s in made.dataset.samples} == {"development", "sealed"}
    assert made.features.source.samples == [made.dataset.samples[i].sha256 for i in range(14)]


def test_penalty_and_head_never_see_the_held_rows() -> None:
    made = study(14)
    chosen = trial(made, "probe")
    rows = np.asarray(chosen.train)
    first = solve_head(made, chosen.recipe, rows, block=0)
    labels = made.dataset.labels.copy()
    turned = replace(
        made.dataset,
        samples=tuple(
            replace(s, label=1 - s.label) if i in chosen.validation else s for i, s in enumerate(made.dataset.samples)
        ),
    )
    second = solve_head(replace(made, dataset=turned), chosen.recipe, rows, block=0)
    assert not np.array_equal(turned.labels, labels)
    assert first.l2 == second.l2
    assert np.array_equal(first.weight, second.weight)


def test_solved_heads_are_fitted_on_all_their_views() -> None:
    made = study(14, epochs=None)
    chosen = trial(made, "probe")
    x, y = training_set(made, chosen.recipe.keep, np.array([0, 3]))
    assert made.solved_views() == (1, 2, 3, 4, 5, 6)
    assert x.shape == (12, 8)
    assert y.tolist() == [0, 1] * 6
    assert np.array_equal(x[2:4], made.features.pooled(4, 2).numpy()[[0, 3]])


@pytest.mark.parametrize("name", ["probe", "lp-ft"])
def test_little_memory_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(14)
    expected = run_trial(made, trial(made, name))
    monkeypatch.setattr(memory, "PAGES", 0)  # so that every array lies in a file
    made = study(14, max_memory="1KB")
    assert made.memory == made.features.memory == 1024
    actual = run_trial(made, trial(made, name))
    assert actual.probabilities == expected.probabilities


@pytest.mark.parametrize("name", ["probe", "probe@2"])
def test_the_refitted_network_answers_as_the_solved_head(name: str) -> None:
    made = study(14)
    chosen = trial(made, name)
    head = solve_head(made, chosen.recipe, made.development, block=-1)
    network = network_with_head(made, chosen.recipe, head)
    rows = torch.arange(14)
    with torch.inference_mode():
        scores = flat_logits(network(made.features.inputs(rows, 0)))
    expected = head.logits(made.features.pooled(chosen.recipe.keep, 0).numpy())
    assert np.abs(scores.numpy() - expected).max() < 1e-4 * (1 + np.abs(expected).max())
    assert head.l2 in L2_PATH


@pytest.mark.parametrize("policy", [None, "statistics", "all"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_numbers_with_a_store_without_one_and_with_nothing_stored(
    policy: BatchNorm | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results(store: Path | None) -> list[object]:
        made = study(14, store=store, precision=precision)  # 10 rows to train on in fours: the last batch is partial
        names = ("probe@2", "freeze@2", "finetune")
        return [run_trial(made, trial(made, name, batchnorm=policy)).probabilities for name in names]

    expected = results(tmp_path / "a")
    assert results(None) == expected
    assert results(tmp_path / "a") == expected  # read from disk
    monkeypatch.setattr(extract, "RAW_VIEWS", 0)  # no raw activation is small enough any more
    assert results(tmp_path / "b") == expected


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_larger_than_the_data_is_one_batch(rows: int) -> None:
    made = study(4 + rows, batch_size=64, epochs=1)
    outcome = run_trial(made, trial(made, "freeze@3"))
    assert outcome.ok
    assert outcome.steps == 1


def test_a_class_absent_from_the_training_rows_gives_no_nan() -> None:
    made = study(12)
    for name in EVERY:
        chosen = trial(made, name)
        zeros = tuple(i for i in range(12) if i % 2 == 0)
        outcome = run_trial(made, replace(chosen, train=zeros[:4], validation=(1, 3, 4)))
        assert outcome.ok, outcome.error
        assert np.isfinite(np.array(outcome.probabilities)).all()


def test_refit_reads_every_development_row_for_the_given_length() -> None:
    made = study(14, epochs=None)
    fitted = refit(made, trial(made, "freeze@3").recipe, TunedValues(rate=1e-3, steps=30))
    assert (fitted.steps, fitted.epochs) == (30, 30 / 4)
    assert fitted.audit.frozen_unchanged == fitted.audit.frozen_tensors > 0


def test_refit_without_a_length_takes_the_first_that_candidates_have() -> None:
    made = study(14, epochs=None)
    assert refit(made, trial(made, "freeze@3").recipe, TunedValues(rate=1e-3)).steps == FIRST_STEPS


def test_refit_that_ends_worse_than_guessing_is_refused() -> None:
    made = study(14, epochs=30)
    with pytest.raises(TrialError, match=r"The loss is .* after 40 steps"):
        refit(made, trial(made, "finetune").recipe, TunedValues(rate=100.0))


def rows_of(name: str, made: Study | None = None) -> dict[str, dict[str, Any]]:
    made = made or study(14)
    chosen = trial(made, name)
    return {row["tensor"]: row for row in refit(made, chosen.recipe, TunedValues(rate=1e-3)).ledger}


def test_ledger_says_what_happened_to_each_tensor() -> None:
    rows = rows_of("freeze@3")
    frozen, trained, head = rows["a.0.weight"], rows["d.0.weight"], rows["fc.weight"]
    assert (frozen["stage"], frozen["origin"], frozen["distance"]) == (1, "pretrained", 0.0)
    assert frozen["sha256_before"] == frozen["sha256_after"]
    assert (trained["stage"], trained["origin"]) == (4, "pretrained")
    assert trained["distance"] > 0
    assert trained["phases"] == [
        {"phase": "train", "trained": True, "how": "adamw", "rate": 1e-3, "weight_decay": 1e-4, "batchnorm": "frozen"}
    ]
    assert (head["stage"], head["origin"], head["phases"][0]["rate"]) == ("head", "new", pytest.approx(1e-2))
    assert set(rows) == {n for n, _ in (*Net().named_parameters(), *Net().named_buffers())}


def test_ledger_of_a_cut_network_lists_nothing_that_was_thrown_away() -> None:
    names = set(rows_of("probe@2"))
    assert {"head.weight", "head.bias", "base.a.0.weight", "base.b.0.weight"} <= names
    assert not {n for n in names if n.startswith(("base.c", "base.d", "base.fc"))}


class NormInHead(Net):
    """As ConvNeXt: a pre-trained layer of the last stage lies under the name `head`, beside the classifier."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.d(self.c(self.b(self.a(x))))
        scores: torch.Tensor = self.head(self.pool(x).flatten(1))
        return scores


class Based(nn.Module):
    """A network whose own trunk is called `base`."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(block(3, 4, 2), block(4, 6, 2))
        self.pool, self.out = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.out(self.pool(self.base(x)).flatten(1))
        return scores


@pytest.mark.parametrize(("make", "tensor"), [(NormInHead, "head.0.weight"), (Based, "base.0.0.weight")])
def test_ledger_knows_its_own_names_from_the_networks(make: type[nn.Module], tensor: str) -> None:
    row = rows_of("probe", study(14, make=make))[tensor]
    assert row["origin"] == "pretrained"
    assert row["stage"] in (1, 2, 3, 4)
    assert row["phases"][0]["trained"] is False


class LateInput(Net):
    """A late stage reads the raw input once more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c(self.b(self.a(x)))
        y = self.d(y + nn.functional.adaptive_avg_pool2d(x, y.shape[-1]).mean(1, keepdim=True))
        scores: torch.Tensor = self.fc(self.pool(y).flatten(1))
        return scores


def test_a_suffix_that_reads_the_input_too_is_trained_or_its_cut_isnt_offered() -> None:
    made = study(14, make=LateInput)
    try:
        chosen = trial(made, "freeze@2")
    except RecipeError:
        return
    assert run_trial(made, chosen).ok


@pytest.mark.parametrize(
    ("changed", "names", "message"),
    [
        ({"lr": 1e-3}, ("probe", "baseline"), "--lr doesn't apply"),
        ({"batchnorm": "all"}, ("probe",), "--batchnorm doesn't apply: no strategy here trains a stage"),
        ({}, ("baseline",), "can't run alone"),
    ],
)
def test_options_that_would_change_nothing_are_refused(
    changed: dict[str, object], names: tuple[str, ...], message: str
) -> None:
    made = study()
    settings = Settings(data=Path("x"), model="torch:x.py:net", **changed)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=message):
        check_applicable(settings, [recipe(made, n) for n in names], made.trunk.model, made.stages)


@pytest.mark.parametrize("name", ["probe", "baseline", "freeze@2", "wise-ft"])
@pytest.mark.parametrize("epochs", [1, None])
def test_a_trial_of_the_learning_curve_is_a_block_trial_on_its_rows(name: str, epochs: int | None) -> None:
    made = replace(study(rows=16), epochs=epochs)
    block = trial(made, name)
    fewer = replace(block, train=block.train[:8])
    curve = replace(fewer, purpose="curve")
    assert curve.key == block.key.replace("block/", "curve/") + "/8"
    actual, expected = run_trial(made, curve), run_trial(made, fewer)
    same = ("rows", "probabilities", "accuracy", "log_loss", "steps", "epochs", "l2", "mix", "audit", "error")
    assert [getattr(actual, key) for key in same] == [getattr(expected, key) for key in same]
    assert (actual.mix is not None) == (name == "wise-ft")
    assert actual.purpose == "curve"
