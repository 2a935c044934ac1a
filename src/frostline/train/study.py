"""The data, network, features and settings that all trials of one comparison share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frostline.base.device import Compute
from frostline.base.records import ClassMap, Dataset, FloatArray, IntArray
from frostline.cutting.stages import StageMap
from frostline.data.views import number_of_views, view_of_epoch
from frostline.features.extract import Features, Trunk
from frostline.models.network import Network
from frostline.models.new_heads import HeadForm
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import MAX_STEPS

SOLVED_VIEWS = 6  # augmented views that a solved head is fitted on


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReadings:
    """`count` readings of the held-out samples near the end of a training, `spacing` steps apart, the last one after
    its last step. No reading is chosen for its result."""

    count: int
    spacing: int

    def steps(self, total: int) -> tuple[int, ...]:
        """Return after how many of `total` steps there is a reading; fewer than `count` where a training is short."""
        wanted = [total - self.spacing * left for left in reversed(range(self.count))]
        return tuple(step for step in wanted if step >= 1)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data, network, features and settings; nothing in it changes while trials run.

    `features` covers the development samples only, in the order of `development`. Where several sources are compared
    this is the study of the first, and `others` has that of each further label; data and blocks are the same.
    """

    dataset: Dataset
    network: Network
    trunk: Trunk
    features: Features
    development: IntArray
    batch_size: int
    epochs: int | None  # None: the length is chosen
    augmented: bool  # False: every view equals view 0
    seed: int
    weigh_classes: bool = False
    class_map: ClassMap | None = None  # of the network's own classes to those of the data, where there is one
    last_readings: LastReadings | None = None  # how stepped trials are judged; None: once, by their averaged weights
    others: Mapping[str, Study] = field(default_factory=dict)
    label: str = ""  # of its source, where there are several
    checkpoints: Path | None = None  # the folder where a long training's checkpoint lies; None keeps none
    memory: int | None = None  # bytes that this process may hold; None: as many as it gets
    before: float = 0.0  # operations by which the network was trained on the user's own data first

    def of(self, recipe: Recipe) -> Study:
        """Return the study of the network that a recipe starts from."""
        return self.others.get(recipe.source, self)

    def with_checkpoints(self, folder: Path) -> Study:
        """Return this study, and those of the other sources, with a folder for checkpoints."""
        others = {label: replace(other, checkpoints=folder) for label, other in self.others.items()}
        return replace(self, checkpoints=folder, others=others)

    def recipes_of(self, one: Study, recipes: Sequence[Recipe]) -> list[Recipe]:
        """Return those of the recipes that start from the network of `one` of the studies."""
        return [recipe for recipe in recipes if self.of(recipe) is one]

    def every(self) -> tuple[Study, ...]:
        """Return the study of each source, this one first."""
        return (self, *self.others.values())

    def head_form(self, recipe: Recipe) -> HeadForm:
        """Return the form of the head that a recipe puts in the place of the network's own."""
        if recipe.head_kind == "mapped" and self.class_map:
            return HeadForm(kind=recipe.head_kind, groups=self.class_map.groups)
        return HeadForm(kind=recipe.head_kind)

    @property
    def stages(self) -> StageMap:
        return self.trunk.stages

    @property
    def compute(self) -> Compute:
        return self.trunk.compute

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    def positions(self, rows: Sequence[int] | IntArray) -> Tensor:
        """Return the positions in `features` of samples given by their index in the dataset."""
        wanted = np.asarray(rows, dtype=np.int64)
        positions = np.searchsorted(self.development, wanted)
        if not np.array_equal(self.development[np.minimum(positions, len(self.development) - 1)], wanted):
            raise IndexError("a sample outside the development data was asked for")
        return torch.from_numpy(positions)

    def targets(self, rows: Sequence[int] | IntArray) -> Tensor:
        return torch.from_numpy(self.dataset.labels[np.asarray(rows, dtype=np.int64)])

    def class_weights(self, rows: Sequence[int] | IntArray) -> FloatArray | None:
        """Return the weight of each class, (C,), that makes rare ones count as much as frequent ones: N / (C n_c), as
        scikit-learn's 'balanced'; None where all samples count alike. A class without samples gets 0."""
        if not self.weigh_classes:
            return None
        counts = np.bincount(self.dataset.labels[np.asarray(rows, dtype=np.int64)], minlength=self.classes)
        present = counts > 0
        return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)

    def steps_per_epoch(self, rows: int) -> int:
        """Count the optimiser steps of one epoch: batches of at most the batch size, but none of a single sample, which
        BatchNorm can't train on."""
        return max(1, min(-(-rows // self.batch_size), rows // 2))

    def views(self, rows: int) -> int:
        """Count the training views that stepped trials on `rows` samples go through."""
        if not self.augmented:
            return 1
        epochs = self.epochs or -(-MAX_STEPS // self.steps_per_epoch(rows))
        return number_of_views(epochs)

    def training_view(self, epoch: int, rows: int) -> int:
        """Return the view that an epoch (from 0) trains on."""
        if not self.augmented:
            return 0
        return view_of_epoch(epoch, self.views(rows))

    def stepped_views(self) -> tuple[int, ...]:
        """Return the views that stepped trials on all development samples train on."""
        rows = len(self.development)
        return tuple(sorted({self.training_view(epoch, rows) for epoch in range(self.views(rows))}))

    def solved_views(self) -> tuple[int, ...]:
        """Return the views that a solved head is fitted on."""
        if not self.augmented:
            return (0,)
        return tuple(range(1, 1 + number_of_views(self.epochs or SOLVED_VIEWS)))
