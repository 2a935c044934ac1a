"""The proof can fail: what a recipe calls frozen and changes all the same stops the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from frostline.base.errors import AuditError
from frostline.base.records import AuditCount
from frostline.cutting.split import run_to
from frostline.features import inference
from frostline.models.trainable import set_training
from frostline.recipe.recipe import Part
from frostline.train import loop
from frostline.train.audit import Promise, audit, promise, tensor_hashes
from frostline.train.refit import TunedValues, refit
from frostline.train.start import start_network
from frostline.train.trial import run_trial
from helpers.train_studies import Net, block, mapped, recipe, study, trial

BEFORE = {"stem.weight": "1", "stem.mean": "2", "fc.weight": "3"}


def test_counts_by_hand_and_updates_on_purpose_are_no_fault() -> None:
    promised = Promise(trained=frozenset({"fc.weight"}), updated=frozenset({"stem.mean"}))
    counted = audit(BEFORE, {**BEFORE, "fc.weight": "9", "stem.mean": "9"}, promised, ("x.bias",))
    assert counted == AuditCount(
        frozen_tensors=1,
        frozen_unchanged=1,
        moving_on_purpose=1,
        trained_tensors=1,
        trained_changed=1,
        no_gradient=("x.bias",),
    )


@pytest.mark.parametrize("after", [{**BEFORE, "stem.mean": "9"}, {"stem.weight": "1", "fc.weight": "3"}])
def test_a_frozen_tensor_that_changed_or_vanished_is_named(after: dict[str, str]) -> None:
    with pytest.raises(AuditError, match=r"1 tensors .* have changed: stem\.mean"):
        audit(BEFORE, after, Promise(frozenset({"fc.weight"}), frozenset()))


def test_a_trained_tensor_that_did_not_change_is_counted_not_refused() -> None:
    counted = audit(BEFORE, BEFORE, Promise(frozenset({"fc.weight"}), frozenset()))
    assert (counted.trained_tensors, counted.trained_changed) == (1, 0)


def test_counts_of_trials_add_up_and_name_each_tensor_without_gradient_once() -> None:
    one = AuditCount(frozen_tensors=2, frozen_unchanged=2, trained_tensors=1, no_gradient=("b", "a"))
    assert one + one == AuditCount(frozen_tensors=4, frozen_unchanged=4, trained_tensors=2, no_gradient=("a", "b"))


def test_snapshot_sees_a_single_bit_in_a_buffer_that_is_not_saved() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("table", torch.zeros(3), persistent=False)
    before = tensor_hashes(model)
    model.get_buffer("table")[1] = 1e-30
    assert {name for name, value in tensor_hashes(model).items() if value != before[name]} == {"table"}


def test_promise_of_a_frozen_depth_and_of_a_solved_head() -> None:
    made = study()
    stages = made.stages
    promised = promise(made.trunk.model, stages, recipe(made, "freeze@3"))
    # BatchNorm of a trained stage stays frozen by default
    assert promised == Promise(frozenset({"d.0.weight", "fc.weight", "fc.bias"}), frozenset())
    assert promise(made.trunk.model, stages, recipe(made, "probe")) == Promise(frozenset(), frozenset())


def test_statistics_policy_updates_on_purpose_what_it_says() -> None:
    made = study()
    outcome = run_trial(made, trial(made, "freeze@3", batchnorm="statistics"))
    assert outcome.ok
    assert outcome.audit.moving_on_purpose == 3  # mean, variance and counter of stage d's one BatchNorm
    assert outcome.audit.trained_tensors == 3
    tensors = len(tensor_hashes(made.trunk.model))
    assert outcome.audit.frozen_tensors == outcome.audit.frozen_unchanged == tensors - 6


def test_a_frozen_batchnorm_left_in_train_mode_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = study(), set_training

    def forgetful(model: nn.Module, *rest: Any) -> None:
        honest(model, *rest)
        model.get_submodule("b.1").train()  # stage b is frozen in freeze@2

    monkeypatch.setattr(loop, "set_training", forgetful)
    with pytest.raises(AuditError, match=r"b\.1\.(num_batches|running)"):
        run_trial(made, trial(made, "freeze@2"))


def test_a_batchnorm_of_a_trained_stage_left_in_train_mode_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = study(), set_training

    def forgetful(model: nn.Module, *rest: Any) -> None:
        honest(model, *rest)
        model.train()

    monkeypatch.setattr(loop, "set_training", forgetful)
    with pytest.raises(AuditError, match=r"12 tensors .* a\.1\."):
        run_trial(made, trial(made, "finetune"))


def test_a_frozen_weight_changed_by_the_optimiser_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = study(), loop.make_optimiser

    def greedy(study_: Any, model: nn.Module, names: dict[str, int], job: Any) -> torch.optim.Optimizer:
        weight = model.get_parameter("c.0.weight").requires_grad_(True)
        weight.grad = torch.ones_like(weight)
        optimiser = honest(study_, model, names, job)
        optimiser.add_param_group({"params": [weight], "lr": 0.1, "weight_decay": 0.0})
        optimiser.zero_grad = lambda **_: None  # type: ignore[method-assign]
        return optimiser

    monkeypatch.setattr(loop, "make_optimiser", greedy)
    with pytest.raises(AuditError, match=r"c\.0\.weight"):
        run_trial(made, trial(made, "freeze@3"))


def test_refit_is_audited_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = study(), set_training

    def forgetful(model: nn.Module, *rest: Any) -> None:
        honest(model, *rest)
        model.get_submodule("a.1").train()

    monkeypatch.setattr(loop, "set_training", forgetful)
    with pytest.raises(AuditError):
        refit(made, trial(made, "finetune").recipe, TunedValues(rate=1e-4))


def test_a_trunk_that_changes_while_features_are_computed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = study(), run_to

    def careless(model: nn.Module, *rest: Any) -> Any:
        model.get_submodule("a.1").train()
        try:
            return honest(model, *rest)
        finally:
            model.get_submodule("a.1").eval()

    monkeypatch.setattr(inference, "run_to", careless)
    probe = trial(made, "probe")
    try:
        for view in (0, *made.solved_views()):
            made.features.prepare(view)  # as fit does, before the race
        with pytest.raises(AuditError):
            run_trial(made, probe)
    finally:
        mapped.cache_clear()  # that network is spoilt


class Instance(Net):
    """Keeps running statistics that aren't BatchNorm's."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.InstanceNorm2d(8, track_running_stats=True), nn.ReLU())


def test_buffers_that_training_of_a_trained_stage_updates_are_no_broken_promise() -> None:
    made = study(make=Instance)
    outcome = run_trial(made, trial(made, "freeze@2"))
    assert outcome.ok
    assert outcome.audit.moving_on_purpose > 0


class Shared(nn.Module):
    """One weight read in two stages, on both sides of the cut between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = block(3, 6, 2), block(6, 6)
        self.d = block(6, 6)
        self.d[0].weight = self.c[0].weight
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.pool(self.d(self.c(self.a(x)))).flatten(1))
        return scores


def test_a_weight_on_both_sides_of_the_cut_stays_frozen_and_is_counted_once() -> None:
    made = study(make=Shared)
    outcome = run_trial(made, trial(made, "freeze@2"))
    assert outcome.audit.trained_tensors == 2  # the head's: the shared weight is read by frozen stage c
    assert "d.0.weight" not in tensor_hashes(start_network(made, recipe(made, "freeze@2"), 0))


def test_head_parts_are_what_the_recipe_trains() -> None:
    made = study()
    assert recipe(made, "freeze@3").phases[0].head == Part(trained=True, lr_factor=10.0, weight_decay=1e-4)
