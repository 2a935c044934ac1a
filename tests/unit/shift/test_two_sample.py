"""The permutation test against formulas by hand and scikit-learn, and its false alarms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from frostline.shift.two_sample import (
    RIDGE,
    Design,
    area_under_curve,
    cross_fitted,
    gram_matrix,
    permuted_sides,
    two_sample_test,
)


def design(first: int, second: int, groups: np.ndarray | None = None, strata: np.ndarray | None = None) -> Design:
    count = first + second
    return Design(
        side=np.repeat([0, 1], [first, second]),
        groups=np.arange(count) if groups is None else groups,
        strata=np.zeros(count, dtype=np.int64) if strata is None else strata,
    )


def test_scores_are_those_of_ridge_regression_on_the_other_folds() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    y = np.repeat([-1.0, 1.0], 20)
    folds = np.arange(40) % 5
    found = cross_fitted(gram_matrix(x), folds) @ y
    z = (x - x.mean(0)) / x.std(0)
    for fold in range(5):
        model = Ridge(alpha=RIDGE * 6, fit_intercept=False).fit(z[folds != fold], y[folds != fold])
        assert np.allclose(found[folds == fold], model.predict(z[folds == fold]))


def test_area_under_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 60).astype(float)
    scores = np.round(rng.normal(size=60) + labels, 1)  # with ties
    assert area_under_curve(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_the_discrepancy_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=(15, 4)), rng.normal(size=(15, 4)) + 0.7])
    found = two_sample_test({1: x}, design(15, 15), rng=np.random.default_rng(0), permutations=9)
    z = (x - x.mean(0)) / x.std(0) / np.sqrt(4)
    squared = ((z[:, None] - z[None]) ** 2).sum(-1)
    kernel = rbf_kernel(z, gamma=1 / np.median(squared[np.triu_indices(30, 1)]))
    by_hand = kernel[:15, :15].mean() + kernel[15:, 15:].mean() - 2 * kernel[:15, 15:].mean()
    assert next(t.effect for t in found.tests if t.name == "mmd") == pytest.approx(by_hand)


def test_groups_stay_whole_and_within_their_stratum() -> None:
    groups = np.repeat(np.arange(8), 3)
    strata = np.repeat([0, 1], 12)
    moved = permuted_sides(design(6, 18, groups, strata), 50, np.random.default_rng(0))
    assert all(len(np.unique(moved[groups == g, b])) == 1 for g in range(8) for b in range(51))
    assert (moved[:12].sum(axis=0) == 6).all()
    assert (moved[12:].sum(axis=0) == 12).all()
    assert len({tuple(column) for column in moved.T}) > 3


def test_false_alarms_are_as_rare_as_said_and_a_shift_is_seen() -> None:
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(40, 5))
        found = two_sample_test({1: x, 2: x**2}, design(20, 20), rng=rng, permutations=39)
        alarms += found.p <= 0.05
    assert alarms <= 11  # of 100 at 5 %: more happens once in a hundred times
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(30, 5)), rng.normal(size=(30, 5)) + 1.0])
    assert two_sample_test({1: x}, design(30, 30), rng=rng).p == pytest.approx(1 / 200)


def test_copies_in_groups_are_no_evidence() -> None:
    rng = np.random.default_rng(3)
    x = np.repeat(rng.normal(size=(6, 4)), 20, axis=0)
    groups = np.repeat(np.arange(6), 20)
    found = two_sample_test({1: x}, design(60, 60, groups), rng=rng, permutations=99)
    assert found.p > 0.05


def test_features_that_never_change_show_nothing() -> None:
    found = two_sample_test({1: np.ones((20, 3))}, design(10, 10), rng=np.random.default_rng(0), permutations=19)
    assert found.p == 1.0


def test_differences_that_cancel_out_over_the_strata_are_seen_where_each_may_differ_in_its_own_way() -> None:
    rng = np.random.default_rng(4)
    strata = np.tile([0, 1], 40)
    side = np.repeat([0, 1], 40)
    x = rng.normal(size=(80, 4))
    x[:, 0] += 3.0 * np.where(strata == side, 1, -1)  # what is the first class on one side is the second on the other
    one = design(40, 40, strata=strata)
    together = two_sample_test({1: x}, one, rng=np.random.default_rng(0), permutations=99)
    apart = two_sample_test({1: x}, replace(one, apart=True), rng=np.random.default_rng(0), permutations=99)
    assert together.p > 0.05
    assert apart.p == pytest.approx(0.01)
