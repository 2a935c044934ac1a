"""Logistic regressions on coordinates of the samples, block by block, and their outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frostline.base.records import FloatArray, IntArray, Outcome
from frostline.forecast.logistic import ROUGH, Problems, fit_predict
from frostline.forecast.question import Fold, Question
from frostline.recipe.recipe import Recipe
from frostline.stats.metrics import accuracy, log_loss

MOST_COORDINATES = 512  # of the kernel's eigenbasis
SMALLEST = 1e-6  # eigenvalues below this share of the largest are rounding
STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)  # the penalty is 1 / (strength * rows): scikit-learn's C


def coordinates_of_kernel(kernel: Tensor) -> Tensor:
    """(N, R): rows whose inner products are the kernel, of mean squared length 1; columns are orthogonal."""
    values, vectors = torch.linalg.eigh(kernel.double())
    kept = values > SMALLEST * values[-1]
    kept[: max(0, len(kept) - MOST_COORDINATES)] = False
    rows = vectors[:, kept] * values[kept].sqrt()
    length = rows.square().sum(1).mean().sqrt().clamp_min(1e-12)
    scaled: Tensor = (rows / length).float()
    return scaled


def coordinates_of(features: Tensor) -> Tensor:
    """(N, R): the same, of the kernel of features (N, D), by their D x D products."""
    centred = (features - features.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    kept = values > SMALLEST * values[-1]
    kept[: max(0, len(kept) - MOST_COORDINATES)] = False
    rows = centred @ vectors[:, kept]
    length = rows.square().sum(1).mean().sqrt().clamp_min(1e-12)
    scaled: Tensor = (rows / length).float()
    return scaled


def fitted(
    question: Question, recipe: Recipe, rows: Tensor, labels: Tensor, folds: Sequence[Fold], read: IntArray
) -> Iterator[Outcome]:
    """Yield the outcome of each block, each at its own best strength."""
    losses = _inner_losses(question, rows, labels, folds, read)
    middle = STRENGTHS[len(STRENGTHS) // 2]
    strengths = [STRENGTHS[int(row.argmin())] if row.any() else middle for row in losses]
    yield from _outcomes(_Fit(question, recipe, labels, read), rows, folds, strengths)


def fitted_along(
    question: Question, recipe: Recipe, lines: Sequence[Tensor], labels: Tensor, folds: Sequence[Fold], read: IntArray
) -> Iterator[Outcome]:
    """Yield the outcome of each block, each at its own best factor (`lines`: the coordinates of each) and strength."""
    losses = np.stack([_inner_losses(question, rows, labels, folds, read) for rows in lines], 1)
    best = losses.reshape(len(folds), -1).argmin(1)
    best[~losses.any((1, 2))] = len(STRENGTHS) // 2  # nothing judges: the change as it is, the middle strength
    for number, rows in enumerate(lines):
        own = [i for i, place in enumerate(best) if place // len(STRENGTHS) == number]
        strengths = [STRENGTHS[best[i] % len(STRENGTHS)] for i in own]
        if own:
            yield from _outcomes(_Fit(question, recipe, labels, read), rows, [folds[i] for i in own], strengths)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What the outcomes of one recipe have in common."""

    question: Question
    recipe: Recipe
    labels: Tensor
    read: IntArray


def _outcomes(fit: _Fit, rows: Tensor, folds: Sequence[Fold], strengths: Sequence[float]) -> Iterator[Outcome]:
    started = time.perf_counter()
    question, recipe, labels, read = fit.question, fit.recipe, fit.labels, fit.read
    classes = len(question.dataset.classes)
    weights = [_row_weights(question, labels, fold.train, read) for fold in folds]
    penalties = [1 / (strength * len(fold.train)) for strength, fold in zip(strengths, folds, strict=True)]
    found = fit_predict(rows, labels, classes, Problems(torch.stack(weights), torch.tensor(penalties)))
    each = (time.perf_counter() - started) / len(folds)
    for fold, logs, penalty in zip(folds, found, penalties, strict=True):
        if not len(fold.held):
            continue
        probabilities = logs[torch.from_numpy(fold.held)].double().exp().numpy()
        held_labels = labels.numpy()[fold.held]
        yield Outcome(
            key=f"forecast/{recipe.name}/{fold.block.index}/-",
            strategy=recipe.name,
            purpose="forecast",
            block=fold.block.index,
            rate=None,
            rows=tuple(int(r) for r in question.development[read[fold.held]]),
            probabilities=tuple(tuple(map(float, row)) for row in probabilities),
            accuracy=accuracy(probabilities, held_labels),
            log_loss=log_loss(probabilities, held_labels),
            steps=0,
            epochs=0.0,
            undertrained=False,
            l2=penalty,
            seconds=each,
            operations=0.0,
        )


def _inner_losses(
    question: Question, rows: Tensor, labels: Tensor, folds: Sequence[Fold], read: IntArray
) -> FloatArray:
    """Return the log loss (folds, strengths) on the inner folds of each block, summed; 0 without any."""
    losses: FloatArray = np.zeros((len(folds), len(STRENGTHS)))
    pairs = [(number, pair) for number, fold in enumerate(folds) for pair in fold.inner]
    if not pairs:
        return losses
    weights = torch.stack([_row_weights(question, labels, train, read) for _, (train, _) in pairs])
    penalties = torch.tensor([[1 / (strength * len(train)) for strength in STRENGTHS] for _, (train, _) in pairs])
    problems = Problems(weights.repeat_interleave(len(STRENGTHS), 0), penalties.flatten())
    classes = len(question.dataset.classes)
    found = fit_predict(rows, labels, classes, problems, ROUGH).reshape(
        len(pairs), len(STRENGTHS), len(labels), classes
    )
    for (number, (_, held)), logs in zip(pairs, found, strict=True):
        at = torch.from_numpy(held)
        truth = labels[at].view(1, -1, 1).expand(len(STRENGTHS), -1, 1)
        losses[number] -= logs[:, at].gather(2, truth).mean((1, 2)).numpy()
    return losses


def _row_weights(question: Question, labels: Tensor, train: IntArray, read: IntArray) -> Tensor:
    """(N,): how much each row counts; 0 for those that aren't learnt from."""
    at = torch.from_numpy(train)
    weights = torch.zeros(len(labels))
    weights[at] = 1.0
    by_class = question.class_weights(question.development[read[train]])
    if by_class is not None:
        weights[at] = torch.from_numpy(by_class).float()[labels[at]]
    return weights
