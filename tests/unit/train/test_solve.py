"""The solved head against scikit-learn's LogisticRegression, and what is promised of its path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from frostline.train import solve as solve_module
from frostline.train.solve import L2_PATH, Spare, best_penalty, column_moments, heads_along, solve


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


@pytest.mark.parametrize("shape", [(5000, 1), (4097, 3), (300, 2048), (9000, 33)])
def test_moments_taken_in_parts_are_numpys_own(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve_module, "BLOCK", 10_000)
    x = np.random.default_rng(0).normal(5, 3, shape).astype(np.float32)
    mean, deviation = column_moments(x)
    assert np.array_equal(mean, x.mean(axis=0, dtype=np.float64))
    assert np.array_equal(deviation, x.std(axis=0, dtype=np.float64))


@pytest.mark.parametrize("weighted", [False, True])
def test_spare_features_and_small_parts_give_the_same_bits(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(3)
    kept = x.copy()
    weights = np.array([0.5, 1.0, 2.0]) if weighted else None
    expected = list(heads_along(x, y, 3, class_weights=weights))
    assert np.array_equal(x, kept)
    monkeypatch.setattr(solve_module, "BLOCK", 100)
    for head, same in zip(expected, heads_along(Spare(x), y, 3, class_weights=weights), strict=True):
        assert np.array_equal(head.weight, same.weight)
        assert np.array_equal(head.bias, same.bias)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_scores_are_summed_block_by_block(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(4)
    weights = np.array([0.5, 1.0, 2.0, 0.5]) if weighted else None
    whole = solve(x, y, 4, 0.01, class_weights=weights)
    monkeypatch.setattr(solve_module, "LARGE", 1)
    monkeypatch.setattr(solve_module, "BLOCK", 64)
    parts = solve(x, y, 4, 0.01, class_weights=weights)
    assert np.abs(probabilities(parts.logits(x)) - probabilities(whole.logits(x))).max() < 1e-3
