"""Do two sets of samples come from one distribution? Two statistics, and one permutation test over all depths.

The classifier two-sample test (Lopez-Paz & Oquab 2017) asks how well held-out samples are told apart; here by ridge
regression on standardised features, whose cross-fitted scores are linear in the labels, so that every permutation is
refitted at the cost of a product. The maximum mean discrepancy (Gretton et al. 2012, equation 3) compares means in the
space of a Gaussian kernel of median width. Each statistic is put in units of its deviation under permutation, and the
largest over all depths is compared with the largest of each permutation: one p-value for all of them (Westfall & Young
1993). Permutations keep groups whole, and may be kept within strata, such as the classes. Strata may differ each in its
own way, and differences that cancel out over all of them (exchanged labels) are then seen too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray

FOLDS = 5
RIDGE = 1.0  # penalty in units of the mean squared length of a standardised sample
LEAST_SPREAD = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What is permuted: `side` (N,) is 0 for the source and 1 for the target, `groups` (N,) stay whole, and labels
    move within `strata` (N,) alone. `apart`: a stratum may differ in a way of its own; half of the similarity of two
    samples then depends on their stratum."""

    side: IntArray
    groups: IntArray
    strata: IntArray
    apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTest:
    """One statistic at one depth, with its own p-value and the one that is corrected for all statistics and depths;
    `effect` is the area under the ROC curve of held-out samples for a classifier, the discrepancy for a kernel."""

    name: str
    stage: int
    statistic: float
    effect: float
    p: float
    corrected: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoSample:
    """All statistics, the p-value of the largest, and cross-fitted scores (N,) of the last depth, larger for the
    target."""

    tests: tuple[StageTest, ...]
    p: float
    scores: FloatArray


def two_sample_test(
    features: Mapping[int, FloatArray], design: Design, *, rng: np.random.Generator, permutations: int = 199
) -> TwoSample:
    """Test whether the sides differ at any depth; `features` (N, D) are of both sides, in the order of `design`.

    The p-value is (1 + #{permuted >= observed}) / (permutations + 1).
    """
    labels = permuted_sides(design, permutations, rng)
    folds = deal_folds(design.groups, rng)
    near = _nearness(design)
    rows: list[tuple[str, int, FloatArray, float]] = []
    scores = np.zeros(len(design.side))
    for stage in sorted(features):
        gram = gram_matrix(features[stage])
        hat = cross_fitted(gram * near, folds)
        rows.append(("c2st", stage, *_classifier(hat, labels, design.strata)))
        scores = hat @ (2.0 * labels[:, 0] - 1.0)
        rows.append(("mmd", stage, *_discrepancy(gram, near, labels, design.strata)))
    standard = np.stack([_standardised(values) for _, _, values, _ in rows])
    largest = standard.max(axis=0)
    tests = tuple(
        StageTest(
            name=name,
            stage=stage,
            statistic=_deviations(values),
            effect=effect,
            p=_p(standard[k]),
            corrected=float(np.mean(largest >= standard[k, 0] - 1e-12)),
        )
        for k, (name, stage, values, effect) in enumerate(rows)
    )
    return TwoSample(tests=tests, p=_p(largest), scores=scores)


def _p(values: FloatArray) -> float:
    """Return the share of permutations, the observed one counted in, that reach the observed value, which is first."""
    return float(np.mean(values >= values[0] - 1e-12))


def _standardised(values: FloatArray) -> FloatArray:
    """Return values in units of their deviation. The observed one, which is first, counts too: all are then treated
    alike, without which false alarms are more frequent than said."""
    spread = max(float(values.std()), LEAST_SPREAD)
    return np.asarray((values - values.mean()) / spread)


def _deviations(values: FloatArray) -> float:
    """Return how many standard deviations of the permuted values the observed one lies above their mean."""
    spread = max(float(values[1:].std()), LEAST_SPREAD)
    return float((values[0] - values[1:].mean()) / spread)


def _nearness(design: Design) -> FloatArray:
    """Return what the similarity of two samples is multiplied by (N, N): 1, or a half for strata that are apart."""
    same = design.strata[:, None] == design.strata[None, :]
    return np.asarray(np.where(same | (not design.apart), 1.0, 0.5))


