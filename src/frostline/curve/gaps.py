"""From accuracies to the rows of the curve and its gaps, each with an interval.

Full protocol: the independent unit is the split of the classes. What directions and seeds of one split give is averaged
first; the interval is Student's t over the splits' means, and over their paired differences for a gap. Splits share
their images, so it says how much the choice of the halves and the luck of training matter; it doesn't speak of other
images or classes. With two splits t has one degree of freedom, so that an interval is 6.5 times as wide as with many
at the same spread; with a single split there is none.

Applied: the unit is the fold; seeds of one fold are averaged sample by sample. Folds share their training samples, so
the interval is that of Nadeau & Bengio 2003, its variance averaged with the one of the samples' own differences, as in
`race.compare`. With a single fold it is over samples and leaves out the luck of the training set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from frostline.base.records import FloatArray
from frostline.curve.protocol import ArmName, Unit
from frostline.stats.intervals import Interval, corrected_interval, normal_quantile, wilson
from frostline.stats.paired import corrected_paired

GapName = Literal["co-adaptation", "specificity", "loss", "gain", "transfer", "freezing"]
# Each is the first arm less the second, at one stage.
GAPS: Mapping[GapName, tuple[ArmName, ArmName]] = {
    "co-adaptation": ("base", "BnB"),
    "specificity": ("BnB", "AnB"),
    "loss": ("base", "AnB"),
    "gain": ("AnB+", "base"),
    "transfer": ("AnB+", "BnB+"),
    "freezing": ("AnB+", "AnB"),
}
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one training reached: `right` (N,) is, for each held-out sample, the share of the last readings that were
    right; `accuracy` is its mean."""

    accuracy: float
    right: FloatArray


Scores = Mapping[Unit, Judged]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitMean:
    """A mean over `units` independent units, with its interval where there is one."""

    mean: float
    ci: Interval | None
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """The sizes of the folds of an applied curve, as means."""

    n_train: float
    n_test: float


def row_estimate(scores: Scores, folds: Folds | None) -> UnitMean:
    """Return an arm's accuracy; `folds` is None for the full protocol. Intervals stay within 0 and 1."""
    if folds is None:
        means = list(_means_by_split({unit: judged.accuracy for unit, judged in scores.items()}).values())
        estimate = over_splits(means)
    else:
        estimate = _over_folds_alone(_right_by_fold(scores), folds)
    return _cut_off(estimate, 0.0)


def gap_estimate(first: Scores, second: Scores, folds: Folds | None) -> UnitMean | None:
    """Return the paired difference first - second over the units that both were measured in; None without any.

    Intervals stay within -1 and 1.
    """
    shared = [unit for unit in first if unit in second]
    if not shared:
        return None
    if folds is None:
        differences = {unit: first[unit].accuracy - second[unit].accuracy for unit in shared}
        return _cut_off(over_splits(list(_means_by_split(differences).values())), -1.0)
    a = _right_by_fold({unit: first[unit] for unit in shared})
    b = _right_by_fold({unit: second[unit] for unit in shared})
    return _cut_off(over_folds([x - y for x, y in zip(a, b, strict=True)], folds), -1.0)


def over_splits(values: Sequence[float]) -> UnitMean:
    """Return the mean of one value per split, with its t interval (J - 1 degrees of freedom) from two splits on."""
    means = np.asarray(values, dtype=np.float64)
    if len(means) < 2:
        return UnitMean(mean=float(means.mean()), ci=None, units=len(means))
    ci = corrected_interval(means, n_train=math.inf, n_test=1.0, level=LEVEL, floor=0.0)  # nothing to correct
    return UnitMean(mean=float(means.mean()), ci=ci, units=len(means))


def over_folds(differences: Sequence[FloatArray], folds: Folds) -> UnitMean:
    """Return the mean difference from those of the samples of each fold, values between -1 and 1."""
    variance = difference_spread(np.concatenate(list(differences)))
    means = np.array([float(d.mean()) for d in differences])
    if len(means) == 1:
        half = normal_quantile(LEVEL) * math.sqrt(variance / (len(differences[0]) + 2))
        return UnitMean(mean=float(means[0]), ci=(float(means[0]) - half, float(means[0]) + half), units=1)
    result = corrected_paired(
        means,
        n_train=folds.n_train,
        n_test=folds.n_test,
        level=LEVEL,
        floor=variance / folds.n_test,
        floor_df=len(means) - 1,
    )
    return UnitMean(mean=result.mean, ci=result.ci, units=len(means))


def difference_spread(differences: FloatArray) -> float:
    """Variance of one sample's difference (N,), never 0: that of stats.sample_variance, for shares as well as 0 and 1.

    Source: Agresti & Min 2005; half a sample is added to each cell of the 2 x 2 table.
    """
    n = len(differences) + 2
    square = (float(np.sum(differences**2)) + 1) / n
    return square - (float(np.sum(differences)) / n) ** 2


def _over_folds_alone(right: Sequence[FloatArray], folds: Folds) -> UnitMean:
    every = np.concatenate(list(right))
    if len(right) == 1:
        return UnitMean(mean=float(every.mean()), ci=wilson(float(every.sum()), len(every), LEVEL), units=1)
    means = np.array([float(values.mean()) for values in right])
    share = (float(every.sum()) + 2) / (len(every) + 4)  # Agresti & Coull 1998: never 0 or 1
    ci = corrected_interval(
        means,
        n_train=folds.n_train,
        n_test=folds.n_test,
        level=LEVEL,
        floor=share * (1 - share) / folds.n_test,
        floor_df=len(means) - 1,
    )
    return UnitMean(mean=float(means.mean()), ci=ci, units=len(means))


def _cut_off(estimate: UnitMean, least: float) -> UnitMean:
    """Cut an interval off at `least` and 1."""
    if estimate.ci is None:
        return estimate
    low, high = estimate.ci
    return UnitMean(mean=estimate.mean, ci=(max(low, least), min(high, 1.0)), units=estimate.units)


def _means_by_split(values: Mapping[Unit, float]) -> dict[int, float]:
    """Average over the directions and seeds of each split."""
    by_split: dict[int, list[float]] = {}
    for unit, value in values.items():
        by_split.setdefault(unit.split, []).append(value)
    return {split: math.fsum(found) / len(found) for split, found in by_split.items()}


def _right_by_fold(scores: Scores) -> list[FloatArray]:
    """Average over the seeds of each fold, sample by sample."""
    by_fold: dict[int, list[FloatArray]] = {}
    for unit, judged in scores.items():
        by_fold.setdefault(unit.split, []).append(judged.right)
    return [np.mean(found, axis=0) for found in by_fold.values()]
