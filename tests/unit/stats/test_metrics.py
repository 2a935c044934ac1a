from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from frostline.stats import metrics


@pytest.fixture(params=[(7, 2, 0), (200, 5, 1), (501, 3, 2)], ids=["tiny", "five-classes", "three-classes"])
def scored(request):
    n, classes, seed = request.param
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


def test_accuracies_and_log_loss_equal_scikit_learn(scored):
    p, y = scored
    guess, classes = p.argmax(axis=1), range(p.shape[1])
    assert metrics.accuracy(p, y) == pytest.approx(reference.accuracy_score(y, guess), abs=1e-15)
    recall = reference.recall_score(y, guess, average=None, labels=np.unique(y), zero_division=0)
    assert metrics.balanced_accuracy(p, y) == pytest.approx(recall.mean(), abs=1e-15)
    assert metrics.log_loss(p, y) == pytest.approx(reference.log_loss(y, p, labels=list(classes)), rel=1e-12)


def test_confusion_and_class_scores_equal_scikit_learn(scored):
    p, y = scored
    guess, classes = p.argmax(axis=1), list(range(p.shape[1]))
    assert np.array_equal(
        metrics.confusion(guess, y, len(classes)), reference.confusion_matrix(y, guess, labels=classes)
    )
    expected = reference.precision_recall_fscore_support(y, guess, labels=classes, zero_division=0)
    found = metrics.per_class(guess, y, len(classes))
    for values, name in zip(expected, ("precision", "recall", "f1", "count"), strict=True):
        assert [getattr(c, name) for c in found] == pytest.approx(list(values), abs=1e-15)
    assert [c.label for c in found] == classes


def test_a_class_never_seen_and_never_guessed_scores_zero_without_warning():
    last = metrics.per_class(np.array([0, 1]), np.array([0, 0]), 3)[2]
    assert (last.precision, last.recall, last.f1, last.count) == (0, 0, 0, 0)


def test_a_confident_error_of_probability_zero_costs_a_finite_loss():
    loss = metrics.log_loss(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    assert loss == pytest.approx(-math.log(metrics.SMALLEST_PROBABILITY) / 2)


def test_calibration_error_equals_a_plain_loop_over_bins(scored):
    p, y = scored
    confidence, right, expected = p.max(axis=1), p.argmax(axis=1) == y, 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.ece(p, y) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert metrics.ece(p, np.array([0, 1, 0, 1]), bins=2) == pytest.approx(abs(3 / 4 - 0.75))
    assert metrics.ece(p, np.array([0, 1, 0, 1]), bins=5) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.empty((0, 2)), np.empty(0, dtype=int)),
        (np.array([[0.5, 0.5]]), np.array([2])),
        (np.array([[0.5, 0.5]]), np.array([0, 1])),
        (np.array([[np.nan, 0.5]]), np.array([0])),
    ],
    ids=["empty", "label-out-of-range", "lengths-differ", "not-finite"],
)
def test_input_that_cannot_be_scored_is_refused(probabilities, labels):
    for score in (metrics.accuracy, metrics.balanced_accuracy, metrics.log_loss, metrics.ece):
        with pytest.raises(ValueError, match=r"probabilities|labels"):
            score(probabilities, labels)


def test_confusion_refuses_classes_out_of_range():
    with pytest.raises(ValueError, match="0 to 1"):
        metrics.confusion(np.array([0, 2]), np.array([0, 1]), 2)
