"""Recipes read from the user's JSON file: it says for ranges of stages what happens to them, for any stage map.

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
from frostline.recipe.faults import Fault, check_recipe, refuse_first
from frostline.recipe.recipe import Adapter, BatchNorm, HeadKind, Optimiser, Origin, Part, Phase, Recipe, Solver, What
from frostline.recipe.selection import make_recipe

EXAMPLE_HINT = "To start from an example: frostline recipe show freeze@4."
STAGES_HINT = "Stages: frostline stages SPEC."
RATES_HINT = 'Write "rates": [1e-4, 3e-4, 1e-3].'
STAGE_RANGE = re.compile(r"([1-9]\d*)(-([1-9]\d*)?)?")
LAST_STAGE = 1_000_000  # stands for the last stage, whatever its number


class FileEntry(BaseModel):
    """An object of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PartEntry(FileEntry):
    """What a phase does to a range of stages (`1-4`, `5`, `6-` to the last) or to the head (no range)."""

    stages: str | None = None
    trained: bool
    lr_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batchnorm: BatchNorm = "frozen"
    what: What = "all"  # of a trained range: all, norm, bias, or lora (adapters of low rank)


class AdapterEntry(FileEntry):
    """Size of the adapters of parts that train by lora: the weight W becomes W + alpha / rank * B A."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0, allow_inf_nan=False)


class PhaseEntry(FileEntry):
    """One stretch of training."""

    name: str
    solver: Solver
    stages: list[PartEntry]
    head: PartEntry
    optimiser: Optimiser = "adamw"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    pull: float = Field(default=0.0, ge=0)
    head_pull: float = Field(default=0.0, ge=0)


class OriginEntry(FileEntry):
    """Where the weights of a range of stages come from."""

    stages: str
    origin: Origin


class RecipeFile(FileEntry):
    """The whole file."""

    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    keep: int | None = Field(default=None, ge=1)  # stages that stay in the network; null for all
    origins: list[OriginEntry]
    head_origin: Literal["new", "pretrained"] = "new"
    head: HeadKind = "linear"
    interpolated: bool = False
    phases: list[PhaseEntry] = Field(min_length=1)
    rates: list[float] = Field(default_factory=list)
    adapter: AdapterEntry | None = None


def recipe_as_file(name: str, stages: int | None = None) -> RecipeFile:
    """Write a strategy of the catalogue as a file's content, for networks of any number of stages.

    `stages` is the number that its groups are made for, where it depends on that (`gradual`: by default as many as it
    has groups). Raises RecipeError for an unknown strategy, or a stage by name, which only a network knows.
    """
    recipe = make_recipe(name, _example_stages(name, stages))
    head_origin: Literal["new", "pretrained"] = "new"
    if recipe.head_origin == "pretrained":
        head_origin = "pretrained"
    keep = None
    if recipe.cut_short:
        keep = recipe.keep
    adapter = None
    if recipe.adapter:
        adapter = AdapterEntry(rank=recipe.adapter.rank, alpha=recipe.adapter.alpha)
    return RecipeFile(
        format=1,
        name=f"my-{recipe.name}",
        keep=keep,
        origins=[OriginEntry(stages=span, origin=origin) for span, origin in _stage_ranges(recipe.origins)],
        head_origin=head_origin,
        head=recipe.head_kind,
        interpolated=recipe.interpolated,
        phases=[_phase_entry(phase) for phase in recipe.phases],
        rates=list(recipe.rates),
        adapter=adapter,
    )


def _example_stages(name: str, stages: int | None) -> list[StageInfo]:
    """Make a stage map that is just long enough for the strategy."""
    stage = name.partition("@")[2]
    if stage and not stage.isdigit():
        raise RecipeError(f"{name}: a stage's name belongs to a network.", "Give its number, as in freeze@4.")
    if name == "baseline":
        raise RecipeError("baseline has no network, so there is no recipe.", "Show another strategy.")
    count = stages or int(stage or 0) + 1
    if name == "gradual":
        count = stages or GROUPS
    return [
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
    ]


def _phase_entry(phase: Phase) -> PhaseEntry:
    return PhaseEntry(
        name=phase.name,
        solver=phase.solver,
        optimiser=phase.optimiser,
        label_smoothing=phase.label_smoothing,
        pull=phase.pull,
        head_pull=phase.head_pull,
        stages=[_part_entry(part, span) for span, part in _stage_ranges(phase.stages)],
        head=_part_entry(phase.head, None),
    )


def _part_entry(part: Part, span: str | None) -> PartEntry:
    return PartEntry(
        stages=span,
        trained=part.trained,
        lr_factor=part.lr_factor,
        weight_decay=part.weight_decay,
        batchnorm=part.batchnorm,
        what=part.what,
    )


def _stage_ranges(values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Join equal neighbours, as `1-4`; the last range is open: it goes on to the network's last stage."""
    ranges = []
    first = 1
    for value, group in groupby(values):
        last = first + len(list(group)) - 1
        if last == len(values):
            span = f"{first}-"
        elif last == first:
            span = f"{first}"
        else:
            span = f"{first}-{last}"
        ranges.append((span, value))
        first = last + 1
    return ranges


def read_recipe_file(path: Path) -> tuple[RecipeFile, bytes]:
    """Read a recipe file and its bytes. Raises RecipeError naming the key that is wrong, unknown or missing."""
    try:
        data = path.read_bytes()
        return RecipeFile.model_validate_json(data), data
    except OSError as error:
        raise RecipeError(f"--strategies {path} can't be read: {error.strerror}.", EXAMPLE_HINT) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RecipeError(f"{path} is not a recipe: {place}: {first['msg']}.", EXAMPLE_HINT) from None


