"""A user's own recipe: a JSON file that says for ranges of stages what happens to them, checked against a stage map.

`frostline recipe show freeze@4` writes one to begin with; `--strategies mine.json` runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE, GROUPS
from frostline.recipe.recipe import Adapter, BatchNorm, HeadKind, Optimiser, Origin, Part, Phase, Recipe, Solver, What
from frostline.recipe.selection import make_recipe

HINT = "frostline recipe show freeze@4 prints one to begin with."
RANGE = re.compile(r"([1-9]\d*)(-([1-9]\d*)?)?")
ENDLESS = 1_000_000  # stands for the last stage, whatever its number
RATES_HINT = 'Write "rates": [1e-4, 3e-4, 1e-3].'


class Own(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OwnPart(Own):
    """What a phase does to a range of stages (`1-4`, `5`, `6-` to the last) or to the head (no range)."""

    stages: str | None = None
    trained: bool
    lr_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batchnorm: BatchNorm = "frozen"
    what: What = "all"  # of a trained range: all, norm, bias, or lora (adapters of low rank)


class OwnAdapter(Own):
    """Adapters of the parts that train by lora: the weight W becomes W + alpha / rank * B A."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0, allow_inf_nan=False)


class OwnPhase(Own):
    """One stretch of training."""

    name: str
    solver: Solver
    stages: list[OwnPart]
    head: OwnPart
    optimiser: Optimiser = "adamw"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    pull: float = Field(default=0.0, ge=0)
    head_pull: float = Field(default=0.0, ge=0)


class OwnOrigin(Own):
    """Where the weights of a range of stages come from."""

    stages: str
    origin: Origin


class OwnRecipe(Own):
    """The file."""

    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    keep: int | None = Field(default=None, ge=1)  # stages that stay in the network; null for all
    origins: list[OwnOrigin]
    head_origin: Literal["new", "pretrained"] = "new"
    head: HeadKind = "linear"
    interpolated: bool = False
    phases: list[OwnPhase] = Field(min_length=1)
    rates: list[float] = Field(default_factory=list)
    adapter: OwnAdapter | None = None


def recipe_as_file(name: str, stages: int | None = None) -> OwnRecipe:
    """A strategy of the catalogue as a file's content, for networks of any number of stages.

    `stages` is the number that its groups are made for, where it depends on that (`gradual`: by default as many as it
    has groups). Raises RecipeError for an unknown strategy, or a stage by name, which only a network knows.
    """
    at = name.partition("@")[2]
    if at and not at.isdigit():
        raise RecipeError(f"{name}: a stage's name belongs to a network.", "Give its number, as in freeze@4.")
    if name == "baseline":
        raise RecipeError("baseline has no network, so there is no recipe.", "Show another strategy.")
    count = stages or (GROUPS if name == "gradual" else int(at or 0) + 1)
    recipe = make_recipe(
        name,
        [
            StageInfo(
                index=i,
                name=f"stage {i}",
                parameters=0,
                output_shape=(1,),
                stored_bytes=0,
                operations=0.0,
                cuttable=True,
            )
            for i in range(1, count + 1)
        ],
    )
    return OwnRecipe(
        format=1,
        name=f"my-{recipe.name}",
        keep=recipe.keep if recipe.cut_short else None,
        origins=[OwnOrigin(stages=r, origin=o) for r, o in _ranges(recipe.origins)],
        head_origin="pretrained" if recipe.head_origin == "pretrained" else "new",
        head=recipe.head_kind,
        interpolated=recipe.interpolated,
        phases=[_own_phase(phase) for phase in recipe.phases],
        rates=list(recipe.rates),
        adapter=OwnAdapter(rank=recipe.adapter.rank, alpha=recipe.adapter.alpha) if recipe.adapter else None,
    )


def _own_phase(phase: Phase) -> OwnPhase:
    return OwnPhase(
        name=phase.name,
        solver=phase.solver,
        optimiser=phase.optimiser,
        label_smoothing=phase.label_smoothing,
        pull=phase.pull,
        head_pull=phase.head_pull,
        stages=[_own_part(part, where) for where, part in _ranges(phase.stages)],
        head=_own_part(phase.head, None),
    )


def _own_part(part: Part, where: str | None) -> OwnPart:
    return OwnPart(
        stages=where,
        trained=part.trained,
        lr_factor=part.lr_factor,
        weight_decay=part.weight_decay,
        batchnorm=part.batchnorm,
        what=part.what,
    )


