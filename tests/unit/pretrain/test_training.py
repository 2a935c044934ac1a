"""Whole trainings of a thin network: what they leave behind, resume, collapse, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline import load, pretrain_network
from frostline.base.errors import BundleError, FrostlineError, ModelError, RecipeError, TrialError
from frostline.base.events import Event, ProgressEvent, silent
from frostline.bundle.spec import resolve_network
from frostline.data.unlabelled import read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.models.network import pretrained
from frostline.pipeline import fit
from frostline.pretrain.pretraining import PURPOSE, PretrainPlan, train_network
from frostline.pretrain.run import PretrainRun

THIN = {"width": 4}


def pictures(count: int = 40) -> tuple[np.ndarray, list[int]]:
    """Bars that lie or stand, with noise."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 60, (count, 32, 32), dtype=np.uint8)
    labels = [k % 2 for k in range(count)]
    for image, label, place in zip(values, labels, rng.integers(4, 26, count), strict=True):
        if label:
            image[place : place + 4] += 150
        else:
            image[:, place : place + 4] += 150
    return values, labels


def trained(out: Path, method: str = "simclr", data: Any = None, **options: Any) -> PretrainRun:
    options = {"epochs": 2, "model_args": THIN, "threads": 1, "batch_size": 16, **options}
    return pretrain_network(pictures() if data is None else data, "glyphs", method=method, out=out, **options)


class StoppedError(Exception):
    """In the place of a kill."""


