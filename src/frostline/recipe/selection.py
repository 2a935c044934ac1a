"""Strategies by name: `freeze@4` for one stage map, and the names of a default comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence

from frostline.base.errors import RecipeError, nearest
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE, USUAL, Choices, Stages, spread
from frostline.recipe.recipe import Recipe


def make_recipe(name: str, stages: Stages, choices: Choices = USUAL) -> Recipe:
    """The recipe of a strategy as the user wrote it: `probe`, `freeze@4`, `freeze@blocks.2` (a stage's name wins).

    Raises RecipeError for an unknown strategy (naming the nearest), a missing or unknown stage, a stage that can't be
    cut, or a choice that the strategy can't follow.
    """
    base, at, where = name.partition("@")
    key = base
    if at:
        key = f"{base}@K"
    if key not in CATALOGUE:
        if base in CATALOGUE or f"{base}@K" in CATALOGUE:
            raise RecipeError(_stage_needed(base, at), "Stages: frostline stages SPEC.")
        raise RecipeError(f"Unknown strategy {name!r}.", nearest(name, CATALOGUE))
    k = 0
    if at:
        k = find_stage(where, stages, strategy=base)
    return CATALOGUE[key].build(stages, k, choices)


def _stage_needed(base: str, at: str) -> str:
    if at:
        return f"Strategy {base!r} takes no stage."
    return f"Strategy {base!r} needs a stage, as in {base}@3."


def find_stage(where: str, stages: Sequence[StageInfo], *, strategy: str) -> int:
    """Index (from 1) of a stage given by name or number; a name wins."""
    by_name = {s.name: s for s in stages}
    stage = by_name.get(where)
    if stage is None and re.fullmatch(r"\d+", where) and 1 <= int(where) <= len(stages):
        stage = stages[int(where) - 1]
    if stage is None:
        raise RecipeError(
            f"Strategy {strategy}@{where}: there is no stage {where!r}.",
            f"Stages are 1 to {len(stages)}: {', '.join(by_name)}.",
        )
    if not stage.cuttable:
        raise RecipeError(
            f"Strategy {strategy}@{where}: the network can't be cut after stage {stage.index} "
            f"({stage.name}): {stage.why_not}.",
            "See frostline stages SPEC.",
        )
    return stage.index


def auto_strategies(stages: Stages, choices: Choices = USUAL, *, mapped: bool = False) -> tuple[str, ...]:
    """Names of a default comparison: both ends of the question and up to three depths between, spread evenly.

    `mapped`: the network's own classes map to those of the data, so nothing needs to be re-initialised.
    """
    depths = spread([s.index for s in stages if s.cuttable and s.index < len(stages)], 3)
    as_is: tuple[str, ...] = ()
    continued: tuple[str, ...] = ()
    if mapped:
        as_is = ("as-is",)
        continued = ("continue",)
    probed: tuple[str, ...] = ()
    if choices.head == "linear":
        probed = ("lp-ft",)
    return (
        "baseline",
        *as_is,
        "probe",
        *(f"probe@{k}" for k in reversed(depths)),
        *(f"freeze@{k}" for k in reversed(depths)),
        "finetune",
        *probed,
        *continued,
        "scratch",
    )
