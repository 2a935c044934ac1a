"""Do two rankings agree? Kendall's tau and Spearman's rho, with the interval that so few candidates allow.

The interval is a percentile bootstrap over the candidates, the p-value counts random orders (all of them up to 7
candidates, else 2,000). With six candidates either is wide: an agreement that looks good is often luck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Literal

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.stats.intervals import Interval

Statistic = Literal["kendall", "spearman", "weighted_kendall"]
LEAST = 3  # candidates: of two, any two rankings agree or are opposite
ALL_ORDERS = 7  # candidates whose orders are all counted: 5,040
ORDERS = 2000
DRAWS = 1000
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """A rank correlation of `n` candidates, in [-1, 1], its bootstrap interval and permutation p (two-sided).

    `value` is None where it isn't defined: fewer than 3 candidates, or all of them equal. `ci` is None too where too
    few resamples have a value, and for an agreement of 1 or -1, which a bootstrap can't doubt: p can.
    """

    n: int
    value: float | None
    ci: Interval | None
    p: float | None


Scores = Mapping[str, Sequence[float | None]]  # a score's value of each candidate; None where it has none


def agreements(scores: Scores, *, seed: int) -> dict[tuple[str, str], dict[Statistic, Rank]]:
    """Kendall's tau-b and Spearman's rho of every pair of scores over the same candidates."""
    return {
        (a, b): {name: correlate(scores[a], scores[b], name, seed=seed) for name in ("kendall", "spearman")}
        for a, b in combinations(scores, 2)
    }


def correlate(
    a: Sequence[float | None], b: Sequence[float | None], statistic: Statistic, *, seed: int, draws: int = DRAWS
) -> Rank:
    """The rank correlation of two scores over the candidates that have both, with interval and p-value.

    `weighted_kendall` gives the upper ranks more weight (Vigna 2015, hyperbolic weights, as scipy's `weightedtau`).
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    n = len(pairs)
    none = Rank(n=n, value=None, ci=None, p=None)
    if n < LEAST:
        return none
    x, y = np.array(pairs, dtype=np.float64).T
    measure = _MEASURES[statistic]
    value = float(measure(x[None], y[None])[0])
    if np.isnan(value):
        return none
    generator = numpy_generator(seed, "agreement", statistic, n)
    rows = generator.integers(n, size=(draws, n))
    drawn = measure(x[rows], y[rows])
    known = drawn[~np.isnan(drawn)]
    ci = None
    perfect = abs(value) > 1 - ROUNDING  # every resample of such an order agrees too, which would look like certainty
    if len(known) >= draws / 2 and not perfect:
        low, high = np.quantile(known, [0.025, 0.975])
        ci = (float(low), float(high))
    by_luck = y[_orders(n, generator)]
    far = int(np.sum(np.abs(measure(np.broadcast_to(x, by_luck.shape), by_luck)) >= abs(value) - ROUNDING))
    this_one = int(n > ALL_ORDERS)  # among all orders it is counted already
    return Rank(n=n, value=value, ci=ci, p=(far + this_one) / (len(by_luck) + this_one))


def _orders(n: int, generator: np.random.Generator) -> IntArray:
    if n <= ALL_ORDERS:
        return np.array(list(permutations(range(n))), dtype=np.int64)
    return generator.permuted(np.tile(np.arange(n), (ORDERS, 1)), axis=1)


def kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kendall's tau-b (M,) of M pairs of rankings, each (M, N); NaN where one doesn't tell any candidates apart."""
    first = np.sign(x[:, :, None] - x[:, None, :])
    second = np.sign(y[:, :, None] - y[:, None, :])
    return _over(np.sum(first * second, axis=(1, 2)), np.sum(first**2, axis=(1, 2)) * np.sum(second**2, axis=(1, 2)))


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Spearman's rho (M,): the correlation of ranks, equal values sharing theirs; NaN as for `kendall`."""
    first = np.sign(x[:, :, None] - x[:, None, :]).sum(axis=2)  # twice the mean ranks, less their mean
    second = np.sign(y[:, :, None] - y[:, None, :]).sum(axis=2)
    return _over(np.sum(first * second, axis=1), np.sum(first**2, axis=1) * np.sum(second**2, axis=1))


def _over(product: FloatArray, squares: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.asarray(product / np.sqrt(squares))


def weighted_kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kendall's tau (M,) with weights 1 / (rank + 1) added up for each pair, averaged over the ranks by x and by y."""
    return (_weighted(x, y) + _weighted(y, x)) / 2


def _weighted(x: FloatArray, y: FloatArray) -> FloatArray:
    """The same with the ranks by x, from its largest value on; of equal ones the larger y comes first."""
    order = np.lexsort((-y, -x), axis=-1)
    places = np.argsort(order, axis=-1)
    each = 1 / (places + 1)
    weights = each[:, :, None] + each[:, None, :]
    first = np.sign(x[:, :, None] - x[:, None, :])
    second = np.sign(y[:, :, None] - y[:, None, :])
    squares = np.sum(weights * first**2, axis=(1, 2)) * np.sum(weights * second**2, axis=(1, 2))
    return _over(np.sum(weights * first * second, axis=(1, 2)), squares)


_MEASURES: Mapping[Statistic, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "kendall": kendall,
    "spearman": spearman,
    "weighted_kendall": weighted_kendall,
}
