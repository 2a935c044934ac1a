"""The data, network, features and settings that all trials of one comparison share."""

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

SOLVED_VIEWS = 6  # augmented views that a solved head is fitted on


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data, network, features and settings; nothing in it changes while trials run.

    `features` covers the development samples only, in the order of `development`.
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
