"""A training that was stopped goes on from its checkpoint with the same bits; a damaged one counts for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frostline.train import checkpoint as checkpoint_module
from frostline.train import trial as trial_module
from frostline.train.checkpoint import Checkpoint, moments, read_checkpoint, restore_moments, write_checkpoint
from frostline.train.study import Study
from frostline.train.trial import run_and_keep
from helpers.train_studies import recipe, study, trial

STRATEGIES = ("finetune", "freeze@2", "lp-ft", "gradual", "l2sp", "lora", "wise-ft", "scratch", "reinit@2")


class StoppedError(Exception):
    """Stands for the end of the process."""


class Stopping(Checkpoint):
    """A checkpoint after each step, which stops the training once it has been written a few times."""

    left = 0

    def save(self, tensors: Any, note: Any) -> None:
        super().save(tensors, note)
        type(self).left -= 1
        if type(self).left == 0:
            raise StoppedError


def trained(made: Study, name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    outcome, model = run_and_keep(made, trial(made, name))
    assert model is not None
    return outcome, {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_stopped_training_ends_with_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, weights = trained(study(), name)
    made = study().with_checkpoints(tmp_path)
    stops = (1, whole.steps // 2, whole.steps - 1, whole.steps)
    for after in stops:
        Stopping.left = after
        with monkeypatch.context() as patched:
            patched.setattr(trial_module, "Checkpoint", lambda path, key: Stopping(path, key, seconds=0.0))
            with pytest.raises(StoppedError):
                trained(made, name)
        outcome, again = trained(made, name)
        assert outcome.probabilities == whole.probabilities
        assert outcome.curve == whole.curve
        assert outcome.audit == whole.audit
        assert all(torch.equal(weights[key], again[key]) for key in weights)
        (tmp_path / "training.safetensors").unlink()
    assert whole.steps > 2


def test_training_goes_on_from_the_checkpoint_and_does_not_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study().with_checkpoints(tmp_path)
    Stopping.left = 5
    with monkeypatch.context() as patched:
        patched.setattr(trial_module, "Checkpoint", lambda path, key: Stopping(path, key, seconds=0.0))
        with pytest.raises(StoppedError):
            trained(made, "finetune")
    taken = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: taken.append(step(self, *a)))
    outcome, _ = trained(made, "finetune")
    assert len(taken) == outcome.steps - 5


def test_another_training_does_not_take_the_checkpoint_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study().with_checkpoints(tmp_path)
    plain, _ = trained(study(), "freeze@2")
    Stopping.left = 3
    with monkeypatch.context() as patched:
        patched.setattr(trial_module, "Checkpoint", lambda path, key: Stopping(path, key, seconds=0.0))
        with pytest.raises(StoppedError):
            trained(made, "finetune")
    outcome, _ = trained(made, "freeze@2")
    assert outcome.probabilities == plain.probabilities


def test_a_short_training_keeps_none(tmp_path: Path) -> None:
    trained(study().with_checkpoints(tmp_path), "finetune")
    assert not list(tmp_path.iterdir())


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    write_checkpoint(path, {"w": torch.arange(6.0).reshape(2, 3)}, {"key": "k", "note": {"steps": 3}})
    content = path.read_bytes()
    assert read_checkpoint(path) is not None
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        found = read_checkpoint(path)
        if found is not None:  # a space of the header's padding
            assert found[1] == {"key": "k", "note": {"steps": 3}}
            assert torch.equal(found[0]["w"], torch.arange(6.0).reshape(2, 3))
        path.write_bytes(content[:place])
        assert read_checkpoint(path) is None


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_atomic", full)
    Checkpoint(tmp_path / "file", "k").save({"w": torch.ones(1)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [lambda p: torch.optim.AdamW(p, fused=True), lambda p: torch.optim.SGD(p, 0.1, 0.9)])
def test_moments_come_back_in_the_layout_of_their_parameters(make: Any) -> None:
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    other = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimiser, restored = make(layer.parameters()), make(other.parameters())
    layer(torch.ones(2, 3, 5, 5)).sum().backward()
    optimiser.step()
    restore_moments(restored, moments(optimiser))
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        for name, value in optimiser.state[one].items():
            if value is not None:
                assert torch.equal(value, restored.state[two][name])
                assert value.stride() == restored.state[two][name].stride()


def test_recipes_of_every_kind_are_among_those_tried() -> None:
    made = study()
    recipes = [recipe(made, name) for name in STRATEGIES]
    assert any(len(r.stepped) > 1 for r in recipes)
    assert any(r.adapter for r in recipes)
    assert any(r.interpolated for r in recipes)
    assert any(phase.pull for r in recipes for phase in r.stepped)
