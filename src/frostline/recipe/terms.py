"""Words for a recipe: what happens to the weights, in one line, and what the literature calls it."""

from __future__ import annotations

from itertools import groupby

from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.recipe import Recipe


def strategy_key(name: str) -> str:
    """The catalogue's name of a strategy as written: `freeze@4` is `freeze@K`."""
    base, at, _ = name.partition("@")
    return f"{base}@K" if at else base


def term(name: str) -> str:
    return CATALOGUE[strategy_key(name)].called


def origin_summary(recipe: Recipe) -> str:
    """One line such as 'stages 1-4 pretrained, frozen; 5-6 pretrained, trained; head new'."""
    if recipe.solver == "baseline":
        return "no network"
    words = [_fate(recipe, index) for index in range(recipe.keep)]
    parts, start = [], 1
    for fate, group in groupby(words):
        count = len(list(group))
        span = f"{start}" if count == 1 else f"{start}-{start + count - 1}"
        parts.append(f"{span} {fate}")
        start += count
    if recipe.cut_short:
        parts.append(
            f"{start}-{len(recipe.origins)} thrown away" if start < len(recipe.origins) else f"{start} thrown away"
        )
    return "stages " + "; ".join([*parts, f"head {recipe.head_origin}"])


def _fate(recipe: Recipe, index: int) -> str:
    trained = any(phase.stages[index].trained for phase in recipe.phases)
    return f"{recipe.origins[index]}, {'trained' if trained else 'frozen'}"
