"""Scores of predicted probabilities. `probabilities` is (N, C) in [0, 1], `labels` is (N,) with numbers 0 .. C - 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray

# A float32 softmax rounds a confident error to exactly 0, whose logarithm is infinite: one sample would then decide
# every comparison. At 1e-12 a sample costs 27.6 nats at most; float32's own rounding (6e-8) stays well above the clip.
SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How one class fared, each in [0, 1]; `count` is its number of samples. A ratio with an empty denominator is 0."""

    label: int
    precision: float
    recall: float
    f1: float
    count: int


def accuracy(probabilities: FloatArray, labels: IntArray) -> float:
    """Share of samples whose most probable class is theirs (the first of equals).

    Raises ValueError on empty, misshapen or non-finite input, or labels out of range.
    """
    probabilities, labels = checked(probabilities, labels)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def balanced_accuracy(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean over the classes that occur in `labels` of the share found (recall). Raises ValueError like accuracy."""
    probabilities, labels = checked(probabilities, labels)
    table = confusion(probabilities.argmax(axis=1), labels, probabilities.shape[1])
    counts = table.sum(axis=1)
    present = counts > 0
    return float(np.mean(table.diagonal()[present] / counts[present]))


def log_loss(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean of -ln(probability of the true class), in nats per sample, clipped at SMALLEST_PROBABILITY.

    Raises ValueError like accuracy.
    """
    return float(np.mean(sample_losses(probabilities, labels)))


def sample_losses(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Log loss of every sample, (N,), in nats within [0, 27.7]. Raises ValueError like accuracy."""
    probabilities, labels = checked(probabilities, labels)
    own = probabilities[np.arange(len(labels)), labels]
    losses: FloatArray = -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0))
    return losses


def ece(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> float:
    """Expected calibration error of the predicted class, in [0, 1]: bins (lower, upper] of equal width.

    Raises ValueError like accuracy, or when `bins` is below 1.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    probabilities, labels = checked(probabilities, labels)
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    which = confidence_bins(confidence, bins)
    return float(np.abs(np.bincount(which, weights=gap, minlength=bins)).sum() / len(labels))


def confidence_bins(confidence: FloatArray, bins: int) -> IntArray:
    """Number (N,) of the bin (k / bins, (k + 1) / bins] of each confidence (N,). ValueError when `bins` is below 1."""
    if bins < 1:
        raise ValueError(f"bins is {bins}, expected at least 1")
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def confusion(predicted: IntArray, labels: IntArray, classes: int) -> IntArray:
    """Counts (C, C): row = true class, column = predicted class.

    Raises ValueError when the two differ in length or a value is outside 0 .. classes - 1.
    """
    predicted = np.asarray(predicted)
    labels = np.asarray(labels)
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise ValueError(f"predicted {predicted.shape} and labels {labels.shape} have to be (N,) alike")
    both = np.concatenate([predicted, labels])
    if both.size and not (both.min() >= 0 and both.max() < classes):
        raise ValueError(f"classes run from 0 to {classes - 1}, found {both.min()} to {both.max()}")
    cells = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def per_class(predicted: IntArray, labels: IntArray, classes: int) -> tuple[ClassScore, ...]:
    """Precision, recall, F1 and count of every class. Raises ValueError like confusion."""
    table = confusion(predicted, labels, classes)
    hits = table.diagonal()
    counts = table.sum(axis=1)
    guesses = table.sum(axis=0)
    precision = _ratio(hits, guesses)
    recall = _ratio(hits, counts)
    f1 = _ratio(2 * hits, guesses + counts)
    return tuple(
        ClassScore(
            label=c,
            precision=float(precision[c]),
            recall=float(recall[c]),
            f1=float(f1[c]),
            count=int(counts[c]),
        )
        for c in range(classes)
    )


def _ratio(part: IntArray, whole: IntArray) -> FloatArray:
    out: FloatArray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return out


def checked(probabilities: FloatArray, labels: IntArray) -> tuple[FloatArray, IntArray]:
    """Both as arrays of float64 and labels. Raises ValueError on empty, misshapen or non-finite input, or labels out
    of range."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} have to be (N, C) and (N,)")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities hold values that are not finite")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels run from 0 to {probabilities.shape[1] - 1}, found {labels.min()} to {labels.max()}")
    return probabilities, labels
