"""Shares of the classes in unlabelled data, and probabilities corrected for them (label shift).

`probabilities` (N, C) are those of a classifier that was trained where classes had the shares `source` (C,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from frostline.base.records import FloatArray, IntArray

MOST_ROUNDS = 1000
CLOSE = 1e-8
LEAST = 1e-12


def corrected(probabilities: FloatArray, factors: FloatArray) -> FloatArray:
    """Return probabilities (N, C) multiplied by factors (C,), normalised to sum to 1 in each row."""
    weighted = probabilities * factors
    total = np.maximum(weighted.sum(axis=1, keepdims=True), LEAST)
    return np.asarray(weighted / total)


def em_proportions(probabilities: FloatArray, source: FloatArray) -> FloatArray:
    """Estimate the shares (C,) of the classes by expectation maximisation.

    The probabilities have to be calibrated. Source: Saerens, Latinne & Decaestecker 2002, equations 2.7 to 2.9.
    """
    start = np.maximum(source, LEAST)
    shares = start / start.sum()
    for _ in range(MOST_ROUNDS):
        updated = corrected(probabilities, shares / start).mean(axis=0)
        moved = float(np.abs(updated - shares).max())
        shares = updated
        if moved < CLOSE:
            break
    return np.asarray(shares)


def bbse_proportions(
    source_probabilities: FloatArray, source_labels: IntArray, target_probabilities: FloatArray
) -> FloatArray:
    """Estimate the shares (C,) of the classes from the confusions of the source's held-out predictions.

    Solves C q = mu with C[i, y] = P(predicted i | class y) in least squares, negative shares set to 0.
    Source: Lipton, Wang & Smola 2018, "Detecting and correcting for label shift with black box predictors".
    """
    classes = source_probabilities.shape[1]
    predicted = source_probabilities.argmax(axis=1)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (predicted, source_labels), 1.0)
    confusion /= np.maximum(confusion.sum(axis=0), 1.0)
    seen = np.bincount(target_probabilities.argmax(axis=1), minlength=classes) / len(target_probabilities)
    shares = np.clip(np.linalg.lstsq(confusion, seen, rcond=None)[0], 0.0, None)
    if shares.sum() <= 0:
        return np.full(classes, 1.0 / classes)
    return np.asarray(shares / shares.sum())


def bootstrap_proportions(
    method: Callable[[FloatArray], FloatArray], probabilities: FloatArray, *, rng: np.random.Generator, draws: int = 200
) -> FloatArray:
    """Return 95 % intervals (C, 2) of estimated shares, by drawing the target's samples again.

    `method` maps probabilities (N, C) to shares (C,). The source's own luck isn't drawn again.
    """
    count = len(probabilities)
    estimates = np.stack([method(probabilities[rng.integers(0, count, count)]) for _ in range(draws)])
    return np.asarray(np.quantile(estimates, (0.025, 0.975), axis=0).T)
