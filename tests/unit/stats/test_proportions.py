"""Shares of the classes against worked examples and exact cases."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.stats.proportions import bbse_proportions, bootstrap_proportions, corrected, em_proportions


def test_corrected_probabilities_by_hand() -> None:
    found = corrected(np.array([[0.5, 0.5], [0.8, 0.2]]), np.array([0.5, 2.0]))
    assert np.allclose(found, [[0.2, 0.8], [0.5, 0.5]])


def test_em_solves_its_fixed_point_in_a_worked_example() -> None:
    # Half of the samples are surely the first class, half can't be told apart: q = 1/2 + q/2, so all are the first.
    found = em_proportions(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0.5, 0.5]))
    assert found == pytest.approx([1.0, 0.0], abs=1e-5)


def test_em_finds_the_shares_of_sure_predictions() -> None:
    probabilities = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    assert em_proportions(probabilities, np.full(3, 1 / 3)) == pytest.approx([1 / 2, 1 / 3, 1 / 6])


def test_em_and_bbse_recover_the_shares_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)

    def posterior(x: np.ndarray) -> np.ndarray:  # of N(-1, 1) and N(1, 1), equally frequent
        second = 1 / (1 + np.exp(-2 * x))
        return np.stack([1 - second, second], axis=1)

    labels = rng.integers(0, 2, 4000)
    target = rng.random(4000) < 0.2
    own = posterior(rng.normal(2.0 * labels - 1))
    other = posterior(rng.normal(2.0 * target - 1))
    assert em_proportions(other, np.array([0.5, 0.5])) == pytest.approx([0.8, 0.2], abs=0.03)
    assert bbse_proportions(own, labels, other) == pytest.approx([0.8, 0.2], abs=0.03)


def test_bbse_inverts_a_known_confusion_and_bears_a_singular_one() -> None:
    # 80 % and 90 % of the two classes are recognised; with shares 0.3 and 0.7 the first is predicted in 31 %.
    labels = np.repeat([0, 1], [10, 10])
    predicted = np.array([0] * 8 + [1] * 2 + [0] * 1 + [1] * 9)
    target = np.array([0] * 31 + [1] * 69)
    assert bbse_proportions(np.eye(2)[predicted], labels, np.eye(2)[target]) == pytest.approx([0.3, 0.7])
    same = np.tile([0.6, 0.4], (20, 1))
    assert bbse_proportions(same, labels, same) == pytest.approx([0.5, 0.5])


def test_intervals_hold_the_estimate() -> None:
    probabilities = np.eye(2)[np.repeat([0, 1], [60, 40])]
    rng = np.random.default_rng(0)
    low, high = bootstrap_proportions(lambda p: em_proportions(p, np.array([0.5, 0.5])), probabilities, rng=rng)[0]
    assert (round(low, 2), round(high, 2)) == pytest.approx((0.5, 0.7), abs=0.03)
