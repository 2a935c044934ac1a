"""Stages that a user names by hand: a file that says after (or before) which module each one ends.

As JSON, an object in the order of the network: `{"stem": "conv1", "body": "after layer3", "top": "before fc"}`. As
text, one stage per line: `NAME MODULE`, `NAME after MODULE` or `NAME before MODULE`; a module alone is its own name;
`#` begins a remark. The last stage goes on to the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from frostline.base.errors import ModelError, nearest
from frostline.base.files import parse_json
from frostline.cutting.recorder import SIDE_WORDS, Boundary, BoundarySide, Recording

STAGES_FORM = 'Write one stage per line, NAME MODULE, or JSON such as {"stem": "conv1", "body": "after layer3"}.'
_WHERE = {word: where for where, word in SIDE_WORDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStage:
    """A stage's name, and the module boundary where it ends."""

    name: str
    where: BoundarySide
    module: str


def read_named(path: Path) -> tuple[NamedStage, ...]:
    """Read the stages of a file. Raises ModelError where the file can't be read as one, or names a stage twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"--stages {path} can't be read ({type(error).__name__}).", STAGES_FORM) from error
    if text.lstrip().startswith(("{", "[")):
        stages = named_stages(_read_object(text, path), path)
    else:
        lines = (line.partition("#")[0].split() for line in text.splitlines())
        stages = tuple(_parse_stage(words, path) for words in lines if words)
    _check_names(stages, path)
    return stages


def named_stages(stages: Mapping[str, str], path: Path | None = None) -> tuple[NamedStage, ...]:
    """Return the stages for names and boundaries in Python; `path` is the file that they were read from, if any."""
    return tuple(_parse_stage([name, *str(boundary).split()], path) for name, boundary in stages.items())


def _read_object(text: str, path: Path) -> dict[str, str]:
    def refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_unique([name for name, _ in pairs], path)
        return dict(pairs)

    try:
        value = parse_json(text, refuse_repeated)
    except json.JSONDecodeError as error:
        raise ModelError(f"--stages {path} isn't JSON: {error.msg} in line {error.lineno}.", STAGES_FORM) from error
    if not isinstance(value, dict) or not all(isinstance(v, str) and v.strip() for v in value.values()):
        raise ModelError(f"--stages {path} isn't a JSON object of names and modules.", STAGES_FORM)
    return value


def _parse_stage(words: Sequence[str], path: Path | None) -> NamedStage:
    name = ""
    end = list(words)
    if len(words) > 1 and words[0] not in _WHERE:
        name, *end = words
    where: BoundarySide = "out"
    if len(end) == 2 and end[0] in _WHERE:
        where = _WHERE[end.pop(0)]
    if len(end) != 1:
        place = f"--stages {path}: " if path else ""
        raise ModelError(f"{place}{' '.join(words)!r} isn't a stage.", STAGES_FORM)
    return NamedStage(name=name or end[0], where=where, module=end[0])


def _check_names(stages: Sequence[NamedStage], path: Path) -> None:
    if not stages:
        raise ModelError(f"--stages {path} names no stage.", STAGES_FORM)
    names = [stage.name for stage in stages]
    _check_unique(names, path)
    for name in names:
        if name.isdecimal():
            raise ModelError(
                f"--stages {path} names a stage {name!r}, but numbers count stages.", "Use a word as its name."
            )


def _check_unique(names: Sequence[str], path: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ModelError(f"--stages {path} names the stage {name!r} twice.", "Give each stage a name of its own.")


def boundaries_of(recording: Recording, named: Sequence[NamedStage], head: str) -> list[Boundary]:
    """Return where the stages end in a recorded run, in its order.

    Raises ModelError for a module that doesn't exist, doesn't run or runs several times, and for another order.
    """
    boundaries: list[Boundary] = []
    for stage in named:
        boundary = _boundary_of(recording, _in_wrapped(recording, stage))
        if boundaries and boundary.index <= boundaries[-1].index:
            raise ModelError(
                f"The stage {stage.name} ends at {boundary.module}, which runs before the end of the stage above it.",
                "Name stages in the order in which they run, from the input.",
            )
        boundaries.append(boundary)
    if boundaries[-1].index > recording.first("in", head).index:
        raise ModelError(
            f"The stage {named[-1].name} ends at {named[-1].module}, which runs after the head {head}.",
            "The head is not a stage: end the last stage before it.",
        )
    return boundaries


def _in_wrapped(recording: Recording, stage: NamedStage) -> NamedStage:
    """Return the stage with its module's name inside a :class:`Wrapped`; users give the network's own names."""
    inner = f"base.{stage.module}"
    if isinstance(recording.model, Wrapped) and inner in recording.calls:
        return replace(stage, module=inner)
    return stage


def _boundary_of(recording: Recording, stage: NamedStage) -> Boundary:
    """Return the boundary where one stage ends; raises ModelError where its module doesn't run exactly once."""
    calls = recording.calls.get(stage.module, 0)
    if not calls or not stage.module:
        exists = any(name == stage.module for name, _ in recording.model.named_modules())
        problem = "doesn't run" if exists else "doesn't exist"
        known = [name for name in recording.calls if name]
        raise ModelError(
            f"The stage {stage.name} ends at the module {stage.module!r}, which {problem}.",
            nearest(stage.module, _names_of_depth(stage.module, known)),
        )
    if calls > 1:
        raise ModelError(
            f"The stage {stage.name} ends at {stage.module}, which is called {calls} times.",
            "Name a module that runs once.",
        )
    return recording.first(stage.where, stage.module)


def _names_of_depth(word: str, known: Sequence[str]) -> list[str]:
    """Return the names of the same depth, or the outermost: all are too many to list."""
    depth = word.count(".")
    same_depth = [name for name in known if name.count(".") == depth]
    return same_depth or [name for name in known if "." not in name]


class Wrapped(nn.Module):
    """Presents another network, `base`, to frostline: its modules are called `base.…` there, its stages as its own."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


def users_module_name(model: nn.Module, name: str) -> str:
    """Return a module's name as the user knows it."""
    if isinstance(model, Wrapped):
        return name.removeprefix("base.")
    return name
