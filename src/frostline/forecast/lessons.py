"""Forecasts of recipes from features that a few steps of training moved: for texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from frostline.base.records import IntArray, Outcome
from frostline.cutting.guard import one_thread
from frostline.data.split import inner_split
from frostline.forecast.fits import coordinates_of, fitted, fitted_along
from frostline.forecast.groups import can_forecast, group_parameters
from frostline.forecast.question import Fold, Question, folds_of
from frostline.forecast.steps import BATCH, STEPS, Lesson, moved_features
from frostline.recipe.recipe import Recipe

FACTORS = (1.0, 3.0, 10.0, 30.0)  # on what the steps do to the features: training goes on


def by_steps(question: Question, recipes: Sequence[Recipe], rows: IntArray) -> tuple[list[Outcome], dict[str, str]]:
    """Return outcomes, and the recipes left out with the reason, from the features as a few steps of training move
    them. Blocks that can share the steps do."""
    features = question.features
    trunk = features.trunk
    stepped = [r for r in recipes if can_forecast(r)]
    groups = group_parameters(trunk.model, trunk.stages, stepped)
    moves = {
        name: {member: weight for group, weight in own.items() for member in groups.members[group]}
        for name, own in groups.weights.items()
    }
    labels = torch.from_numpy(question.dataset.labels[question.development[rows]])
    before = features.plain(len(trunk.stages))[torch.from_numpy(rows)]
    folds = folds_of(question, rows)
    outcomes: list[Outcome] = []
    left_out: dict[str, str] = {}
    for recipe in recipes:
        if recipe.name not in moves:
            with one_thread():
                outcomes += fitted(question, recipe, coordinates_of(before), labels, folds, rows)
    sides = _lesson_sides(folds)
    for number, side in enumerate(sides):
        seen = _samples_to_learn_from(question, side, rows)
        lesson = _lesson(question, seen, rows, number)
        moved = moved_features(features, lesson, moves, torch.from_numpy(rows))
        unseen = [_without(fold, seen) for fold in side]
        for recipe in stepped:
            if not bool(moved[recipe.name].isfinite().all()):
                left_out[recipe.name] = "its features aren't finite after a few steps"
                continue
            change = moved[recipe.name] - before
            with one_thread():
                lines = [coordinates_of(before + factor * change) for factor in FACTORS]
                outcomes += fitted_along(question, recipe, lines, labels, unseen, rows)
        question.progress((number + 1) * len(rows) // len(sides), len(rows))
    kept = [outcome for outcome in outcomes if outcome.strategy not in left_out]
    return sorted(kept, key=lambda outcome: outcome.block), left_out


def _lesson_sides(folds: Sequence[Fold]) -> list[list[Fold]]:
    """Put the blocks of each repeat into two halves: the blocks of one can learn their steps from what the other holds
    out. One block is a side by itself."""
    sides = []
    for repeat in sorted({fold.block.repeat for fold in folds}):
        own = [fold for fold in folds if fold.block.repeat == repeat]
        half = len(own) // 2
        sides += [side for side in (own[:half], own[half:]) if side]
    return sides


def _samples_to_learn_from(question: Question, side: Sequence[Fold], rows: IntArray) -> IntArray:
    """Return positions among the rows read of samples that every block of the side learns from: as many as the steps
    need, and at most half of what a block has, so that the others can judge."""
    common = side[0].train
    for fold in side[1:]:
        common = np.intersect1d(common, fold.train)
    wanted = min(STEPS * BATCH, *(len(fold.train) // 2 for fold in side))
    if wanted >= len(common):
        return common
    read = question.development[rows]
    block = side[0].block.index
    _, drawn = inner_split(
        question.dataset, read[common], fraction=wanted / len(common), seed=question.seed, block=-3 - block
    )
    return np.searchsorted(read, drawn)


def _lesson(question: Question, seen: IntArray, rows: IntArray, number: int) -> Lesson:
    places = rows[seen]
    by_class = question.class_weights(question.development[places])
    weights = None
    if by_class is not None:
        weights = torch.from_numpy(by_class).float()
    return Lesson(
        places=torch.from_numpy(places),
        labels=torch.from_numpy(question.dataset.labels[question.development[places]]),
        classes=len(question.dataset.classes),
        weights=weights,
        seed=question.seed,
        number=number,
    )


def _without(fold: Fold, seen: IntArray) -> Fold:
    """The same block, whose inner folds are judged by samples that the steps haven't learnt from."""
    inner = [(train, np.setdiff1d(held, seen)) for train, held in fold.inner]
    return Fold(fold.block, fold.train, fold.held, tuple(pair for pair in inner if len(pair[1])))
