"""Readings of features against scikit-learn, numpy and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from frostline.pretrain.monitor import Reading, collapse, effective_rank, knn_accuracy, reading_epochs, unit_spread


def reading(rank: float, std: float, projection: float | None = None) -> Reading:
    return Reading(effective_rank=rank, std=std, knn_accuracy=None, projection_std=projection)


def test_even_features_have_full_rank_and_equal_ones_rank_one() -> None:
    assert effective_rank(torch.eye(8)) == pytest.approx(8, rel=1e-4)
    assert effective_rank(torch.ones(20, 8)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.zeros(20, 8)) == 0.0


def test_effective_rank_is_the_entropy_of_the_singular_values() -> None:
    features = torch.randn((30, 6), generator=torch.Generator().manual_seed(0))
    values = np.linalg.svd(features.double().numpy(), compute_uv=False)
    shares = values / values.sum()
    assert effective_rank(features) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)


def test_spread_goes_from_nothing_to_even() -> None:
    generator = torch.Generator().manual_seed(0)
    assert unit_spread(torch.randn((4000, 16), generator=generator)) == pytest.approx(1, abs=0.02)
    assert unit_spread(5 * torch.ones(50, 16)) == pytest.approx(0, abs=1e-6)
    assert unit_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(2**0.5 / 2)


def test_nearest_neighbours_vote_as_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 25, 30])
    features = rng.normal(size=(75, 4)) + np.eye(3, 4)[labels]
    theirs = KNeighborsClassifier(19, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    found = cross_val_predict(theirs, features, labels, cv=LeaveOneOut())
    assert knn_accuracy(torch.from_numpy(features), labels) == pytest.approx((found == labels).mean())


def test_a_class_of_two_is_found_by_one_neighbour() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [0.0, 0.9]])
    assert knn_accuracy(features, np.array([0, 0, 1, 1, 1])) == 1.0


def test_features_are_read_at_the_start_at_the_end_and_between() -> None:
    assert reading_epochs(3) == {0, 1, 2, 3}
    assert reading_epochs(50) == {0, *range(5, 51, 5)}
    assert {0, 33} < reading_epochs(33)


@pytest.mark.parametrize(
    ("readings", "word"),
    [
        ([reading(20, 0.5), reading(18, 0.01)], "the same features"),
        ([reading(20, 0.5), reading(3, 0.3)], "few directions"),
        ([reading(20, 0.5, 0.2), reading(18, 0.4, 0.05)], "projections"),
        ([reading(20, 0.5), reading(0, 0.0)], "the same features"),
    ],
)
def test_degenerate_features_are_named(readings: list[Reading], word: str) -> None:
    assert word in (collapse(readings) or "")


@pytest.mark.parametrize(
    "readings",
    [
        [reading(20, 0.5), reading(18, 0.4)],
        [reading(1.5, 0.5), reading(1.6, 0.4)],  # as low as at the start
        [reading(20, 0.5, 0.02), reading(18, 0.4, 0.05)],  # projections that still part
    ],
)
def test_healthy_features_are_left_in_peace(readings: list[Reading]) -> None:
    assert collapse(readings) is None
