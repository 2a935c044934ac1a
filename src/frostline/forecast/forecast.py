"""From tangent features to out-of-fold probabilities of every recipe that fine-tunes, before anything is trained.

Fine-tuning on little data moves weights little, so the network behaves as its linearisation at the pre-trained weights
(Maddox et al. 2021; Malladi et al. 2023): a recipe is forecast by logistic regression with the kernel of the features
plus that of the gradients of the parameters which the recipe trains (Mu, Liang & Li 2020), each scaled to a mean
diagonal of 1. The penalty is chosen by log loss on inner folds, block by block.

For texts, whose encoders were made for other ends, random directions of gradients say too little. A few steps of
training find the directions that matter (:mod:`frostline.forecast.steps`), and the recipe is forecast from the features
as its part of the change moves them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frostline.base.records import IntArray, Outcome
from frostline.cutting.guard import one_thread
from frostline.data.texts import TextPreprocess
from frostline.forecast.fits import coordinates_of_kernel, fitted
from frostline.forecast.groups import Groups, can_forecast, group_parameters
from frostline.forecast.lessons import by_steps
from frostline.forecast.question import Question, folds_of, rows_read
from frostline.forecast.tangent import read_tangent
from frostline.recipe.recipe import Recipe

MOST_UNREAD = 0.2  # of what a recipe trains: with more than that unread its forecast would be another's


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


def forecast(question: Question) -> Forecast:
    """Forecast each recipe that can be (see `can_forecast`), and those that only solve a head on the last features.

    Raises ModelError where the network can't be cut after its last stage.
    """
    started = time.perf_counter()
    recipes = [r for r in question.recipes if can_forecast(r) or _is_probe(r)]
    rows = rows_read(question)
    if isinstance(question.features.source.preprocess, TextPreprocess):
        outcomes, left_out = by_steps(question, recipes, rows)
        missing: Mapping[str, str] = {}
    else:
        outcomes, left_out, missing = _by_gradients(question, recipes, rows)
    return Forecast(
        outcomes=tuple(outcomes),
        missing=missing,
        left_out=left_out,
        rows=len(rows),
        seconds=time.perf_counter() - started,
    )


_Found = tuple[list[Outcome], dict[str, str], Mapping[str, str]]  # outcomes, what is left out, what is missing


def _by_gradients(question: Question, recipes: Sequence[Recipe], rows: IntArray) -> _Found:
    """Forecast from the gradients in a few random directions."""
    trunk = question.features.trunk
    groups = group_parameters(trunk.model, trunk.stages, [r for r in recipes if can_forecast(r)])
    tangent = read_tangent(question.features, groups.members, rows, question.progress)
    folds = folds_of(question, rows)
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
            coordinates = coordinates_of_kernel(_kernel(features, grams, groups.weights.get(recipe.name, {})))
            outcomes += fitted(question, recipe, coordinates, labels, folds, rows)
    return outcomes, left_out, tangent.missing


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
