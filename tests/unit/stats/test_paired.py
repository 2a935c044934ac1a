from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from frostline.stats import paired


def test_without_overlap_the_corrected_test_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, size=7)
    expected = stats.ttest_1samp(differences, 0)
    found = paired.corrected_paired(differences, n_train=1e15, n_test=1, floor=0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.ci == pytest.approx(tuple(expected.confidence_interval()), abs=1e-9)


def test_corrected_test_by_hand():
    found = paired.corrected_paired(np.array([0.02, 0.06, 0.04, 0.08, 0.0]), n_train=80, n_test=20)
    se = math.sqrt((1 / 5 + 20 / 80) * 0.001)  # s^2 = 0.001
    assert (found.mean, found.se, found.df) == pytest.approx((0.04, se, 4))
    assert found.p == pytest.approx(2 * stats.t.sf(0.04 / se, 4))


def test_equal_differences_are_not_certainty():
    luck = paired.corrected_paired(np.full(5, 1 / 20), n_train=80, n_test=20)
    assert luck.p > 0.01
    assert luck.ci[0] < 1 / 20 < luck.ci[1]
    assert paired.corrected_paired(np.zeros(5), n_train=80, n_test=20).p == 1
    assert paired.corrected_paired(np.full(5, 0.5), n_train=80, n_test=20, floor=0).p == 1


def test_a_single_block_has_no_corrected_test():
    with pytest.raises(ValueError, match="at least 2"):
        paired.corrected_paired(np.array([0.1]), n_train=4, n_test=1)


def test_a_floor_with_degrees_of_freedom_sharpens_the_tail():
    values = np.array([0.3, 0.2, 0.25, 0.35, 0.2])
    plain = paired.corrected_paired(values, n_train=80, n_test=20, floor=0.004)
    known = paired.corrected_paired(values, n_train=80, n_test=20, floor=0.004, floor_df=4)
    assert known.df == 8
    assert known.p < plain.p


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_exact_mcnemar_equals_the_binomial_test(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert paired.mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
    one_sided = stats.binomtest(b, b + c, alternative="greater").pvalue if b + c else 1.0
    assert paired.mcnemar_exact(b, c, sides="greater") == pytest.approx(one_sided, rel=1e-9)


@pytest.mark.parametrize("cells", [(30, 9, 2, 9), (0, 1, 1, 0), (12, 0, 6, 40)])
def test_exact_mcnemar_equals_that_of_statsmodels(cells):
    both, only_a, only_b, neither = cells
    expected = mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
    assert paired.paired_samples(*_table(*cells)).p == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 10_000), st.floats(0.001, 0.2))
@settings(max_examples=60, deadline=None)
def test_without_overlap_within_a_margin_is_the_two_one_sided_tests_of_statsmodels(seed, margin):
    differences = np.random.default_rng(seed).normal(0.01, 0.05, size=8)
    p, _, _ = ttost_paired(differences, np.zeros(8), -margin, margin)
    found = paired.corrected_paired(differences, n_train=1e15, n_test=1, floor=0)
    assert found.within(margin) == (p < 0.05)


@pytest.mark.parametrize(("blocks", "ratio"), [(5, 0.25), (15, 0.25), (4, 1.0)])
def test_the_corrected_interval_is_scipys_t_interval_of_the_corrected_error(blocks, ratio):
    differences = np.random.default_rng(blocks).normal(size=blocks)
    found = paired.corrected_paired(differences, n_train=100, n_test=100 * ratio, floor=0, level=0.9)
    scale = np.sqrt((1 / blocks + ratio) * differences.var(ddof=1))
    assert found.ci == pytest.approx(stats.t.interval(0.9, blocks - 1, loc=differences.mean(), scale=scale))


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_holm_equals_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    assert paired.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_holm_of_nothing_is_nothing():
    assert paired.holm([]).shape == (0,)


def _table(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([1.0, 1.0, 0.0, 0.0], [both, only_a, only_b, neither])
    b = np.repeat([1.0, 0.0, 1.0, 0.0], [both, only_a, only_b, neither])
    return a, b


def test_samples_of_one_block_by_hand():
    a, b = _table(70, 12, 4, 14)
    found = paired.paired_samples(a, b)
    # Agresti & Min: half a sample more in each cell, 102 in all
    se = math.sqrt((12.5 + 4.5) / 102 - (8 / 102) ** 2) / math.sqrt(102)
    assert (found.mean, found.se) == pytest.approx((0.08, se))
    assert found.p == pytest.approx(stats.binomtest(12, 16).pvalue)
    assert found.ci == pytest.approx((0.08 - 1.959963985 * se, 0.08 + 1.959963985 * se))


def test_two_models_that_agree_everywhere_keep_a_standard_error_of_about_one_sample():
    found = paired.paired_samples(*_table(45, 0, 0, 5))
    assert (found.mean, found.p) == (0, 1)
    assert found.se == pytest.approx(1 / 52)


def test_bootstrap_of_losses_agrees_with_the_normal_theory():
    rng = np.random.default_rng(7)
    a = rng.exponential(size=500)
    b = a + rng.normal(0.05, 0.5, size=500)
    found = paired.paired_losses(a, b, rng=np.random.default_rng(0))
    se = (a - b).std(ddof=1) / math.sqrt(500)
    assert found.mean == pytest.approx(float((a - b).mean()))
    assert found.se == pytest.approx(se, rel=0.06)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.mean) / se), abs=0.03)


def test_equal_losses_show_nothing():
    a = np.random.default_rng(8).exponential(size=50)
    assert paired.paired_losses(a, a, rng=np.random.default_rng(0)).p == 1


def test_within_a_margin_needs_both_one_sided_bounds():
    result = paired.PairedResult(mean=-0.004, se=0.003, ci=(0, 0), p=1, df=math.inf)
    assert result.within(0.004 + 1.6449 * 0.003 + 1e-6)
    assert not result.within(0.004 + 1.6448 * 0.003 - 1e-6)


@pytest.mark.parametrize(("a", "b"), [([0, 1], [1]), ([0.5], [1]), ([], [])], ids=["lengths", "values", "empty"])
def test_scores_that_are_not_paired_zeros_and_ones_are_refused(a, b):
    with pytest.raises(ValueError, match="scores"):
        paired.paired_samples(np.array(a), np.array(b))
