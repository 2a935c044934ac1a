"""Each score against its formula: by hand, by explicit matrices, or by another way to the same number."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.neighbors import KNeighborsClassifier

from frostline.rank.scores import (
    DISTORTION,
    gbc,
    h_score,
    h_score_shrunk,
    knn,
    leep,
    log_me,
    nleep,
    trans_rate,
)

Score = Callable[[np.ndarray, np.ndarray], float]
SCORES: dict[str, Score] = {
    "knn": knn,
    "log_me": log_me,
    "h_score": h_score,
    "h_score_shrunk": h_score_shrunk,
    "gbc": gbc,
    "trans_rate": trans_rate,
    "nleep": lambda x, y: nleep(x, y, seed=3),
}


def drawn(rows: int = 60, width: int = 5, classes: int = 3, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = np.arange(rows) % classes
    centres = apart * generator.normal(size=(classes, width))
    return centres[labels] + generator.normal(size=(rows, width)) + 2.0, labels


def test_log_me_is_the_maximum_of_the_evidence() -> None:
    """Directly: log N(y; 0, I / beta + F F' / alpha), maximised over log alpha and log beta."""
    x, y = drawn()
    best = []
    for label in range(3):
        target = (y == label).astype(float)

        def negative(logs: np.ndarray, target: np.ndarray = target) -> float:
            covariance = np.eye(len(x)) * np.exp(-logs[1]) + x @ x.T * np.exp(-logs[0])
            _, determinant = np.linalg.slogdet(2 * np.pi * covariance)
            return 0.5 * (determinant + target @ np.linalg.solve(covariance, target))

        exactly = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}
        starts = ([0.0, 0.0], [3.0, 2.0], [-1.0, 3.0])
        runs = [minimize(negative, start, method="Nelder-Mead", options=exactly) for start in starts]
        best.append(-min(run.fun for run in runs) / len(x))
    assert log_me(x, y) == pytest.approx(np.mean(best), abs=1e-7)


def test_log_me_is_where_the_papers_fixed_point_ends() -> None:
    x, y = drawn(rows=40, width=80)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    total = 0.0
    for label in range(3):
        target = (y == label).astype(float)
        along = (left.T @ target) ** 2
        alpha = beta = 1.0
        for _ in range(5000):
            gamma = np.sum(singular**2 / (singular**2 + alpha / beta))
            mean = np.sum(along * singular**2 / (alpha / beta + singular**2) ** 2)
            rest = target @ target - np.sum(along) + np.sum(along / (1 + singular**2 * beta / alpha) ** 2)
            alpha, beta = gamma / mean, (len(x) - gamma) / rest
        evidence = 80 / 2 * np.log(alpha) + 40 / 2 * np.log(beta) - beta / 2 * rest - alpha / 2 * mean
        padded = np.concatenate([singular**2, np.zeros(40)])
        evidence -= 0.5 * np.sum(np.log(alpha + beta * padded)) + 40 / 2 * np.log(2 * np.pi)
        total += evidence / 40
    assert log_me(x, y) == pytest.approx(total / 3, abs=1e-6)


def test_h_score_by_explicit_matrices() -> None:
    x, y = drawn()
    means = np.stack([x[y == label].mean(axis=0) for label in y])
    expected = np.trace(np.linalg.inv(np.cov(x.T)) @ np.cov(means.T))
    assert h_score(x, y) == pytest.approx(expected)


def test_h_score_is_as_large_as_it_can_be_with_few_samples() -> None:
    x, y = drawn(rows=12, width=40, apart=0.0)
    assert h_score(x, y) == pytest.approx(2.0)
    assert h_score_shrunk(x, y) < 1.0


def test_the_shrunk_h_score_by_explicit_matrices() -> None:
    """Ledoit & Wolf's shrinkage from its definition: beta over delta, sample by sample."""
    x, y = drawn(rows=30, width=8)
    z = x - x.mean(axis=0)
    covariance = z.T @ z / 30
    mu = np.trace(covariance) / 8
    delta = np.sum((covariance - mu * np.eye(8)) ** 2) / 8
    beta = sum(np.sum((np.outer(row, row) - covariance) ** 2) for row in z) / 30**2 / 8
    a = min(beta, delta) / delta
    shrunk = (1 - a) * covariance + a * mu * np.eye(8)
    means = np.stack([z[y == label].mean(axis=0) for label in y])
    between = means.T @ means / 30
    assert h_score_shrunk(x, y) == pytest.approx((1 - a) * np.trace(np.linalg.inv(shrunk) @ between))


def test_trans_rate_by_determinants() -> None:
    x, y = drawn()
    z = x - x.mean(axis=0)
    z /= np.sqrt(np.mean(np.sum(z**2, axis=1)))

    def rate(part: np.ndarray) -> float:
        inner = np.eye(5) + 5 / (len(part) * DISTORTION) * part.T @ part
        return 0.5 * float(np.linalg.slogdet(inner)[1])

    expected = rate(z) - sum(len(z[y == c]) / len(z) * rate(z[y == c]) for c in range(3))
    assert trans_rate(x, y) == pytest.approx(expected)


