"""Paired comparisons a - b: over blocks (training-set luck counts), or over the samples of one block (it doesn't)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import bdtr, ndtri, stdtr

from frostline.base.records import FloatArray
from frostline.stats.intervals import (
    Interval,
    bootstrap_means,
    corrected_standard_error,
    t_quantile,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedResult:
    """Mean difference a - b, its standard error, two-sided interval and p-value; `df` is infinite over samples."""

    mean: float
    se: float
    ci: Interval
    p: float
    df: float

    def within(self, margin: float, level: float = 0.95) -> bool:
        """Whether both one-sided bounds at `level` lie within +-`margin` (two one-sided tests, Schuirmann 1987)."""
        half = t_quantile(2 * level - 1, self.df) * self.se
        return abs(self.mean) + half < margin


def corrected_paired(
    differences: FloatArray,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    floor: float | None = None,
    floor_df: float = 0.0,
) -> PairedResult:
    """Corrected resampled t test on one paired difference per block (J,), with J - 1 + `floor_df` degrees of freedom.

    `n_train`, `n_test`: samples per block. `floor`: least variance of a block's difference, so that blocks that happen
    to agree don't give p = 0; by default one sample judged differently in one block, better that of the samples
    themselves (sample_variance / n_test). `floor_df` as in corrected_standard_error; 0 is Nadeau & Bengio's own test.
    Raises ValueError on fewer than 2 blocks. Source: Nadeau & Bengio 2003, equation 9.
    """
    values = np.asarray(differences, dtype=np.float64)
    se = corrected_standard_error(values, n_train=n_train, n_test=n_test, floor=floor, floor_df=floor_df)
    return _t_result(float(values.mean()), se, df=len(values) - 1 + floor_df, level=level)


def _t_result(mean: float, se: float, *, df: float, level: float) -> PairedResult:
    half = t_quantile(level, df) * se
    # No spread at all (only under a floor of 0) is no measure of luck, so it shows nothing.
    p = 1.0
    if se > 0:
        p = 2 * float(stdtr(df, -abs(mean) / se))
    return PairedResult(mean=mean, se=se, ci=(mean - half, mean + half), p=p, df=df)


def sample_variance(correct_a: FloatArray, correct_b: FloatArray) -> float:
    """Variance of one sample's difference of two 0/1 scores (N,), never 0: half a sample is added to each of the four
    cells of the 2 x 2 table.

    Raises ValueError on other values or lengths. Source: Agresti & Min 2005, "Simple improved confidence intervals for
    comparing matched proportions".
    """
    b, c = discordant(correct_a, correct_b)
    n = len(correct_a) + 2
    return (b + c + 1) / n - ((b - c) / n) ** 2


def paired_samples(correct_a: FloatArray, correct_b: FloatArray, *, level: float = 0.95) -> PairedResult:
    """These two models on new samples, from 0/1 scores (N,) of the same rows of one block.

    The interval is normal with sample_variance; p is the exact McNemar test. Training-set luck is not covered.
    Raises ValueError on values other than 0 and 1, unequal lengths, or no rows.
    """
    b, c = discordant(correct_a, correct_b)
    n = len(correct_a)
    mean = (b - c) / n
    se = math.sqrt(sample_variance(correct_a, correct_b) / (n + 2))
    half = t_quantile(level, math.inf) * se
    return PairedResult(mean=mean, se=se, ci=(mean - half, mean + half), p=mcnemar_exact(b, c), df=math.inf)


def paired_losses(
    loss_a: FloatArray, loss_b: FloatArray, *, rng: np.random.Generator, level: float = 0.95, draws: int = 2000
) -> PairedResult:
    """As paired_samples for losses of any size (N,): percentile bootstrap over samples.

    p counts resamples that lie at least as far from the mean as 0 does, plus one, so it is never 0 (Davison & Hinkley
    1997, equation 4.11). Raises ValueError on unequal lengths or no rows.
    """
    differences = _pairs(loss_a, loss_b)
    mean = float(differences.mean())
    means = bootstrap_means(differences, rng=rng, draws=draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # A tolerance of rounding only: equal losses must give p = 1 whatever the order of summation.
    far = int(np.sum(np.abs(means - mean) >= abs(mean) - 1e-12))
    return PairedResult(
        mean=mean, se=float(means.std(ddof=1)), ci=(float(low), float(high)), p=(far + 1) / (draws + 1), df=math.inf
    )


def discordant(correct_a: FloatArray, correct_b: FloatArray) -> tuple[int, int]:
    """Rows that only a got right, and that only b got right. Raises ValueError on values other than 0 and 1."""
    differences = _pairs(correct_a, correct_b)
    if not all(((v == 0) | (v == 1)).all() for v in (np.asarray(correct_a), np.asarray(correct_b))):
        raise ValueError("scores of samples have to be 0 or 1")
    return int(np.sum(differences > 0)), int(np.sum(differences < 0))


def mcnemar_exact(b: int, c: int, *, sides: Literal["two", "greater"] = "two") -> float:
    """Exact McNemar p-value of `b` rows that only one got right against `c` that only the other did.

    'greater' asks whether b is larger than luck allows. Raises ValueError on negative counts.
    Source: McNemar 1947; the exact form is the sign test on b + c.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts can't be negative: {b}, {c}")
    if b + c == 0:
        return 1.0
    tail = float(bdtr(c if sides == "greater" else min(b, c), b + c, 0.5))
    if sides == "greater":
        return tail
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> FloatArray:
    """Adjusted p-values (m,), in the order given: family-wise error under any dependence. Source: Holm 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _pairs(a: FloatArray, b: FloatArray) -> FloatArray:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"paired scores have to be (N,) alike with N of at least 1, found {a.shape} and {b.shape}")
    return a - b


def paired_samples_needed(difference: float, discordance: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Samples that show a true `difference` of two accuracies in a two-sided paired test at `level` with `power`.

    n = (z_{1-level/2} + z_power)^2 (D - delta^2) / delta^2, the constant being 7.85 by default, where D is
    `discordance`: the share of samples that exactly one of the two gets right. At least as many as bring the fewest
    discordant samples with which the exact test can reach `level` (6 at 0.05).
    Sign of `difference` is ignored. Luck of the training set is not covered, so this is a lower bound.
    Raises ValueError unless 0 < |difference| <= discordance <= 1 and power and level lie in (0, 1).
    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design".
    """
    delta = abs(difference)
    _check_counts(discordance, power, level)
    if not 0 < delta <= discordance:
        raise ValueError(f"a difference of {difference} is impossible with a discordance of {discordance}")
    constant = float(ndtri(1 - level / 2) + ndtri(power)) ** 2
    fewest = 1 + math.ceil(math.log2(1 / level))
    return max(math.ceil(constant * (discordance - delta**2) / delta**2), math.ceil(fewest / discordance))


def equivalent_samples_needed(
    difference: float, discordance: float, *, margin: float, power: float = 0.8, level: float = 0.05
) -> int:
    """Samples that show two models to be within `margin` of each other when they truly differ by `difference`.

    n = (z_{1-level} + z_power)^2 (D - delta^2) / (margin - |delta|)^2, the one-sided bound of non-inferiority
    (constant 6.18 by default). Raises ValueError unless |difference| < margin and 0 < discordance <= 1.
    """
    delta = abs(difference)
    _check_counts(discordance, power, level)
    if not (delta < margin and delta <= discordance):
        raise ValueError(f"a difference of {difference} doesn't fit margin {margin} and discordance {discordance}")
    constant = float(ndtri(1 - level) + ndtri(power)) ** 2
    return max(1, math.ceil(constant * (discordance - delta**2) / (margin - delta) ** 2))


def _check_counts(discordance: float, power: float, level: float) -> None:
    if not (0 < discordance <= 1 and 0 < power < 1 and 0 < level < 1):
        raise ValueError(f"discordance {discordance}, power {power} and level {level} have to be between 0 and 1")