def stop_after(count: int) -> Callable[[Event], None]:
    """A listener that ends the process of training after some steps."""
    left = [count]

    def emit(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            left[0] -= 1
            if left[0] < 0:
                raise StoppedError

    return emit


@pytest.mark.parametrize("method", ["simclr", "vicreg", "rotation", "denoise"])
def test_every_method_lowers_its_loss_and_leaves_a_network_without_classes(method: str, tmp_path: Path) -> None:
    run = trained(tmp_path / "r", method, epochs=4)
    losses = [point.loss for point in run.record.curve if point.loss is not None]
    assert losses[-1] < losses[0]
    network = resolve_network(run.spec)
    assert network.classes is None
    assert network.headless == "it was pre-trained without labels"
    start = network.build(0).state_dict()
    now = pretrained(network).state_dict()
    moved = [name for name in start if name.endswith("weight") and not torch.equal(start[name], now[name])]
    assert "s4.0.weight" in moved
    assert [entry["what"] for entry in network.history] == [method]
    assert not (run.path / ".work").exists()


def test_equal_runs_write_equal_bytes_and_hold_no_place(tmp_path: Path) -> None:
    one, other = (trained(tmp_path / name / "r").path for name in "ab")
    for name in ("model.safetensors", "recipe.json"):
        assert (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
    assert str(tmp_path) not in (one / "model" / "recipe.json").read_text()


@pytest.mark.parametrize("steps", [1, 3, 7])  # before the first checkpoint, at its end, within an epoch
@pytest.mark.parametrize("method", ["simclr", "denoise"])
def test_an_interrupted_training_ends_with_the_same_bits(steps: int, method: str, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", method, epochs=3)
    with pytest.raises(StoppedError):
        trained(tmp_path / "r", method, epochs=3, emit=stop_after(steps))
    resumed = trained(tmp_path / "r", method, epochs=3, resume=True)
    weights = "model/model.safetensors"
    assert (resumed.path / weights).read_bytes() == (whole.path / weights).read_bytes()
    assert [p.loss for p in resumed.record.curve] == [p.loss for p in whole.record.curve]
    again = trained(tmp_path / "r", method, epochs=3, resume=True)  # it is complete
    assert (again.record.created, again.record.curve) == (resumed.record.created, resumed.record.curve)


def test_resuming_with_other_settings_or_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        trained(tmp_path / "r", emit=stop_after(4))
    with pytest.raises(BundleError, match="other settings \\(epochs\\)"):
        trained(tmp_path / "r", epochs=3, resume=True)
    values, labels = pictures()
    values[0] = 0
    with pytest.raises(BundleError, match="other settings \\(data\\)"):  # arrays are named by their content
        trained(tmp_path / "r", data=(values, labels), resume=True)
    with pytest.raises(BundleError, match="holds another run"):
        trained(tmp_path / "r")


def test_it_starts_from_a_run_and_the_histories_follow_each_other(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    options: dict[str, Any] = {"epochs": 1, "threads": 1, "out": tmp_path / "second"}
    second = pretrain_network(pictures(), first.spec, method="denoise", **options)
    assert [entry["what"] for entry in second.record.history] == ["simclr", "denoise"]
    assert second.record.model.weights_sha256 is not None
    labelled = fit(pictures(), second.spec, strategies="probe", store="off", out=tmp_path / "third", threads=1)
    assert [entry["what"] for entry in labelled.result.model.history] == ["simclr", "denoise"]
    note = json.loads((tmp_path / "third" / "model" / "recipe.json").read_text())
    assert [entry["what"] for entry in note["history"]] == ["simclr", "denoise", "supervised"]
    assert note["history"][-1]["strategy"] == "probe"
    assert [e["what"] for e in resolve_network(f"run:{tmp_path / 'third'}").history][-1] == "supervised"


def test_training_from_random_values_has_no_history_before_it(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    fit(pictures(), first.spec, strategies="scratch", epochs=1, lr=1e-3, store="off", out=tmp_path / "r", threads=1)
    note = json.loads((tmp_path / "r" / "model" / "recipe.json").read_text())
    assert [entry["what"] for entry in note["history"]] == ["supervised"]


def test_the_monitor_reads_labels_and_the_training_does_not(tmp_path: Path) -> None:
    values, labels = pictures()
    with_labels = trained(tmp_path / "a", data=(values, labels))
    without = trained(tmp_path / "b", data=values)
    assert with_labels.record.curve[-1].knn_accuracy is not None
    assert without.record.curve[-1].knn_accuracy is None
    assert without.record.data.labels_for_monitor is False
    weights = "model/model.safetensors"
    assert (with_labels.path / weights).read_bytes() == (without.path / weights).read_bytes()


def test_a_collapse_is_warned_of_and_recorded(tmp_path: Path) -> None:
    told: list[Event] = []
    options: dict[str, Any] = {"epochs": 12, "method_args": {"variance": 0.0, "covariance": 0.0}, "lr": 3e-3}
    run = trained(tmp_path / "r", "vicreg", emit=told.append, **options)
    assert run.record.collapsed
    assert run.record.collapse
    assert any("warning" in event.kind and "After epoch" in event.text for event in told)
    healthy = trained(tmp_path / "h", "vicreg", epochs=12, lr=3e-3)
    assert not healthy.record.collapsed


def test_it_goes_on_within_another_run_from_its_checkpoint(tmp_path: Path) -> None:
    network = resolve_network("glyphs")
    data = read_unlabelled(list_unlabelled(pictures()), network.preprocess, PURPOSE, threads=1, emit=silent)
    plan = PretrainPlan(method="simclr", epochs=2, batch_size=16, threads=1)
    whole = train_network(network, data, plan, tmp_path / "a", silent)
    with pytest.raises(StoppedError):
        train_network(network, data, plan, tmp_path / "b", stop_after(4))
    resumed = train_network(network, data, plan, tmp_path / "b", silent)
    assert resumed.network.weights_sha256 == whole.network.weights_sha256 != network.weights_sha256
    assert resumed.network.fingerprint == whole.network.fingerprint != network.fingerprint
    assert resumed.entry["weights"] == "given"  # it goes on from the weights that it is given
    assert whole.operations > 0
    other = train_network(network, data, PretrainPlan(method="simclr", epochs=1, threads=1), tmp_path / "b", silent)
    assert other.curve[-1].epoch == 1  # another plan doesn't take up this checkpoint


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "simclir"}, RecipeError, "Did you mean 'simclr'"),
        ({"method": "mlm"}, RecipeError, "is for texts, and glyphs reads images"),
        ({"method_args": {"temprature": 1.0}}, RecipeError, "Did you mean 'temperature'"),
        ({"method_args": {"temperature": -1.0}}, RecipeError, "no number of at least 0"),
        ({"labels_per_class": 3}, RecipeError, "has no option 'labels_per_class'"),
        ({"resume": True, "out": None}, RecipeError, "--resume without --out"),
        ({"lr": 1e30}, TrialError, "Give a lower --lr"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    options: dict[str, Any], error: type[FrostlineError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        trained(**{"out": tmp_path / "r", **options})


def test_rotation_needs_square_images(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nMEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 24)\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(4, 2))\n"
    )
    values = np.zeros((10, 20, 20, 3), np.uint8)
    with pytest.raises(ModelError, match="turns square images, and the network reads 16 x 24"):
        pretrain_network(values, f"torch:{tmp_path / 'net.py'}:net", method="rotation", out=tmp_path / "r", threads=1)


def test_a_network_without_classes_predicts_nothing(tmp_path: Path) -> None:
    run = trained(tmp_path / "r", epochs=1)
    with pytest.raises(BundleError, match="knows no classes: it was pre-trained without labels"):
        load(run.path)
