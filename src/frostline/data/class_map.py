"""Which of the network's own classes mean which class of the data (docs/concepts.md, class maps)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.files import parse_json
from frostline.base.records import ClassMap
from frostline.data.class_names import plain_name

MAP_FORM = """Write JSON, your class to the network's: {"ants": ["ant"], "bees": ["bee", "bee eater"]}."""
SHOWN = 4


def read_source_classes(path: Path) -> tuple[str, ...]:
    """Names of the network's outputs, one a line, in their order. Raises DataError for no file, or empty lines."""
    text = _read_mapping(path, "--source-classes")
    names = tuple(plain_name(line) if line.strip() else "" for line in text.splitlines())
    while names and not names[-1]:
        names = names[:-1]
    blank = next((i for i, name in enumerate(names, 1) if not name), None)
    if not names or blank:
        if blank:
            found = f"Line {blank} of {path} is empty"
        else:
            found = f"{path} is empty"
        raise DataError(
            f"{found}, but --source-classes takes one name per line.", "Line i names the network's output i."
        )
    return names


def read_label_map(path: Path) -> dict[str, tuple[str, ...]]:
    """Class of the data -> names of source classes. Raises DataError for no file, no JSON, or another form."""
    try:
        value = parse_json(_read_mapping(path, "--label-map"), _no_twins)
    except json.JSONDecodeError as error:
        raise DataError(f"--label-map {path} is not JSON: {error.msg} in line {error.lineno}.", MAP_FORM) from None
    if not isinstance(value, dict) or not value:
        raise DataError(f"--label-map {path} does not hold a JSON object.", MAP_FORM)
    found = {}
    for target, sources in value.items():
        listed = sources
        if isinstance(sources, str):
            listed = [sources]
        if not isinstance(listed, list) or not listed or not all(isinstance(s, str) for s in listed):
            raise DataError(f"--label-map {path}: {target!r} has no list of names.", MAP_FORM)
        found[plain_name(target)] = tuple(dict.fromkeys(map(plain_name, listed)))
    return found


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None:
        raise DataError(f"--label-map names {twin!r} twice.", "Name it once, with all of its source classes.")
    return dict(pairs)


def _read_mapping(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{option} {path} can't be read: {error.strerror}.", "Give an existing text file.") from None
    except UnicodeDecodeError:
        raise DataError(f"{option} {path} is not UTF-8 text.", "Save it as UTF-8.") from None


def map_classes(
    source: Sequence[str], target: Sequence[str], given: Mapping[str, Sequence[str]]
) -> tuple[ClassMap | None, list[str]]:
    """The map, or None with the classes of the data that no source class means.

    Equal names map by themselves (`given` goes first), unless several outputs share the name. Raises DataError naming
    what `given` speaks of that isn't there, outputs that share a name, and an output that is given to two classes.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(source):
        places[name].append(index)
    _check_given(places, target, given)
    groups: list[tuple[int, ...]] = []
    for name in target:
        names = given.get(name, [name] if len(places.get(name, ())) == 1 else [])
        groups.append(tuple(sorted(places[n][0] for n in names)))
    _check_disjoint(source, target, groups)
    missing = [name for name, group in zip(target, groups, strict=True) if not group]
    return (None if missing else ClassMap(source=tuple(source), groups=tuple(groups))), missing


def _check_given(places: Mapping[str, list[int]], target: Sequence[str], given: Mapping[str, Sequence[str]]) -> None:
    unknown = [name for name in given if name not in target]
    if unknown:
        raise DataError(
            f"--label-map: the data has no class {_quoted_names(unknown)}.",
            f"{nearest(unknown[0], target)} Its classes: {_quoted_names(target)}.",
        )
    wanted = [name for names in given.values() for name in names]
    lacking = [name for name in dict.fromkeys(wanted) if name not in places]
    if lacking:
        close = nearest(lacking[0], places)
        hint = "Its names are the lines of --source-classes FILE."
        if close.startswith("Did"):
            hint = close
        raise DataError(
            f"--label-map: the network has no class {_quoted_names(lacking)} among its {len(places)}.", hint
        )
    shared = [name for name in dict.fromkeys(wanted) if len(places[name]) > 1]
    if shared:
        where = ", ".join(str(i + 1) for i in places[shared[0]])
        raise DataError(
            f"--label-map: the network has several classes called {shared[0]!r} (outputs {where}).",
            "Tell them apart in a --source-classes FILE.",
        )


def _check_disjoint(source: Sequence[str], target: Sequence[str], groups: Sequence[tuple[int, ...]]) -> None:
    owner: dict[int, str] = {}
    for name, group in zip(target, groups, strict=True):
        for index in group:
            if index in owner:
                raise DataError(
                    f"The network's class {source[index]!r} is mapped to both {owner[index]!r} and {name!r}.",
                    "Its probability can count once only: give it to one of them in --label-map.",
                )
            owner[index] = name


def _quoted_names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    if len(names) <= SHOWN:
        return shown
    return f"{shown} and {len(names) - SHOWN} more"
