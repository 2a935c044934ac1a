"""Do the classes have other shares, and do the labels mean something else? Tests that need predictions or labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.base.records import FloatArray, IntArray
from frostline.shift.findings import Proportions
from frostline.shift.sides import Side
from frostline.shift.two_sample import cross_fitted, deal_folds, gram_matrix
from frostline.stats.paired import mcnemar_exact
from frostline.stats.proportions import bbse_proportions, bootstrap_proportions, corrected, em_proportions

LEAST_SHARE = 1e-6


def shares_test(
    source: IntArray, target: IntArray, *, rng: np.random.Generator, permutations: int
) -> tuple[float, float]:
    """Return the chi-squared statistic of two lists of classes, and its permutation p-value."""
    both = np.concatenate([source, target])
    classes = int(both.max(initial=0)) + 1
    total = np.bincount(both, minlength=classes)
    seen = total > 0
    expected = total[seen] * len(target) / len(both)

    def statistic(chosen: IntArray) -> float:
        observed = np.bincount(chosen, minlength=classes)[seen]
        return float(((observed - expected) ** 2 / expected).sum())

    true = statistic(target)
    drawn = [statistic(rng.permutation(both)[: len(target)]) for _ in range(permutations)]
    return true, float((1 + np.sum(np.array(drawn) >= true - 1e-9)) / (permutations + 1))


def estimated_proportions(source: Side, target: Side, *, rng: np.random.Generator) -> tuple[Proportions, ...]:
    """Return the target's shares of the source's classes by both methods; none where predictions aren't known."""
    if source.probabilities is None or target.probabilities is None or source.labels is None:
        return ()
    known = source.labels >= 0
    labels = source.labels[known]
    probabilities = source.probabilities[known]
    classes = probabilities.shape[1]
    shares = np.bincount(labels, minlength=classes) / max(len(labels), 1)

    def em(seen: FloatArray) -> FloatArray:
        return em_proportions(seen, shares)

    def bbse(seen: FloatArray) -> FloatArray:
        return bbse_proportions(probabilities, labels, seen)

    return (
        Proportions(
            method="em",
            source=shares,
            target=em(target.probabilities),
            interval=bootstrap_proportions(em, target.probabilities, rng=rng),
        ),
        Proportions(
            method="bbse",
            source=shares,
            target=bbse(target.probabilities),
            interval=bootstrap_proportions(bbse, target.probabilities, rng=rng),
        ),
    )


def counted_proportions(source: Side, target: Side, classes: int) -> Proportions | None:
    """Return the target's shares as its labels count them, with Wilson's intervals; None without labels."""
    from frostline.stats.intervals import wilson

    if source.labels is None or target.labels is None:
        return None
    known = target.labels[(target.labels >= 0) & (target.labels < classes)]
    if not len(known):
        return None
    own = source.labels[source.labels >= 0]
    counts = np.bincount(known, minlength=classes)
    return Proportions(
        method="counted",
        source=np.bincount(own, minlength=classes) / max(len(own), 1),
        target=counts / len(known),
        interval=np.array([wilson(int(count), len(known)) for count in counts]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTest:
    """A head fitted to the target's labels against the source's head, on the same samples: accuracies, and the
    one-sided p-value of "the new one is no better, or not more so than on the source"."""

    refitted: float
    source: float
    p: float


def head_test(source: Side, target: Side, rows: IntArray, *, rng: np.random.Generator) -> HeadTest | None:
    """Ask whether the labels mean something else: does a refitted head beat the source's, corrected for the shares?

    The new head is ridge regression on the last features, cross-fitted on the target's labelled `rows`. It has to be
    better there (McNemar's exact test), and more so than a head that is refitted to the source's labels (normal
    approximation): a poor head of the source's own says nothing of the labels. None where the source's predictions
    aren't known.
    """
    if target.probabilities is None or target.labels is None or len(rows) < 2:
        return None
    if source.probabilities is None or source.labels is None:
        return None
    own = np.flatnonzero(source.labels >= 0)
    by_source, by_new = _right(target, rows, source.labels[own], rng)
    better = int((by_new & ~by_source).sum())
    worse = int((by_source & ~by_new).sum())
    p = mcnemar_exact(better, worse, sides="greater")
    if len(own) > 1:
        first, second = _right(source, own, source.labels[own], rng)
        p = max(p, _larger(by_new.astype(float) - by_source, second.astype(float) - first))
    return HeadTest(refitted=float(by_new.mean()), source=float(by_source.mean()), p=p)


def _right(
    side: Side, rows: IntArray, learnt: IntArray, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of these labelled rows the source's head answers right, and which a head refitted to them does.

    `learnt` are the labels that the source's head was fitted to.
    """
    assert side.probabilities is not None
    assert side.labels is not None
    labels = side.labels[rows]
    classes = side.probabilities.shape[1]
    before = np.bincount(learnt, minlength=classes) + LEAST_SHARE
    now = np.bincount(labels, minlength=classes) + LEAST_SHARE
    factors = (now / now.sum()) / (before / before.sum())
    by_source = corrected(side.probabilities[rows], factors).argmax(axis=1) == labels
    hat = cross_fitted(gram_matrix(side.last[rows]), deal_folds(side.groups[rows], rng))
    targets = np.eye(classes)[labels]
    shares = targets.mean(axis=0)
    by_new = (hat @ (targets - shares) + shares).argmax(axis=1) == labels
    return by_source, by_new


def _larger(first: FloatArray, second: FloatArray) -> float:
    """Return the one-sided p-value of "the mean of the first isn't larger than that of the second"."""
    from scipy.stats import norm

    spread = np.sqrt(first.var() / len(first) + second.var() / len(second))
    difference = float(first.mean() - second.mean())
    if spread <= 0:
        return 1.0 if difference <= 0 else 0.0
    return float(norm.sf(difference / spread))
