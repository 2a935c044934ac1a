"""What the refitted strategies reach on data of another distribution (`--target`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.bundle.saved import LoadedModel
from frostline.conclude.sealed import open_seal
from frostline.data.unlabelled import Unlabelled
from frostline.planning.domain import UNKNOWN, common_labels
from frostline.race.plan import Plan
from frostline.recipe.settings import Settings
from frostline.train.refit import RefitResult
from frostline.train.study import Study


@dataclass(frozen=True, kw_only=True, eq=False)
class OnTarget:
    """Class probabilities (N, C) of every tested strategy on the target's N samples.

    `labels` (N,) count the classes of the data, then those that only the target names; -1 where there is none. None
    where no folder or cell names a class of the data.
    """

    data: Unlabelled
    classes: tuple[str, ...]
    known: int  # classes of the data, which come first
    labels: IntArray | None
    tests: Mapping[str, FloatArray]

    @property
    def scored(self) -> IntArray:
        """Rows whose label is a class of the data: accuracy is that of these."""
        if self.labels is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((self.labels > UNKNOWN) & (self.labels < self.known))

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the data that no target sample has; empty where labels aren't known."""
        if self.labels is None:
            return ()
        there = set(self.labels.tolist())
        return tuple(name for number, name in enumerate(self.classes[: self.known]) if number not in there)


def predict_target(
    settings: Settings,
    study: Study,
    plan: Plan,
    refits: Mapping[str, RefitResult],
    loaded: LoadedModel,
    data: Unlabelled,
) -> OnTarget:
    """Predict the target's samples with every refitted strategy, by the path that `frostline predict` takes."""
    classes, labels = common_labels(data, study.dataset.classes)
    tests = open_seal(settings, study, plan, refits, loaded, lambda _: data.samples)
    return OnTarget(data=data, classes=classes, known=len(study.dataset.classes), labels=labels, tests=tests)