def permuted_sides(design: Design, permutations: int, rng: np.random.Generator) -> FloatArray:
    """Return the sides (N, 1 + permutations), the true ones first; groups stay whole, and move within their stratum.

    A group's stratum is that of most of its members.
    """
    _, first, group = np.unique(design.groups, return_index=True, return_inverse=True)
    side = design.side[first].astype(np.float64)
    strata = _stratum_of_groups(design.strata, group, len(first))
    columns = [side]
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for _ in range(permutations):
        moved = side.copy()
        for rows in members:
            moved[rows] = side[rng.permutation(rows)]
        columns.append(moved)
    return np.asarray(np.stack(columns, axis=1)[group])


def _stratum_of_groups(strata: IntArray, group: IntArray, count: int) -> IntArray:
    names, numbers = np.unique(strata, return_inverse=True)
    votes = np.zeros((count, len(names)))
    np.add.at(votes, (group, numbers), 1.0)
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)


def deal_folds(groups: IntArray, rng: np.random.Generator) -> IntArray:
    """Number the folds (N,): groups in random order, dealt out evenly."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    dealt = np.empty(count, dtype=np.int64)
    dealt[rng.permutation(count)] = np.arange(count) % FOLDS
    return np.asarray(dealt[group])


def gram_matrix(features: FloatArray) -> FloatArray:
    """Return the inner products (N, N) of standardised features, in units of their mean squared length."""
    x = np.asarray(features, dtype=np.float64)
    spread = x.std(axis=0)
    kept = spread > 1e-6 * max(float(spread.max(initial=0.0)), LEAST_SPREAD)
    if not kept.any():
        return np.zeros((len(x), len(x)))
    x = (x[:, kept] - x[:, kept].mean(axis=0)) / spread[kept]
    return np.asarray(x @ x.T / x.shape[1])


def cross_fitted(gram: FloatArray, folds: IntArray) -> FloatArray:
    """Return H (N, N) with held-out ridge scores H y for any labels y (N,): a row of it is 0 on its own fold."""
    hat = np.zeros_like(gram)
    for fold in range(FOLDS):
        held = np.flatnonzero(folds == fold)
        rest = np.flatnonzero(folds != fold)
        if not len(held) or not len(rest):
            continue
        inner = gram[np.ix_(rest, rest)] + RIDGE * np.eye(len(rest))
        hat[np.ix_(held, rest)] = np.linalg.solve(inner, gram[np.ix_(rest, held)]).T
    return hat


def _classifier(hat: FloatArray, labels: FloatArray, strata: IntArray) -> tuple[FloatArray, float]:
    """Return the difference of mean held-out scores between the sides, within strata, for each column of labels; and
    the area under the curve of the true ones."""
    weights = _contrasts(labels, strata)
    scores = hat @ _centred(labels, strata)
    return np.einsum("nb,nb->b", weights, scores), area_under_curve(scores[:, 0], labels[:, 0])


def _discrepancy(gram: FloatArray, near: FloatArray, labels: FloatArray, strata: IntArray) -> tuple[FloatArray, float]:
    squared = np.maximum(np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram, 0.0)
    above = squared[np.triu_indices(len(squared), 1)]
    width = max(float(np.median(above)), LEAST_SPREAD)
    kernel = np.exp(-squared / width) * near
    weights = _contrasts(labels, strata)
    values = np.einsum("nb,nb->b", weights, kernel @ weights)
    return values, float(values[0])


def _centred(labels: FloatArray, strata: IntArray) -> FloatArray:
    """Return the labels less their mean within each stratum."""
    centred = labels.copy()
    for rows in _members(strata):
        centred[rows] -= labels[rows].mean(axis=0)
    return centred


def _contrasts(labels: FloatArray, strata: IntArray) -> FloatArray:
    """Return weights (N, B) that give the mean difference target - source, within strata, weighted by their overlap."""
    weights = _centred(labels, strata)
    total = np.maximum(np.abs(weights).sum(axis=0) / 2, LEAST_SPREAD)
    return np.asarray(weights / total)


def _members(strata: IntArray) -> Sequence[IntArray]:
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def area_under_curve(scores: FloatArray, labels: FloatArray) -> float:
    """Return the chance that a target sample scores above a source sample, ties counted half (Mann & Whitney 1947)."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    target = labels > 0.5
    above = int(target.sum())
    below = len(labels) - above
    if not above or not below:
        return 0.5
    return float((ranks[target].sum() - above * (above + 1) / 2) / (above * below))
