"""Metrics to compare by, each as a mean over samples: what one sample adds is what its variance is told from."""

from __future__ import annotations

from typing import Literal

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.stats.metrics import confusion, sample_losses

Metric = Literal["accuracy", "balanced-accuracy", "f1-macro", "log-loss"]
METRIC_WORDS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced-accuracy": "balanced accuracy",
    "f1-macro": "macro F1",
    "log-loss": "log loss",
}


def contributions(metric: Metric, probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """(N,) values whose mean is the score; more is better, so log loss counts negatively.

    Accuracy: 1 where right. Balanced accuracy: N / (P n_c) where right, with P classes that occur. Macro F1, which is
    no mean: the score plus each sample's influence on it, (2 a - F b) N / B for every class with F = 2 A / B, where a
    and b are what the sample adds to A (hits) and B (members and guesses): the infinitesimal jackknife (Jaeckel 1972).
    """
    if metric == "log-loss":
        return np.negative(sample_losses(probabilities, labels))
    predicted = np.asarray(probabilities).argmax(axis=1)
    if metric == "f1-macro":
        return _f1_influence(predicted.astype(np.int64), np.asarray(labels), np.asarray(probabilities).shape[1])
    right: FloatArray = (predicted == labels).astype(np.float64)
    if metric == "accuracy":
        return right
    counts = np.bincount(labels)
    return np.asarray(right * len(labels) / (np.count_nonzero(counts) * counts[labels]))


def _f1_influence(predicted: IntArray, labels: IntArray, classes: int) -> FloatArray:
    table = confusion(predicted, labels, classes)
    n = len(labels)
    hits = table.diagonal()
    both = table.sum(axis=0) + table.sum(axis=1)
    there = np.flatnonzero(both > 0)
    f1 = 2 * hits[there] / both[there]
    member = labels[:, None] == there
    guess = predicted[:, None] == there
    influence = (2.0 * (member & guess) - f1 * (member.astype(np.float64) + guess)) * n / both[there]
    return np.asarray(f1.mean() + influence.mean(axis=1))


def metric_text(metric: Metric, score: float) -> str:
    """A score as people read it: log loss is a positive number of nats."""
    return f"{-score if metric == 'log-loss' else score:.3f}"