def recipe_from_file(file: RecipeFile, stages: Sequence[StageInfo]) -> Recipe:
    """Make the recipe for one network. Raises RecipeError for what doesn't fit the network, or can't run."""
    refuse_first(file.name, _file_faults(file, stages))
    count = len(stages)
    adapter = None
    if file.adapter:
        adapter = Adapter(rank=file.adapter.rank, alpha=file.adapter.alpha)
    recipe = Recipe(
        name=file.name,
        kind="own",
        origins=_spread(file.origins, count, f"{file.name}: origins", lambda entry: entry.origin),
        head_origin=file.head_origin,
        keep=file.keep or count,
        phases=tuple(_phase_from(file.name, phase, count) for phase in file.phases),
        rates=tuple(file.rates),
        head_kind=file.head,
        interpolated=file.interpolated,
        adapter=adapter,
    )
    check_recipe(recipe, stages)
    return recipe


def _phase_from(name: str, entry: PhaseEntry, count: int) -> Phase:
    return Phase(
        name=entry.name,
        solver=entry.solver,
        optimiser=entry.optimiser,
        label_smoothing=entry.label_smoothing,
        pull=entry.pull,
        head_pull=entry.head_pull,
        head=_part_from(entry.head),
        stages=_spread(entry.stages, count, f"{name}: phase {entry.name}", _part_from),
    )


def _part_from(entry: PartEntry) -> Part:
    return Part(
        trained=entry.trained,
        lr_factor=entry.lr_factor,
        weight_decay=entry.weight_decay,
        batchnorm=entry.batchnorm,
        what=entry.what,
    )


def _spread(entries: Sequence[Any], count: int, place: str, value: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Give each of `count` stages the value of its entry; the entries' ranges follow each other without a gap."""
    values: list[Any] = []
    for entry in entries:
        first, last = _stage_range(entry.stages, place)
        if first != len(values) + 1 or last < first:
            raise RecipeError(
                f"{place}: the range {entry.stages!r} should begin with stage {len(values) + 1}.",
                "Ranges follow each other from 1 without a gap.",
            )
        if first > count or (last != LAST_STAGE and last > count):
            raise RecipeError(
                f"{place}: the range {entry.stages!r} goes beyond the network's {count} stages.", STAGES_HINT
            )
        values += [value(entry)] * (min(last, count) - first + 1)
    if len(values) < count:
        raise RecipeError(
            f"{place}: no range covers stage {len(values) + 1} of {count}.",
            "End the last range with a dash: it goes on to the last stage.",
        )
    return tuple(values)


def _stage_range(text: str | None, place: str) -> tuple[int, int]:
    """Read the first and last stage of `1-4`, `5` or `6-`, whose last stage is LAST_STAGE."""
    match = STAGE_RANGE.fullmatch(text or "")
    if match is None:
        raise RecipeError(f"{place}: {text!r} is not a range of stages.", "Write 1-4, 5 or 6- (to the last).")
    first = int(match[1])
    if match[2] is None:
        return first, first
    return first, int(match[3] or LAST_STAGE)


def _file_faults(file: RecipeFile, stages: Sequence[StageInfo]) -> list[Fault]:
    """List what may be wrong with its name, its phases and its head."""
    base = file.name.partition("@")[0]
    named_like_one = base in CATALOGUE or f"{base}@K" in CATALOGUE
    name = (named_like_one, "its name is that of a strategy", "Give it a name of its own.")
    keep = (
        (file.keep or 0) > len(stages),
        f"keep is {file.keep}, but the network has {len(stages)} stages",
        STAGES_HINT,
    )
    return [name, *_phase_faults(file), *_head_faults(file), keep]


def _phase_faults(file: RecipeFile) -> list[Fault]:
    """List what may be wrong with the order of phases and what they train."""
    first = file.phases[0]
    later = file.phases[1:]
    last = file.phases[-1]
    solved = any(p.solver == "solved" for p in file.phases)
    return [
        (
            any(p.solver != "stepped" for p in later),
            "only stepped phases can follow the first phase",
            "Put a solved head first.",
        ),
        (
            len(file.phases) > 1 and first.solver not in ("solved", "stepped"),
            f"the phase {first.name} ({first.solver}) has to be the only one",
            "Leave the others out.",
        ),
        (
            file.interpolated and not solved,
            "interpolated weights lie between a solved head and the end of training",
            "Put a solved phase first, or leave interpolated out.",
        ),
        (
            any(p.head.what != "all" for p in file.phases),
            "a head can't be trained in part",
            'Leave "what" out of the head.',
        ),
        (last.solver == "baseline", "the solver 'baseline' has no network", "Use solved, stepped or untrained."),
        (last.solver == "stepped" and not file.rates, "a stepped phase needs rates", RATES_HINT),
        (any(not 0 < rate < float("inf") for rate in file.rates), "rates have to be above 0", RATES_HINT),
    ]


def _head_faults(file: RecipeFile) -> list[Fault]:
    """List what may be wrong with the head and where its weights come from."""
    solved = any(p.solver == "solved" for p in file.phases)
    return [
        (
            solved and (file.head != "linear" or file.head_origin != "new"),
            "only a new linear head can be solved",
            'Write "head": "linear" and "head_origin": "new".',
        ),
        (
            (file.head == "mapped") != (file.head_origin == "pretrained"),
            "a mapped head is the network's own, and the network's own head is mapped",
            'Write "head": "mapped" with "head_origin": "pretrained", or neither.',
        ),
    ]