def test_gbc_of_two_classes_by_hand() -> None:
    """One feature: means -2 and 2; variances 1 and 4 (and the floor, 1e-4 of the total variance)."""
    x = np.array([[-3.0], [-1.0], [0.0], [4.0]])
    y = np.array([0, 0, 1, 1])
    total = 6.5
    one, four, middle = 1 + 1e-4 * total, 4 + 1e-4 * total, 2.5 + 1e-4 * total
    distance = 16 / middle / 8 + 0.5 * math.log(middle / math.sqrt(one * four))
    assert gbc(x, y) == pytest.approx(-2 * math.exp(-distance))


def test_gbc_of_equal_classes_is_the_lowest() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=(10, 3)), (3, 1))
    assert gbc(x, np.repeat([0, 1, 2], 10)) == pytest.approx(-6.0)


def test_leep_on_a_table_of_two_by_two() -> None:
    """P(y, z) = [[.425, .075], [.125, .375]], so P(y=0 | z) = (.425/.55, .075/.45)."""
    theta = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    first, second = 0.425 / 0.55, 0.075 / 0.45
    expected = [
        0.9 * first + 0.1 * second,
        0.8 * first + 0.2 * second,
        0.3 * (1 - first) + 0.7 * (1 - second),
        0.2 * (1 - first) + 0.8 * (1 - second),
    ]
    assert leep(theta, np.array([0, 0, 1, 1])) == pytest.approx(np.mean(np.log(expected)))


def test_leep_of_one_source_class_is_the_entropy_of_the_labels() -> None:
    assert leep(np.ones((4, 1)), np.array([0, 1, 1, 1])) == pytest.approx(0.25 * np.log(0.25) + 0.75 * np.log(0.75))


def test_nleep_of_clusters_that_are_the_classes_is_zero() -> None:
    x, y = drawn(rows=90, width=4, apart=60.0)
    assert nleep(x, y, seed=0) == pytest.approx(0.0, abs=1e-3)
    mixed = np.random.default_rng(0).permutation(y)
    assert nleep(x, mixed, seed=0) < -0.8


def test_knn_as_scikit_learn_counts_it() -> None:
    x, y = drawn(rows=50, apart=0.5)
    right = 0
    for left_out in range(50):
        rest = np.arange(50) != left_out
        weigh = KNeighborsClassifier(5, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
        right += weigh.fit(x[rest], y[rest]).predict(x[[left_out]])[0] == y[left_out]
    assert knn(x, y) == pytest.approx(right / 50)


def test_neighbours_of_ones_own_group_have_no_vote() -> None:
    x = np.repeat(np.eye(4), 2, axis=0) + 0.1  # each sample there twice, its classes at random
    y = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    groups = [str(i // 2) for i in range(8)]
    assert knn(x, y) == 1.0
    assert knn(x, y, groups) < 1.0


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_samples_and_the_names_of_classes_dont_matter(name: str) -> None:
    x, y = drawn()
    order = np.random.default_rng(1).permutation(len(y))
    renamed = np.array([10, 4, 7])[y]
    tolerance = 0.15 if name == "nleep" else 1e-8  # where a mixture starts depends on the order
    assert SCORES[name](x[order], y[order]) == pytest.approx(SCORES[name](x, y), abs=tolerance)
    assert SCORES[name](x, renamed) == pytest.approx(SCORES[name](x, y), abs=1e-8)


@pytest.mark.parametrize("name", SCORES)
def test_the_scale_of_the_features_doesnt_matter(name: str) -> None:
    x, y = drawn()
    assert SCORES[name](1000 * x, y) == pytest.approx(SCORES[name](x, y), abs=1e-7)


@pytest.mark.parametrize("name", SCORES)
def test_better_features_score_higher(name: str) -> None:
    near, y = drawn(apart=0.1, rows=90)
    far, _ = drawn(apart=3.0, rows=90)
    assert SCORES[name](far, y) > SCORES[name](near, y)


@pytest.mark.parametrize("name", SCORES)
def test_features_that_say_nothing_have_a_score_all_the_same(name: str) -> None:
    constant = np.full((20, 4), 3.0)
    assert np.isfinite(SCORES[name](constant, np.arange(20) % 2))


@pytest.mark.parametrize("name", SCORES)
def test_what_is_refused(name: str) -> None:
    x, y = drawn()
    for values, labels, message in (
        (x[:, 0], y, "expected values"),
        (x, y[:-1], "expected values"),
        (x, np.zeros(len(x), dtype=int), "two classes"),
        (np.where(x > 3, np.nan, x), y, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            SCORES[name](values, labels)
