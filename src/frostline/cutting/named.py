"""Stages that a user names by hand: a file that says after (or before) which module each one ends.

As JSON, an object in the order of the network: `{"stem": "conv1", "body": "after layer3", "top": "before fc"}`. As
text, one stage a line: `NAME MODULE`, `NAME after MODULE` or `NAME before MODULE`; a module alone is its own name;
`#` begins a remark. The last stage goes on to the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from frostline.base.errors import ModelError, nearest
from frostline.cutting.recorder import Boundary, Recording

FORM = 'Write one stage a line, NAME MODULE, or JSON such as {"stem": "conv1", "body": "after layer3"}.'


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStage:
    """A stage's name, and the module boundary where it ends."""

    name: str
    where: Literal["in", "out"]
    module: str


def read_named(path: Path) -> tuple[NamedStage, ...]:
    """The stages of a file. Raises ModelError for a file that can't be read as one, or that names a stage twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"--stages {path} can't be read ({type(error).__name__}).", FORM) from error
    if text.lstrip().startswith(("{", "[")):
        found = named_stages(_object(text, path))
    else:
        lines = (line.partition("#")[0].split() for line in text.splitlines())
        found = tuple(_from_words(words, path) for words in lines if words)
    return _checked(found, str(path))


def named_stages(stages: Mapping[str, str]) -> tuple[NamedStage, ...]:
    """The same from names and boundaries in Python."""
    return tuple(_from_words([name, *str(boundary).split()], None) for name, boundary in stages.items())


def _object(text: str, path: Path) -> dict[str, str]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ModelError(f"--stages {path} names the stage {twice!r} twice.", "Give each stage a name of its own.")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ModelError(f"--stages {path} isn't JSON: {error.msg} in line {error.lineno}.", FORM) from error
    if not isinstance(value, dict) or not all(isinstance(v, str) and v.strip() for v in value.values()):
        raise ModelError(f"--stages {path} isn't a JSON object of names and modules.", FORM)
    return value


def _from_words(words: Sequence[str], path: Path | None) -> NamedStage:
    if len(words) > 1 and words[0] not in _WHERE:
        name = words[0]
        rest = words[1:]
    else:
        name = ""
        rest = words
    where: Literal["in", "out"] = "out"
    if len(rest) == 2 and rest[0] in _WHERE:
        where = _WHERE[rest[0]]
    if not (len(rest) == 1 or (len(rest) == 2 and rest[0] in _WHERE)):
        raise ModelError(
            f"{f'--stages {path}' if path else 'A stage'} says {' '.join(words)!r}, which isn't a stage.", FORM
        )
    return NamedStage(name=name or rest[-1], where=where, module=rest[-1])


_WHERE: dict[str, Literal["in", "out"]] = {"before": "in", "after": "out"}


def _checked(found: tuple[NamedStage, ...], path: str) -> tuple[NamedStage, ...]:
    if not found:
        raise ModelError(f"--stages {path} names no stage.", FORM)
    names = [stage.name for stage in found]
    for name in names:
        if names.count(name) > 1:
            raise ModelError(f"--stages {path} names the stage {name!r} twice.", "Give each stage a name of its own.")
        if name.isdecimal():
            raise ModelError(f"--stages {path} names a stage {name!r}, but numbers count stages.", "Give it a word.")
    return found


def _in_wrapped(recording: Recording, stage: NamedStage) -> NamedStage:
    """Modules are given by the network's own names."""
    inner = f"base.{stage.module}"
    wrapped = isinstance(recording.model, Wrapped) and inner in recording.calls
    if wrapped:
        return replace(stage, module=inner)
    return stage


def boundaries_of(recording: Recording, named: Sequence[NamedStage], head: str) -> list[Boundary]:
    """Where the stages end in a recorded run, in its order.

    Raises ModelError for a module that doesn't exist, doesn't run or runs several times, and for another order.
    """
    known = [name for name in recording.calls if name]
    found: list[Boundary] = []
    for stage in (_in_wrapped(recording, stage) for stage in named):
        if stage.module not in recording.calls or not stage.module:
            exists = any(name == stage.module for name, _ in recording.model.named_modules())
            problem = "doesn't exist"
            if exists:
                problem = "doesn't run"
            raise ModelError(
                f"The stage {stage.name} ends at the module {stage.module!r}, which {problem}.",
                nearest(stage.module, _near(stage.module, known)),
            )
        if recording.calls[stage.module] > 1:
            raise ModelError(
                f"The stage {stage.name} ends at {stage.module}, which is called "
                f"{recording.calls[stage.module]} times.",
                "Name a module that runs once.",
            )
        boundary = recording.first(stage.where, stage.module)
        if found and boundary.index <= found[-1].index:
            raise ModelError(
                f"The stage {stage.name} ends at {stage.module}, which runs before the end of the stage above it.",
                "Name stages in the order in which they run, from the input.",
            )
        found.append(boundary)
    at_head = recording.first("in", head).index
    if found[-1].index > at_head:
        raise ModelError(
            f"The stage {named[-1].name} ends at {named[-1].module}, which runs after the head {head}.",
            "The head is not a stage: let the last one end before it.",
        )
    return found


def _near(word: str, known: Sequence[str]) -> list[str]:
    """All names are too many to list: those of the same depth, or the outermost."""
    depth = word.count(".")
    return [name for name in known if name.count(".") == depth] or [name for name in known if "." not in name]


class Wrapped(nn.Module):
    """A network behind which frostline sees another: its modules are called `base.…` there, its stages as its own."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


def own_name(model: nn.Module, name: str) -> str:
    """A module's name as the user knows it."""
    if isinstance(model, Wrapped):
        return name.removeprefix("base.")
    return name
