"""Cross-fitted heads: no sample is answered by a head that was fitted to it, or to its copy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from frostline.base.records import FloatArray, IntArray
from frostline.shift.heads import HeadOutputs, Labelled, cross_fitted_head

CLASSES = 3


def blobs(count: int, seed: int, spread: float = 1.0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    centres = np.eye(CLASSES, 6) * 3
    return centres[labels] + rng.normal(0, spread, (count, 6)), labels


def answered(
    features: FloatArray, labels: IntArray, target: FloatArray, twins: IntArray | None = None
) -> HeadOutputs | None:
    source = Labelled(features=features, labels=labels, groups=[str(i) for i in range(len(labels))])
    if twins is None:
        twins = np.full(len(target), -1)
    return cross_fitted_head(source, target, twins, classes=CLASSES, seed=3)


def test_both_sides_are_answered_as_well_as_by_a_reference() -> None:
    features, labels = blobs(150, 0)
    target, truth = blobs(120, 1)
    made = answered(features, labels, target)
    assert made is not None
    reference = LogisticRegression(C=1.0).fit(features, labels).score(target, truth)
    for probabilities, wanted in ((made.source, labels), (made.target, truth)):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert np.mean(probabilities.argmax(axis=1) == wanted) > reference - 0.05


def test_random_labels_are_not_learnt_by_heart() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 200))  # more features than samples: any head fits its own samples
    labels = rng.permutation(np.arange(90) % CLASSES)
    made = answered(features, labels, features, twins=np.arange(90))
    assert made is not None
    assert np.mean(made.source.argmax(axis=1) == labels) < 0.6
    np.testing.assert_allclose(made.target, made.source, rtol=1e-12)  # copies share their twin's head


def test_samples_without_a_label_are_answered_too() -> None:
    features, labels = blobs(90, 0)
    some = labels.copy()
    some[:30] = -1
    made = answered(features, some, features[:5])
    assert made is not None
    assert np.mean(made.source[:30].argmax(axis=1) == labels[:30]) > 0.8


@pytest.mark.parametrize("labels", [np.zeros(20, dtype=np.int64), np.full(20, -1)])
def test_without_two_classes_there_is_no_head(labels: IntArray) -> None:
    assert answered(np.random.default_rng(0).normal(size=(20, 4)), labels, np.zeros((2, 4))) is None


def test_the_same_seed_gives_the_same_bits() -> None:
    features, labels = blobs(60, 0)
    first, second = answered(features, labels, features[:9]), answered(features, labels, features[:9])
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.source, second.source)
    np.testing.assert_array_equal(first.target, second.target)
