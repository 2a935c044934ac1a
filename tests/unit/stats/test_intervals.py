from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from frostline.stats import intervals


@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99])
)
@settings(max_examples=60, deadline=None)
def test_wilson_equals_statsmodels(counts, level):
    successes, n = counts
    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert intervals.wilson(successes, n, level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_corrected_interval_without_overlap_is_scipys_t_interval(level):
    values = np.random.default_rng(1).normal(size=6)
    corrected = intervals.corrected_interval(values, n_train=1e15, n_test=1, floor=0, level=level)
    assert corrected == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(level)), abs=1e-9)


def test_corrected_interval_by_hand():
    values = np.array([0.90, 0.94, 0.92, 0.96, 0.88])  # mean 0.92, s^2 = 0.001
    half = 2.7764451052 * math.sqrt((1 / 5 + 1 / 4) * 0.001)
    assert intervals.corrected_interval(values, n_train=80, n_test=20) == pytest.approx((0.92 - half, 0.92 + half))


def test_equal_blocks_keep_the_width_that_one_sample_in_one_block_would_give():
    one_changed = intervals.corrected_standard_error(np.array([0.9, 0.9, 0.9, 0.9 + 1 / 40]), n_train=120, n_test=40)
    equal = intervals.corrected_standard_error(np.full(4, 0.9), n_train=120, n_test=40)
    assert equal == pytest.approx(one_changed)


def test_a_floor_with_degrees_of_freedom_is_averaged_in_and_still_a_floor():
    values = np.array([0.1, 0.3, 0.2])  # s^2 = 0.01 with 2 degrees of freedom

    def se(floor, df):
        return intervals.corrected_standard_error(values, n_train=2, n_test=1, floor=floor, floor_df=df)

    assert se(0.004, 2) == pytest.approx(math.sqrt((1 / 3 + 1 / 2) * 0.007))
    assert se(0.04, 2) == pytest.approx(math.sqrt((1 / 3 + 1 / 2) * 0.04))
    assert se(0.004, 0) == pytest.approx(math.sqrt((1 / 3 + 1 / 2) * 0.01))


def test_a_spread_of_one_block_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        intervals.corrected_interval(np.array([0.9]), n_train=4, n_test=1)


@pytest.mark.parametrize("few", [True, False], ids=["few-distinct-values", "many-distinct-values"])
def test_bootstrap_interval_agrees_with_scipy_and_repeats_itself(few):
    rng = np.random.default_rng(3)
    values = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=400) if few else rng.exponential(size=400)
    found = intervals.bootstrap_interval(values, rng=np.random.default_rng(0), draws=6000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=3000, method="percentile", rng=1).confidence_interval
    assert found == pytest.approx(tuple(expected), abs=0.12 * (expected.high - expected.low))
    assert found == intervals.bootstrap_interval(values, rng=np.random.default_rng(0), draws=6000)


def test_bootstrap_in_chunks_draws_as_many_as_asked(monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK", 1000)
    values = np.random.default_rng(4).normal(size=300)
    means = intervals.bootstrap_means(values, rng=np.random.default_rng(0), draws=500)
    assert means.shape == (500,)
    assert means.std() == pytest.approx(values.std() / math.sqrt(300), rel=0.1)


def test_corrected_interval_covers_the_procedure_where_the_plain_one_does_not():
    """Every training row moves the procedure a little, every test row is easy or hard: 5 folds, both as strong."""
    rng, folds, per_fold, covered = np.random.default_rng(5), 5, 40, {"corrected": 0, "plain": 0}
    studies = 1500
    influence = rng.normal(size=(studies, folds, per_fold)).mean(axis=2)
    difficulty = rng.normal(size=(studies, folds, per_fold)).mean(axis=2)
    training = (influence.sum(axis=1, keepdims=True) - influence) / (folds - 1)
    for blocks in training + difficulty:  # the truth is 0
        low, high = intervals.corrected_interval(blocks, n_train=160, n_test=40, floor=0)
        covered["corrected"] += low <= 0 <= high
        low, high = stats.t.interval(0.95, folds - 1, blocks.mean(), stats.sem(blocks))
        covered["plain"] += low <= 0 <= high
    assert covered["corrected"] / studies >= 0.93
    assert covered["plain"] / studies < 0.90
