"""Words for a recipe: what happens to the weights, in one line, and what the literature calls it."""

from __future__ import annotations

from itertools import groupby

from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.recipe import Recipe


def strategy_key(name: str) -> str:
    """The catalogue's name of a strategy as written: `freeze@4` is `freeze@K`."""
    base, at, _ = name.partition("@")
    return f"{base}@K" if at else base


def term(recipe: Recipe) -> str:
    """What people call it; of a user's own recipe, what they call the strategy that does the same."""
    return CATALOGUE[strategy_key(recipe.name)].called if recipe.kind != "own" else _own_term(recipe)


def skipped_term(name: str) -> str:
    """The term of a strategy that has no recipe here."""
    known = CATALOGUE.get(strategy_key(name))
    return known.called if known else ""


def _own_term(recipe: Recipe) -> str:
    trained = [any(phase.stages[i].trained for phase in recipe.phases) for i in range(recipe.keep)]
    if "reinitialised" in recipe.origins:
        key = "scratch"
    elif not any(trained):
        key = "as-is" if recipe.solver == "untrained" else "probe@K" if recipe.cut_short else "probe"
    elif not all(trained):
        in_front = trained == sorted(trained)  # frozen ones first
        key = "freeze@K" if in_front else ""
    elif recipe.head_origin == "pretrained":
        key = "continue"
    elif recipe.solves_head:
        key = "wise-ft" if recipe.interpolated else "lp-ft"
    else:
        key = "l2sp" if recipe.phases[-1].pull else "finetune"
    return CATALOGUE[key].called if key else "surgical fine-tuning (some stages, not only the last ones)"


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
