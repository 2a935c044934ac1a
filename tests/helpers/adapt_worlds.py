"""A world of an adaptation that takes milliseconds: the network of train_studies, and darker target images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from frostline.adapt.world import SourceOutputs, World
from frostline.planning.prepare import make_study, make_trunk
from frostline.train.study import Study
from helpers import train_studies
from helpers.data_makers import images_of
from helpers.train_studies import Net

CLASSES = 5  # of the network's own head


def side_study(rows: int, dark: float, seed: int, make: Any = Net) -> Study:
    """A study of images of noise, one class brighter than the other, all darker by `dark`."""
    torch.set_num_threads(1)
    network, model, stages = train_studies.mapped(make)
    data = train_studies.dataset(rows, CLASSES, sealed=0)
    size = train_studies.PREPROCESS.resize
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(60 + 35 * s.label - dark, 30, (size, size, 3)) for s in data.samples]
    pixels = images_of([np.clip(values, 0, 255).astype(np.uint8) for values in drawn])
    settings = train_studies.SETTINGS
    trunk = make_trunk(settings, network, model, stages, rows)
    return make_study(settings, data, pixels, network, trunk, None)


def world(rows: int = 40, *, target_rows: int = 30, dark: float = 40.0, make: Any = Net, **changed: Any) -> World:
    """A world with source, held-out samples and out-of-fold predictions; `changed` replaces what it holds."""
    source = side_study(rows, 0.0, 1, make)
    held = side_study(20, 0.0, 2, make)
    labels = source.dataset.labels
    rng = np.random.default_rng(3)
    values = np.eye(CLASSES)[labels] * 3 + rng.normal(0, 1, (rows, CLASSES))
    probabilities = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    made = World(
        target=side_study(target_rows, dark, 4, make),
        source=source,
        held=held,
        outputs=SourceOutputs(probabilities=probabilities, labels=labels),
        temperature=1.5,
    )
    return replace(made, **changed)
