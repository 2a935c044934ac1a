"""What the network still knows of its first task: exactly all where nothing before the head was trained."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.conclude.forgetting import measure_forgetting
from frostline.data.images import Images
from frostline.data.unlabelled import Unlabelled
from frostline.recipe.selection import make_recipe
from frostline.train.start import start_network
from frostline.train.study import Study
from helpers.data_makers import images_of
from helpers.train_studies import PREPROCESS, SETTINGS, SIDE, study

CLASSES = ("u", "v", "w", "x", "y")  # one for each output of the network's own head


@pytest.fixture(scope="module")
def task() -> Unlabelled:
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(5), 8)
    side = PREPROCESS.resize
    pixels = generator.integers(0, 256, (40, side, side, 3), dtype=np.uint8)
    pixels[..., 0] = 40 * labels[:, None, None]
    return Unlabelled(
        path=Path("before"),
        kind="class-folders",
        samples=images_of(list(pixels)),
        ids=tuple(f"{i}.png" for i in range(40)),
        hashes=tuple(f"{i}" for i in range(40)),
        contract=PREPROCESS,
        labels=labels,
        classes=CLASSES,
    )


def named(classes: tuple[str, ...] | None = CLASSES) -> Study:
    made = study()
    return replace(made, network=replace(made.network, classes=classes))


def test_what_was_frozen_is_remembered_exactly(task: Unlabelled) -> None:
    comparison = named()
    recipe = make_recipe("probe", comparison.stages.stages)
    found = measure_forgetting(SETTINGS, comparison, task, {"probe": (recipe, start_network(comparison, recipe, -1))})
    assert found.reason is None
    assert found.before.head is not None
    assert found.before.probe is not None
    assert found.after["probe"] == found.before


def test_the_first_head_reads_as_the_network_itself(task: Unlabelled) -> None:
    comparison = named()
    found = measure_forgetting(SETTINGS, comparison, task, {})
    assert isinstance(task.samples, Images)
    pixels = torch.from_numpy(np.stack([np.asarray(task.samples[i]) for i in range(len(task))])).permute(0, 3, 1, 2)
    model = copy.deepcopy(comparison.trunk.model).eval()
    edge = (PREPROCESS.resize - SIDE) // 2
    pixels = pixels[:, :, edge : edge + SIDE, edge : edge + SIDE]
    with torch.no_grad():
        inputs = (pixels.float() / 255 - 0.5) / 0.25
        predicted = model(inputs).argmax(1).numpy()
    assert found.before.head.accuracy == pytest.approx((predicted == task.labels).mean())


def test_layers_that_moved_are_read_as_they_are_now(task: Unlabelled) -> None:
    comparison = named()
    recipe = make_recipe("finetune", comparison.stages.stages)
    moved = start_network(comparison, recipe, -1)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.mul_(0.0)
    found = measure_forgetting(SETTINGS, comparison, task, {"finetune": (recipe, moved)})
    after = found.after["finetune"]
    assert (after.head.accuracy, after.probe.accuracy) == (0.2, 0.2)  # all look alike: one class of five is right


def test_a_network_cut_short_has_no_place_for_its_first_head(task: Unlabelled) -> None:
    comparison = named()
    recipe = make_recipe("probe@2", comparison.stages.stages)
    found = measure_forgetting(SETTINGS, comparison, task, {"probe@2": (recipe, start_network(comparison, recipe, -1))})
    assert found.after["probe@2"].head is None
    assert found.after["probe@2"].probe is not None


def test_without_names_of_its_classes_the_first_head_is_not_read(task: Unlabelled) -> None:
    found = measure_forgetting(SETTINGS, named(None), task, {})
    assert found.before.head is None
    assert found.reason == "the network doesn't name the classes of its own head"
    other = named(("u", "v", "w", "x", "z"))
    assert measure_forgetting(SETTINGS, other, task, {}).reason == "the network's own head has no class 'y'"
