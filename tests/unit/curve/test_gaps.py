"""Means and intervals of a curve against scipy, and against those of the comparison of strategies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from frostline.curve.gaps import (
    GAPS,
    Folds,
    Judged,
    difference_spread,
    gap_estimate,
    over_folds,
    over_splits,
    row_estimate,
)
from frostline.curve.protocol import Unit
from frostline.stats.intervals import wilson
from frostline.stats.paired import corrected_paired, paired_samples, sample_variance

RNG = np.random.default_rng(1)
FOLDS = Folds(n_train=80.0, n_test=20.0)


def full_scores(shift: float = 0.0) -> dict[Unit, Judged]:
    return {
        Unit(split=split, direction=direction, seed=seed): Judged(
            accuracy=float(RNG.uniform(0.7, 0.9) - shift), right=np.zeros(0)
        )
        for split in (1, 2, 3, 4)
        for direction in ("A->B", "B->A")
        for seed in (1, 2)
    }


def fold_scores(folds: int, seeds: int = 1) -> dict[Unit, Judged]:
    scores = {}
    for fold in range(1, folds + 1):
        for seed in range(1, seeds + 1):
            right = RNG.integers(0, 6, 20) / 5
            unit = Unit(split=fold, direction=None, seed=seed)
            scores[unit] = Judged(accuracy=float(right.mean()), right=right)
    return scores


def by_split(scores: dict[Unit, Judged]) -> list[float]:
    return [float(np.mean([j.accuracy for u, j in scores.items() if u.split == s])) for s in (1, 2, 3, 4)]


def test_a_row_of_the_full_protocol_has_the_t_interval_over_splits() -> None:
    scores = full_scores()
    means = by_split(scores)
    found = row_estimate(scores, None)
    assert found.mean == pytest.approx(np.mean(means))
    assert found.ci == pytest.approx(stats.t.interval(0.95, 3, np.mean(means), stats.sem(means)))
    assert found.units == 4


def test_a_gap_of_the_full_protocol_is_the_paired_t_test() -> None:
    first, second = full_scores(), full_scores(0.1)
    found = gap_estimate(first, second, None)
    expected = stats.ttest_rel(by_split(first), by_split(second)).confidence_interval(0.95)
    assert found.ci == pytest.approx((expected.low, expected.high))


def test_equal_arms_have_no_gap_and_no_width() -> None:
    scores = full_scores()
    assert gap_estimate(scores, scores, None).ci == (0.0, 0.0)


def test_one_split_has_no_interval() -> None:
    assert over_splits([0.3]).ci is None
    assert over_splits([0.3]).mean == 0.3


def test_a_gap_is_taken_over_the_units_that_both_arms_have() -> None:
    first, second = full_scores(), full_scores()
    gone = Unit(split=1, direction="A->B", seed=1)
    found = gap_estimate(first, {u: j for u, j in second.items() if u != gone}, None)
    kept = {u: first[u].accuracy - second[u].accuracy for u in first if u != gone}
    means = [np.mean([d for u, d in kept.items() if u.split == s]) for s in (1, 2, 3, 4)]
    assert found.mean == pytest.approx(np.mean(means))
    assert gap_estimate(first, {}, None) is None


def test_folds_are_compared_as_strategies_are() -> None:
    differences = [RNG.choice([-1.0, 0.0, 1.0], 20) for _ in range(5)]
    every = np.concatenate(differences)
    right, wrong = (every > 0).astype(float), (every < 0).astype(float)
    expected = corrected_paired(
        np.array([d.mean() for d in differences]),
        n_train=80,
        n_test=20,
        floor=sample_variance(right, wrong) / 20,
        floor_df=4,
    )
    found = over_folds(differences, FOLDS)
    assert found.ci == pytest.approx(expected.ci)
    assert found.mean == pytest.approx(expected.mean)


def test_a_single_fold_is_compared_over_samples() -> None:
    a, b = RNG.integers(0, 2, 50).astype(float), RNG.integers(0, 2, 50).astype(float)
    assert difference_spread(a - b) == pytest.approx(sample_variance(a, b))
    assert over_folds([a - b], FOLDS).ci == pytest.approx(paired_samples(a, b).ci)
    scores = {Unit(split=1, direction=None, seed=1): Judged(accuracy=float(a.mean()), right=a)}
    assert row_estimate(scores, FOLDS).ci == pytest.approx(wilson(float(a.sum()), 50))


def test_seeds_of_a_fold_are_averaged_sample_by_sample() -> None:
    scores = fold_scores(1, seeds=2)
    one, two = (judged.right for judged in scores.values())
    zero = {unit: Judged(accuracy=0.0, right=np.zeros(20)) for unit in scores}
    assert gap_estimate(scores, zero, FOLDS).ci == pytest.approx(over_folds([(one + two) / 2], FOLDS).ci)


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_an_interval_holds_its_mean_and_stays_within_0_and_1(folds: int) -> None:
    low, high = row_estimate(fold_scores(folds), FOLDS).ci or (2.0, -1.0)
    assert 0 <= low < high <= 1
    perfect = {u: Judged(accuracy=1.0, right=np.ones(20)) for u in fold_scores(folds)}
    low, high = row_estimate(perfect, FOLDS).ci or (2.0, -1.0)
    assert low < 1.0 == high


def test_the_loss_is_the_sum_of_its_two_causes() -> None:
    arms = {name: full_scores() for name in ("base", "BnB", "AnB")}
    gap = {name: gap_estimate(arms[a], arms[b], None).mean for name, (a, b) in GAPS.items() if {a, b} <= set(arms)}
    assert gap["loss"] == pytest.approx(gap["co-adaptation"] + gap["specificity"])
