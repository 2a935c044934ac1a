"""Rank correlations against scipy, and their intervals and p-values against what small numbers must give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from frostline.rank.agreement import agreements, correlate, kendall, spearman, weighted_kendall


@pytest.mark.parametrize("ties", [False, True])
def test_as_scipy_gives_them(ties: bool) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        x, y = generator.normal(size=(2, 9))
        if ties:
            x, y = np.round(x), np.round(y)
        assert kendall(x[None], y[None])[0] == pytest.approx(stats.kendalltau(x, y).statistic)
        assert spearman(x[None], y[None])[0] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert weighted_kendall(x[None], y[None])[0] == pytest.approx(stats.weightedtau(x, y).statistic)


def test_p_counts_all_orders_of_few_candidates() -> None:
    x = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = correlate(x, x, "kendall", seed=0)
    assert found.value == 1.0
    assert found.ci is None  # a bootstrap can't doubt it
    assert found.p == pytest.approx(2 / 120)  # this order and its reverse
    assert found.p == pytest.approx(stats.kendalltau(x, x).pvalue)
    y = [2.0, 1.0, 3.0, 5.0, 4.0]
    assert correlate(x, y, "kendall", seed=0).p == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue)


def test_p_of_many_candidates_is_never_zero() -> None:
    found = correlate(list(range(12)), list(range(12)), "spearman", seed=0, draws=50)
    assert found.p == pytest.approx(1 / 2001)


def test_the_interval_of_few_candidates_is_wide() -> None:
    found = correlate([1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5], "kendall", seed=0)
    assert found.value == pytest.approx(11 / 15)
    assert found.ci is not None
    assert found.ci[0] < 0.4
    assert found.ci[1] == pytest.approx(1.0)


def test_candidates_without_a_score_are_left_out() -> None:
    found = correlate([1.0, None, 2.0, 3.0, 9.0], [3.0, 7.0, 2.0, 1.0, None], "kendall", seed=0)
    assert (found.n, found.value) == (3, -1.0)


@pytest.mark.parametrize("a", [[1.0, 2.0], [1.0, None, None], [5.0, 5.0, 5.0, 5.0]])
def test_nothing_is_said_where_nothing_can_be(a: list[float | None]) -> None:
    found = correlate(a, list(range(len(a))), "kendall", seed=0)
    assert (found.value, found.ci, found.p) == (None, None, None)


def test_every_pair_of_scores_once_and_with_the_same_bits() -> None:
    scores = {"a": [1.0, 2.0, 3.0, 4.0], "b": [2.0, 1.0, 3.0, 4.0], "c": [4.0, 3.0, 2.0, 1.0]}
    found = agreements(scores, seed=5)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["a", "c"]["kendall"].value == -1.0
    assert found == agreements(scores, seed=5)
