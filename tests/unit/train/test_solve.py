"""The solved head against scikit-learn's LogisticRegression, and what is promised of its path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from frostline.train.solve import L2_PATH, best_penalty, heads_along, solve


def problem(classes: int, n: int = 240, d: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    x = (rng.normal(size=(n, d)) * rng.uniform(0.01, 30, d) + rng.normal(size=d) * 5).astype(np.float32)
    scores = ((x - x.mean(0)) / x.std(0)) @ rng.normal(size=(d, classes)) + 3 * rng.normal(size=(n, classes))
    return x, scores.argmax(1).astype(np.int64)


def probabilities(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


@pytest.mark.parametrize("l2", [1.0, 0.03, 0.001])
def test_solved_head_equals_scikit_learn(l2: float) -> None:
    x, y = problem(4)
    z = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=1 / (l2 * len(y)), max_iter=5000, tol=1e-8).fit(z, y)
    ours = probabilities(solve(x, y, 4, l2).logits(x))
    # both stop at a small gradient: 0.002 is what is left between two such points in float32 features
    assert np.abs(ours - reference.predict_proba(z)).max() < 2e-3


def test_two_classes_are_one_logistic_regression_of_half_the_penalty() -> None:
    # the weights of two classes are mirror images w/2 and -w/2, so |W|^2 is half of |w|^2
    x, y = problem(2)
    z = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=2 / (0.1 * len(y)), max_iter=5000, tol=1e-8).fit(z, y)
    assert np.abs(probabilities(solve(x, y, 2, 0.1).logits(x)) - reference.predict_proba(z)).max() < 2e-3


def test_a_constant_feature_has_no_weight_and_an_absent_class_no_nan() -> None:
    x, y = problem(3)
    x[:, 5] = 7.0
    y[y == 2] = 1
    for head in heads_along(x, y, 3):
        assert np.abs(head.weight[:, 5]).max() < 1e-6
        assert np.isfinite(head.logits(x)).all()


def test_asking_for_one_penalty_gives_the_head_of_the_path() -> None:
    x, y = problem(3)
    on_path = list(heads_along(x, y, 3))[4]
    alone = solve(x, y, 3, L2_PATH[4])
    assert np.array_equal(on_path.weight, alone.weight)
    assert np.array_equal(on_path.bias, alone.bias)


def test_the_path_is_followed_until_two_penalties_bring_nothing() -> None:
    asked = []

    def losses() -> Iterator[float]:
        for loss in (0.9, 0.5, 0.6, 0.4, 0.4, 0.7, 0.1):
            asked.append(loss)
            yield loss

    assert best_penalty(losses()) == 3  # a single rise isn't the end
    assert asked == [0.9, 0.5, 0.6, 0.4, 0.4, 0.7]
    assert best_penalty([0.3, 0.2, 0.1]) == 2
