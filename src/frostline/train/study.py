"""What all trials of one comparison share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

SOLVED_VIEWS = 6  # augmented views that a solved head is fitted on (DESIGN 4.2)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data, network, features and settings; nothing in it changes while trials run.

    `features` covers the development rows only, in the order of `development`.
    """

    dataset: Dataset
    network: Network
    trunk: Trunk
    features: Features
    development: IntArray
    batch_size: int
    epochs: int | None  # None: the length is found
    augmented: bool  # False: every view equals view 0
    seed: int
    weigh_classes: bool = False
    max_steps: int = MAX_STEPS  # that a found length may take
    class_map: ClassMap | None = None  # of the network's own classes to those of the data, where there is one

    def head_form(self, recipe: Recipe) -> HeadForm:
        """What stands in the head's place under a recipe."""
        groups = self.class_map.groups if recipe.head_kind == "mapped" and self.class_map else ()
        return HeadForm(kind=recipe.head_kind, groups=groups)

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
        """Places of dataset rows in `features`."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.searchsorted(self.development, wanted)
        if not np.array_equal(self.development[np.minimum(found, len(self.development) - 1)], wanted):
            raise IndexError("a row that isn't development data was asked for")
        return torch.from_numpy(found)

    def targets(self, rows: Sequence[int] | IntArray) -> Tensor:
        return torch.from_numpy(self.dataset.labels[np.asarray(rows, dtype=np.int64)])

    def class_weights(self, rows: Sequence[int] | IntArray) -> FloatArray | None:
        """Weight of each class, (C,), by which rare ones count as much as frequent ones: N / (C n_c), as
        scikit-learn's 'balanced'; None where all samples count alike. A class without rows gets 0."""
        if not self.weigh_classes:
            return None
        counts = np.bincount(self.dataset.labels[np.asarray(rows, dtype=np.int64)], minlength=self.classes)
        there = counts > 0
        return np.where(there, counts.sum() / (there.sum() * np.maximum(counts, 1)), 0.0)

    def steps_per_epoch(self, rows: int) -> int:
        """Optimiser steps in one epoch: as many batches of at most the batch size as it takes, but none of a single
        sample, which BatchNorm can't train on."""
        return max(1, min(-(-rows // self.batch_size), rows // 2))

    def views(self, rows: int) -> int:
        """Number of training views that stepped trials on `rows` samples go through."""
        if not self.augmented:
            return 1
        epochs = self.epochs or -(-MAX_STEPS // self.steps_per_epoch(rows))
        return number_of_views(epochs)

    def training_view(self, epoch: int, rows: int) -> int:
        """The view that epoch (from 0) trains on."""
        return view_of_epoch(epoch, self.views(rows)) if self.augmented else 0

    def stepped_views(self) -> tuple[int, ...]:
        """The views that stepped trials on all development rows train on."""
        rows = len(self.development)
        return tuple(sorted({self.training_view(epoch, rows) for epoch in range(self.views(rows))}))

    def solved_views(self) -> tuple[int, ...]:
        """The views that a solved head is fitted on."""
        if not self.augmented:
            return (0,)
        return tuple(range(1, 1 + number_of_views(self.epochs or SOLVED_VIEWS)))