def _ranges(values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Equal neighbours together, as `1-4`; the last range is open: it goes on to the network's last stage."""
    found = []
    start = 1
    for value, group in groupby(values):
        end = start + len(list(group)) - 1
        if end == len(values):
            text = f"{start}-"
        else:
            if start == end:
                text = f"{start}"
            else:
                text = f"{start}-{end}"
        found.append((text, value))
        start = end + 1
    return found


def read_own(path: Path) -> tuple[OwnRecipe, bytes]:
    """A recipe's file and its bytes. Raises RecipeError naming the key that is wrong, unknown or missing."""
    try:
        data = path.read_bytes()
        return OwnRecipe.model_validate_json(data), data
    except OSError as error:
        raise RecipeError(f"--strategies {path} can't be read: {error.strerror}.", HINT) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RecipeError(f"{path} is not a recipe: {where}: {first['msg']}.", HINT) from None


def recipe_of(own: OwnRecipe, stages: Sequence[StageInfo]) -> Recipe:
    """The recipe for one network. Raises RecipeError for what doesn't fit it, or can't be run."""
    _check_recipe(own, stages)
    count = len(stages)
    made = Recipe(
        name=own.name,
        kind="own",
        origins=_spread(own.origins, count, f"{own.name}: origins", lambda o: o.origin),
        head_origin=own.head_origin,
        keep=own.keep or count,
        phases=tuple(_phase(own.name, phase, count) for phase in own.phases),
        rates=tuple(own.rates),
        head_kind=own.head,
        interpolated=own.interpolated,
        adapter=Adapter(rank=own.adapter.rank, alpha=own.adapter.alpha) if own.adapter else None,
    )
    _check_runs(made, stages)
    return made


def _phase(name: str, own: OwnPhase, count: int) -> Phase:
    return Phase(
        name=own.name,
        solver=own.solver,
        optimiser=own.optimiser,
        label_smoothing=own.label_smoothing,
        pull=own.pull,
        head_pull=own.head_pull,
        head=_part_from(own.head),
        stages=_spread(own.stages, count, f"{name}: phase {own.name}", _part_from),
    )


def _part_from(own: OwnPart) -> Part:
    return Part(
        trained=own.trained,
        lr_factor=own.lr_factor,
        weight_decay=own.weight_decay,
        batchnorm=own.batchnorm,
        what=own.what,
    )


def _spread(parts: Sequence[Any], count: int, where: str, value: Callable[[Any], Any]) -> tuple[Any, ...]:
    """One value a stage; ranges follow each other without a gap. What lies beyond the network is left out."""
    found: list[Any] = []
    for part in parts:
        match = RANGE.fullmatch(part.stages or "")
        if match is None:
            raise RecipeError(f"{where}: {part.stages!r} is no range of stages.", "Write 1-4, 5 or 6- (to the last).")
        first = int(match[1])
        if match[2] is None:
            last = first
        else:
            last = int(match[3] or ENDLESS)
        if first != len(found) + 1 or last < first:
            raise RecipeError(
                f"{where}: the range {part.stages!r} should begin with stage {len(found) + 1}.",
                "Ranges follow each other from 1 without a gap.",
            )
        if first > count or (last != ENDLESS and last > count):
            raise RecipeError(
                f"{where}: the range {part.stages!r} goes beyond the network's {count} stages.",
                "Stages: frostline stages SPEC.",
            )
        found += [value(part)] * (min(last, count) - first + 1)
    if len(found) < count:
        raise RecipeError(
            f"{where}: nothing is said about stage {len(found) + 1} of {count}.",
            "End the last range with a dash: it goes on to the last stage.",
        )
    return tuple(found)


def _check_recipe(own: OwnRecipe, stages: Sequence[StageInfo]) -> None:
    """A name of its own, phases that a trial can run, and a head that fits them."""
    base = own.name.partition("@")[0]
    last = own.phases[-1]
    rest = own.phases[1:]
    solved = any(p.solver == "solved" for p in own.phases)
    faults = [
        (base in CATALOGUE or f"{base}@K" in CATALOGUE, "its name is that of a strategy", "Give it a name of its own."),
        (
            any(p.solver != "stepped" for p in rest),
            "after the first phase there can only be stepped ones",
            "Put a solved head first.",
        ),
        (
            len(own.phases) > 1 and own.phases[0].solver not in ("solved", "stepped"),
            f"the phase {own.phases[0].name} ({own.phases[0].solver}) has to be the only one",
            "Leave the others out.",
        ),
        (
            own.interpolated and not solved,
            "interpolated weights lie between a solved head and the end of training",
            "Put a solved phase first, or leave interpolated out.",
        ),
        (
            any(p.head.what != "all" for p in own.phases),
            "a head is trained in all or not at all",
            'Leave "what" out of the head.',
        ),
        (last.solver == "baseline", "the solver 'baseline' has no network", "Use solved, stepped or untrained."),
        (last.solver == "stepped" and not own.rates, "a stepped phase needs rates", RATES_HINT),
        (any(not 0 < rate < float("inf") for rate in own.rates), "rates have to be above 0", RATES_HINT),
        (
            solved and (own.head != "linear" or own.head_origin != "new"),
            "only a new linear head can be solved",
            'Write "head": "linear" and "head_origin": "new".',
        ),
        (
            (own.head == "mapped") != (own.head_origin == "pretrained"),
            "a head is mapped exactly where it is the network's own",
            'Write "head": "mapped" with "head_origin": "pretrained", or neither.',
        ),
        (
            (own.keep or 0) > len(stages),
            f"keep is {own.keep}, but the network has {len(stages)} stages",
            "Stages: frostline stages SPEC.",
        ),
    ]
    for wrong, what, hint in faults:
        if wrong:
            raise RecipeError(f"The recipe {own.name} can't run: {what}.", hint)


def _check_runs(recipe: Recipe, stages: Sequence[StageInfo]) -> None:
    """What the stages' origins and a cut allow."""
    moved = any(part.trained for phase in recipe.phases for part in phase.stages)
    if recipe.cut_short:
        frozen = recipe.keep
    else:
        frozen = recipe.frozen_stages
    solved = any(not p.frozen for phase in recipe.phases if phase.solver == "solved" for p in phase.stages)
    drawn = "reinitialised" in recipe.origins[: recipe.keep]
    faults = [
        (
            recipe.cut_short and moved,
            "a network that is cut short is trained in its head only",
            "Leave keep out, or freeze all stages.",
        ),
        ("new" in recipe.origins, "a stage is pretrained or reinitialised; only a head is new", "Change its origin."),
        (
            drawn and (recipe.solver != "stepped" or recipe.solves_head or recipe.cut_short),
            "a head that is solved, mapped or put on a cut reads the pre-trained network",
            "Give every stage the origin pretrained, or train in steps.",
        ),
        (
            set(recipe.origins) == {"reinitialised"} and recipe.head_origin == "pretrained",
            "a network that is re-initialised throughout has no pre-trained head",
            'Write "head_origin": "new".',
        ),
        (solved, "a solved phase leaves every stage as it is", "Freeze all stages in it."),
    ]
    for wrong, what, hint in (*faults, *_adapter_faults(recipe)):
        if wrong:
            raise RecipeError(f"The recipe {recipe.name} can't run: {what}.", hint)
    if frozen and not stages[frozen - 1].cuttable:
        stage = stages[frozen - 1]
        raise RecipeError(
            f"The recipe {recipe.name} can't run: the network can't be cut after stage {frozen} "
            f"({stage.name}): {stage.why_not}.",
            "See frostline stages SPEC.",
        )


def _adapter_faults(recipe: Recipe) -> list[tuple[bool, str, str]]:
    """What keeps parts that train by lora from running: (whether, what, hint)."""
    of_stages = zip(*(phase.stages for phase in recipe.phases), strict=True)
    whats = [{part.what for part in parts if part.trained} for parts in of_stages]
    adapted = any("lora" in what for what in whats)
    pulled = any(phase.pull and any(p.trained and p.what == "lora" for p in phase.stages) for phase in recipe.phases)
    return [
        (
            adapted and recipe.adapter is None,
            "a part trains by lora, but adapters have no size",
            'Write "adapter": {"rank": 8, "alpha": 16}.',
        ),
        (
            recipe.adapter is not None and not adapted,
            "it has an adapter, but no part trains by lora",
            'Write "what": "lora" in a trained part, or leave "adapter" out.',
        ),
        (
            any("lora" in what and len(what) > 1 for what in whats),
            "a stage trains by lora in one phase and not in another",
            "Train it by lora in both.",
        ),
        (pulled, "pull doesn't reach the weights under adapters", "Leave pull out where a part trains by lora."),
    ]
