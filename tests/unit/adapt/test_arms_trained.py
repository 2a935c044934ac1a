"""Trained arms: losses against formulas by hand, what moves and what doesn't, the same bits from the same seed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from frostline.adapt import companions, entropy, self_train, surgical, training
from frostline.adapt.arms import run_arm
from frostline.adapt.companions import coral_distance, reversal, reversed_gradient, run_dann, run_deep_coral
from frostline.adapt.reading import read_study
from frostline.adapt.self_train import surest
from frostline.adapt.surgical import thirds
from frostline.adapt.world import Adapted, World
from frostline.base.errors import TrialError
from frostline.base.events import silent
from frostline.base.seeds import derive_seed
from frostline.recipe.schedule import Length
from helpers.adapt_worlds import world

STEPS = 6


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (companions, entropy, self_train, surgical):
        monkeypatch.setattr(module, "STEPS", STEPS)


def moved(made: World, found: Adapted) -> set[str]:
    assert found.model is not None
    old = made.target.trunk.model.state_dict()
    return {name for name, tensor in found.model.state_dict().items() if not torch.equal(tensor, old[name])}


@pytest.mark.parametrize(("third", "stages"), [("first", "a"), ("middle", "bc"), ("last", "d")])
def test_surgical_moves_its_third_alone(third: str, stages: str) -> None:
    made = world()
    made = replace(made, labelled=made.target.development[:12])
    found = run_arm(made, f"surgical-{third}")
    assert moved(made, found) == {f"{stage}.0.weight" for stage in stages}
    assert found.steps == STEPS
    assert found.audit.trained_changed == len(stages)


def test_surgical_reads_no_other_label() -> None:
    made = world()
    few = replace(made, labelled=made.target.development[:12])
    data = made.target.dataset
    hidden = tuple(replace(s, label=-1) if i >= 12 else s for i, s in enumerate(data.samples))
    blind = replace(few, target=replace(made.target, dataset=replace(data, samples=hidden)))
    np.testing.assert_array_equal(run_arm(few, "surgical-last").target, run_arm(blind, "surgical-last").target)


def test_arms_without_labels_read_none() -> None:
    made = world()
    data = made.target.dataset
    hidden = tuple(replace(s, label=-1) for s in data.samples)
    blind = replace(made, target=replace(made.target, dataset=replace(data, samples=hidden)))
    for name in ("self-train", "deep-coral", "entropy", "reweight", "bbse"):
        np.testing.assert_array_equal(run_arm(made, name).target, run_arm(blind, name).target)


@pytest.mark.parametrize("count", range(3, 12))
def test_thirds_share_out_all_stages(count: int) -> None:
    parts = list(thirds(count).values())
    assert [stage for part in parts for stage in part] == list(range(1, count + 1))
    assert all(len(part) for part in parts)


def test_entropy_moves_normalisation_alone() -> None:
    made = world()
    found = run_arm(made, "entropy")
    names = moved(made, found)
    assert names == {f"{s}.1.{kind}" for s in "abcd" for kind in ("weight", "bias", "running_mean", "running_var")}
    assert found.steps == STEPS
    assert found.detail["stopped_before_collapse"] is False


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    second = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(entropy.entropy(logits)) == pytest.approx((math.log(2) + second) / 2)
    assert entropy.effective_classes(torch.zeros(3, 4)) == pytest.approx(4)
    assert entropy.effective_classes(torch.tensor([[90.0, 0.0]])) == pytest.approx(1)


def test_entropy_stops_where_answers_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "STEPS", 60)
    monkeypatch.setattr(entropy, "RATE", 3.0)
    made = world()
    found = run_arm(made, "entropy")
    assert found.detail["stopped_before_collapse"] is True
    assert found.steps < 60
    mean = found.target.mean(axis=0)  # what is handed over answers as variedly as at first
    assert math.exp(-(mean * np.log(mean)).sum()) > 0.9 * found.detail["classes_at_first"]


def test_the_surest_of_each_class_are_taken() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3], [0.45, 0.55], [0.4, 0.6]])
    assert surest(p, 0.5).tolist() == [0, 2, 5]
    assert surest(p, 0.1).tolist() == [0, 5]
    assert surest(p, 1.0).tolist() == list(range(6))


def test_self_training_works_without_the_source() -> None:
    made = replace(world(), source=None)
    found = run_arm(made, "self-train")
    assert moved(made, found) == {"d.0.weight", "fc.weight", "fc.bias"}
    assert found.detail["source_samples"] == 0
    assert [point.step for point in found.curve] == [STEPS, 2 * STEPS]


def test_coral_distance_by_hand() -> None:
    source, target = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 3)
    expected = (np.cov(source.numpy().T) ** 2).sum() / 36
    assert float(coral_distance(source, target)) == pytest.approx(expected, rel=1e-5)
    assert float(coral_distance(source, source)) == 0.0


def test_reversed_gradient_by_hand() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = reversed_gradient(x, 0.3)
    assert torch.equal(y, x)
    (y**2).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -0.3 * 2 * x.detach())
    assert reversal(0.0) == 0.0
    assert reversal(1.0) == pytest.approx(math.tanh(5.0))


def continued(made: World) -> np.ndarray:
    """Plain continued training on the source, in a loop of its own; dropout draws from the same seeds."""
    assert made.source is not None
    model = copy.deepcopy(made.target.trunk.model)
    model.eval()
    model.drop.train()
    weights = [p for name, p in model.named_parameters() if ".1." not in name]  # BatchNorm stays as it is
    groups = [
        {"params": [p for p in weights if p.dim() > 1], "weight_decay": companions.DECAY},
        {"params": [p for p in weights if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, fused=True)
    with torch.random.fork_rng():
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = companions.RATE * Length(STEPS).factor(step)
            torch.manual_seed(derive_seed(made.seed, "adapt-step", "companion", step))
            rows = training.batch_of(made.source.development, made.seed, "source", step)
            inputs = made.source.features.inputs(made.source.positions(rows), 0)
            loss = nn.functional.cross_entropy(model(inputs), torch.from_numpy(made.source.dataset.labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return read_study(made.target, model).probabilities(made.temperature)


def test_a_weight_of_nothing_is_plain_continued_training() -> None:
    made = world()
    found = run_deep_coral(made, silent, 0.0)
    np.testing.assert_allclose(found.target, continued(made), atol=1e-6)
    assert np.array_equal(found.target, run_dann(made, silent, 0.0).target)
    assert moved(made, found) == {*(f"{s}.0.weight" for s in "abcd"), "fc.weight", "fc.bias"}
    assert not np.array_equal(found.target, run_arm(made, "deep-coral").target)
    assert not np.array_equal(found.target, run_arm(made, "dann").target)


def test_the_same_seed_gives_the_same_bits_and_leaves_torch_s_generator_alone() -> None:
    made = world()
    state = torch.get_rng_state()
    first = run_arm(made, "dann")
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    assert np.array_equal(first.target, run_arm(made, "dann").target)


def test_batches_go_through_all_rows() -> None:
    rows = np.arange(100, 170)
    epoch = [training.batch_of(rows, 0, "x", step) for step in range(2)]
    assert sorted(np.concatenate(epoch).tolist()) == rows.tolist()
    assert not np.array_equal(epoch[0], training.batch_of(rows, 0, "x", 2))


def test_a_loss_of_nan_is_a_trial_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgical, "RATE", math.inf)
    made = world()
    with pytest.raises(TrialError):
        run_arm(replace(made, labelled=made.target.development[:12]), "surgical-first")


def test_the_network_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    model: nn.Module = made.target.trunk.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run_arm(made, "self-train")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())
