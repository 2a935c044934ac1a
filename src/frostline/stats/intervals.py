"""Confidence intervals, as (lower, upper). Levels are two-sided and in (0, 1)."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri, stdtrit

from frostline.base.records import FloatArray

Interval = tuple[float, float]

FEW_VALUES = 32  # up to here a resample is drawn as counts of the distinct values: same law, far less memory
CHUNK = 4_000_000  # indices drawn at once: 32 MB


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion `successes` / `n`, within [0, 1].

    Raises ValueError unless 0 <= successes <= n and n >= 1. Source: Wilson 1927; Brown, Cai & DasGupta 2001.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a proportion")
    z = normal_quantile(level)
    share = successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the exact bound is 0 and 1; rounding must not move it inwards.
    return (0.0 if successes == 0 else max(centre - half, 0.0), 1.0 if successes == n else min(centre + half, 1.0))


def corrected_interval(
    block_means: FloatArray,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    floor: float | None = None,
    floor_df: float = 0.0,
) -> Interval:
    """Interval for the expected score of the procedure, from one mean score per resampled block (J,).

    `n_train` and `n_test` are samples per block; `floor` and `floor_df` as in corrected_standard_error. Raises
    ValueError on fewer than 2 blocks: with a single one, only an interval over samples exists (wilson).
    Source: Nadeau & Bengio 2003, "Inference for the Generalization Error", section 3.
    """
    values = _at_least_two(block_means)
    se = corrected_standard_error(values, n_train=n_train, n_test=n_test, floor=floor, floor_df=floor_df)
    half = t_quantile(level, len(values) - 1 + floor_df) * se
    return float(values.mean()) - half, float(values.mean()) + half


def corrected_standard_error(
    block_means: FloatArray, *, n_train: float, n_test: float, floor: float | None = None, floor_df: float = 0.0
) -> float:
    """sqrt((1/J + n_test/n_train) s^2): the term n_test/n_train pays for the overlap of the blocks' training sets.

    s^2 is the variance of the block means (J,), but never less than `floor`; its default, 1 / (J n_test^2), is the
    variance when one sample is judged differently in one block: equal blocks are a coarse ruler, not proof of
    certainty.
    Where the floor itself is an estimate worth `floor_df` degrees of freedom, s^2 is first averaged with it, each by
    its degrees of freedom. A floor of 0 is the plain formula. Raises ValueError on fewer than 2 blocks.
    Source: Nadeau & Bengio 2003, equation 9; the average is Smyth 2004, "Linear models and empirical Bayes methods",
    section 3, with a given prior.
    """
    values = _at_least_two(block_means)
    if n_train <= 0 or n_test <= 0:
        raise ValueError(f"n_train {n_train} and n_test {n_test} have to be above 0")
    if floor is None:
        floor = 1 / (len(values) * n_test**2)
    df = len(values) - 1
    average = (df * float(values.var(ddof=1)) + floor_df * floor) / (df + floor_df)
    return math.sqrt((1 / len(values) + n_test / n_train) * max(average, floor))


def bootstrap_interval(
    values: FloatArray, *, rng: np.random.Generator, level: float = 0.95, draws: int = 2000
) -> Interval:
    """Percentile interval for the mean of `values` (N,) when samples are drawn again. Raises ValueError on none."""
    means = bootstrap_means(values, rng=rng, draws=draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_means(values: FloatArray, *, rng: np.random.Generator, draws: int = 2000) -> FloatArray:
    """Means (draws,) of resamples of `values` (N,) with replacement. Raises ValueError on no values."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values have to be (N,) with N of at least 1, found {values.shape}")
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW_VALUES:
        few: FloatArray = rng.multinomial(n, counts / n, size=draws) @ distinct / n
        return few
    rows = max(1, CHUNK // n)
    parts = [values[rng.integers(n, size=(min(rows, draws - i), n))].mean(axis=1) for i in range(0, draws, rows)]
    return np.concatenate(parts)


def t_quantile(level: float, df: float) -> float:
    """Half-width, in standard errors, of a two-sided interval; `df` may be infinite. Raises ValueError on the level."""
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    return float(ndtri((1 + level) / 2) if math.isinf(df) else stdtrit(df, (1 + level) / 2))


def normal_quantile(level: float) -> float:
    """As t_quantile for the normal distribution: 1.96 at 0.95."""
    return t_quantile(level, math.inf)


def _at_least_two(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"a spread needs at least 2 blocks in one dimension, found shape {values.shape}")
    return values
