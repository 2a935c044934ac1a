"""From tangent features to out-of-fold probabilities of every recipe that fine-tunes, before anything is trained.

Fine-tuning on little data moves weights little, so the network behaves as its linearisation at the pre-trained weights
(Maddox et al. 2021; Malladi et al. 2023): a recipe is forecast by logistic regression with the kernel of the features
plus that of the gradients of the parameters which the recipe trains (Mu, Liang & Li 2020), each scaled to a mean
diagonal of 1. The penalty is chosen by log loss on inner folds, block by block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.errors import DataError
from frostline.base.records import Block, Dataset, FloatArray, IntArray, Outcome
from frostline.cutting.guard import one_thread
from frostline.data.split import inner_folds, inner_split
from frostline.features.extract import Features
from frostline.forecast.groups import Groups, can_forecast, group_parameters
from frostline.forecast.logistic import ROUGH, Problems, fit_predict
from frostline.forecast.tangent import Progress, read_tangent
from frostline.recipe.recipe import Recipe
from frostline.stats.metrics import accuracy, log_loss

MOST_ROWS = 1000  # development rows that a forecast reads; of more, it is a forecast for so many
MOST_COORDINATES = 512  # of the kernel's eigenbasis
MOST_UNREAD = 0.2  # of what a recipe trains: with more than that unread its forecast would be another's
SMALLEST = 1e-6  # eigenvalues below this share of the largest are rounding
INNER_FOLDS = 3
STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)  # the penalty is 1 / (strength * rows): scikit-learn's C


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Outcomes (purpose `forecast`) of each recipe on each block; `missing` parameters couldn't be read, with why."""

    outcomes: tuple[Outcome, ...]
    missing: Mapping[str, str]
    left_out: Mapping[str, str]  # recipes that can't be forecast, with the reason
    rows: int  # development rows it rests on
    seconds: float

    def of(self, name: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.strategy == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be forecast: recipes on blocks of the development samples, which `features` cover in order."""

    dataset: Dataset
    features: Features
    development: IntArray
    blocks: Sequence[Block]
    recipes: Sequence[Recipe]
    seed: int
    class_weights: Callable[[IntArray], FloatArray | None] = lambda _rows: None  # (C,) for samples to learn from
    progress: Progress = lambda _done, _total: None


def forecast(question: Question) -> Forecast:
    """Forecast each recipe that can be (see `can_forecast`), and those that only solve a head on the last features.

    Raises ModelError where the network can't be cut after its last stage.
    """
    started = time.perf_counter()
    recipes = [r for r in question.recipes if can_forecast(r) or _is_probe(r)]
    trunk = question.features.trunk
    groups = group_parameters(trunk.model, trunk.stages, [r for r in recipes if can_forecast(r)])
    rows = _rows_read(question)
    tangent = read_tangent(question.features, groups.members, rows, question.progress)
    folds = _folds(question, rows)
    labels = torch.from_numpy(question.dataset.labels[question.development[rows]])
    outcomes: list[Outcome] = []
    left_out: dict[str, str] = {}
    features = _scaled(_gram(tangent.features))
    grams = {group: _gram(tangent.sketch(group)) for group in tangent.columns}
    with one_thread():
        for recipe in recipes:
            unread = _share_unread(trunk.model, groups, recipe, tangent.missing)
            if unread > MOST_UNREAD:
                left_out[recipe.name] = f"the gradients of {unread:.0%} of what it trains can't be read"
                continue
            coordinates = _coordinates(_kernel(features, grams, groups.weights.get(recipe.name, {})))
            outcomes += _forecast_one(question, recipe, coordinates, labels, folds, rows)
    return Forecast(
        outcomes=tuple(outcomes),
        missing=tangent.missing,
        left_out=left_out,
        rows=len(rows),
        seconds=time.perf_counter() - started,
    )


def _share_unread(model: nn.Module, groups: Groups, recipe: Recipe, missing: Mapping[str, str]) -> float:
    """Return the share of the numbers that a recipe trains before the head whose gradients could not be read."""
    if not can_forecast(recipe):
        return 0.0
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    trained = [name for group in groups.weights[recipe.name] for name in groups.members[group]]
    total = sum(sizes[name] for name in trained)
    if not total:
        return 1.0
    return sum(sizes[name] for name in trained if name in missing) / total


def _is_probe(recipe: Recipe) -> bool:
    return recipe.is_solved and not recipe.cut_short


def _rows_read(question: Question) -> IntArray:
    """Return the positions of the development samples that are read: all, or a stratified draw."""
    development = question.development
    if len(development) <= MOST_ROWS:
        return np.arange(len(development))
    share = MOST_ROWS / len(development)
    _, drawn = inner_split(question.dataset, development, fraction=share, seed=question.seed, block=-2)
    return np.searchsorted(development, drawn)


@dataclass(frozen=True, slots=True)
class _Fold:
    """One block: positions among the rows read, to learn from and to predict, and inner folds of the former."""

    block: Block
    train: IntArray
    held: IntArray
    inner: tuple[tuple[IntArray, IntArray], ...]


def _folds(question: Question, rows: IntArray) -> list[_Fold]:
    read = question.development[rows]
    folds = []
    for block in question.blocks:
        train = np.intersect1d(block.train, read)
        try:
            inner = inner_folds(question.dataset, train, folds=INNER_FOLDS, seed=question.seed, block=block.index)
        except DataError:  # copies of one image
            inner = []
        positions = [tuple(np.searchsorted(read, part) for part in pair) for pair in inner if len(pair[1])]
        held = np.intersect1d(block.validation, read)
        folds.append(
            _Fold(block, np.searchsorted(read, train), np.searchsorted(read, held), tuple(positions))  # type: ignore[arg-type]
        )
    return folds


def _kernel(features: Tensor, grams: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """(N, N): what two samples have in common for a recipe that moves these groups; the features alone without any."""
    moved = [weight * grams[group] for group, weight in weights.items() if group in grams]
    if not moved:
        return features
    return features + _scaled(torch.stack(moved).sum(0))


def _gram(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred @ centred.T


def _scaled(kernel: Tensor) -> Tensor:
    mean = float(kernel.diagonal().mean())
    if mean <= 0:
        return kernel
    return kernel / mean


def _coordinates(kernel: Tensor) -> Tensor:
    """(N, R): rows whose inner products are the kernel, of mean squared length 1; columns are orthogonal."""
    values, vectors = torch.linalg.eigh(kernel.double())
    kept = values > SMALLEST * values[-1]
    kept[: max(0, len(kept) - MOST_COORDINATES)] = False
    rows = vectors[:, kept] * values[kept].sqrt()
    length = rows.square().sum(1).mean().sqrt().clamp_min(1e-12)
    scaled: Tensor = (rows / length).float()
    return scaled


def _forecast_one(
    question: Question, recipe: Recipe, rows: Tensor, labels: Tensor, folds: Sequence[_Fold], read: IntArray
) -> Iterator[Outcome]:
    """Yield the outcome of each block."""
    started = time.perf_counter()
    classes = len(question.dataset.classes)
    strengths = _chosen_strengths(question, rows, labels, folds, read)
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


def _chosen_strengths(
    question: Question, rows: Tensor, labels: Tensor, folds: Sequence[_Fold], read: IntArray
) -> list[float]:
    """Return the strength with the lowest log loss on the inner folds of each block; the middle one without any."""
    pairs = [(number, pair) for number, fold in enumerate(folds) for pair in fold.inner]
    chosen = [STRENGTHS[len(STRENGTHS) // 2]] * len(folds)
    if not pairs:
        return chosen
    weights = torch.stack([_row_weights(question, labels, train, read) for _, (train, _) in pairs])
    penalties = torch.tensor([[1 / (strength * len(train)) for strength in STRENGTHS] for _, (train, _) in pairs])
    problems = Problems(weights.repeat_interleave(len(STRENGTHS), 0), penalties.flatten())
    classes = len(question.dataset.classes)
    found = fit_predict(rows, labels, classes, problems, ROUGH).reshape(
        len(pairs), len(STRENGTHS), len(labels), classes
    )
    losses = np.zeros((len(folds), len(STRENGTHS)))
    for (number, (_, held)), logs in zip(pairs, found, strict=True):
        at = torch.from_numpy(held)
        truth = labels[at].view(1, -1, 1).expand(len(STRENGTHS), -1, 1)
        losses[number] -= logs[:, at].gather(2, truth).mean((1, 2)).numpy()
    return [STRENGTHS[int(row.argmin())] if row.any() else middle for row, middle in zip(losses, chosen, strict=True)]


def _row_weights(question: Question, labels: Tensor, train: IntArray, read: IntArray) -> Tensor:
    """(N,): how much each row counts; 0 for those that aren't learnt from."""
    at = torch.from_numpy(train)
    weights = torch.zeros(len(labels))
    weights[at] = 1.0
    by_class = question.class_weights(question.development[read[train]])
    if by_class is not None:
        weights[at] = torch.from_numpy(by_class).float()[labels[at]]
    return weights
