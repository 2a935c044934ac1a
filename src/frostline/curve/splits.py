"""Divides the classes into two halves, A and B, and restricts a data set to one of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from frostline.base.errors import DataError, RecipeError, nearest
from frostline.base.files import parse_json
from frostline.base.records import DataPart, Dataset, IntArray
from frostline.base.seeds import numpy_generator

DEFAULT_SPLITS = 4
LEAST_CLASSES = 2  # of a half: fewer leave nothing to tell apart
AUTO = "auto"
FORM = """Give {"A": ["ants", "bees"], "B": ["cats", "dogs"]}, or a list of such objects, one a split."""

Kind = Literal["disjoint", "overlapping", "self-transfer"]
Halves = Literal["A", "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSplit:
    """The two halves of the classes, each in the order of the data set; `number` counts from 1."""

    number: int
    a: tuple[str, ...]
    b: tuple[str, ...]

    def classes(self, half: Halves) -> tuple[str, ...]:
        """Return the classes of a half."""
        if half == "A":
            return self.a
        return self.b

    @property
    def kind(self) -> Kind:
        """`self-transfer` where both halves are equal, `overlapping` where they share a class."""
        if set(self.a) == set(self.b):
            return "self-transfer"
        if set(self.a) & set(self.b):
            return "overlapping"
        return "disjoint"


def class_splits(asked: str, count: int | None, classes: Sequence[str], seed: int) -> tuple[ClassSplit, ...]:
    """Return the splits of `--split-classes`: drawn at random (`auto`), or those of a file.

    Raises RecipeError or DataError where the classes can't be split so, or the file can't be read.
    """
    if asked == AUTO:
        return draw_splits(classes, count or DEFAULT_SPLITS, seed)
    if count is not None:
        raise RecipeError(f"--splits {count} doesn't apply: {asked} says which splits there are.", "Leave it out.")
    return read_splits(Path(asked), classes)


def draw_splits(classes: Sequence[str], count: int, seed: int) -> tuple[ClassSplit, ...]:
    """Draw `count` different divisions of the classes into halves; of an odd number, A gets one class more.

    Raises DataError for fewer than four classes, and where there aren't that many divisions.
    """
    half = math.ceil(len(classes) / 2)
    if len(classes) - half < LEAST_CLASSES:
        raise DataError(
            f"The data has {len(classes)} classes, but two halves of at least {LEAST_CLASSES} need four.",
            "Without --split-classes, frostline curve measures a pre-trained network on these classes.",
        )
    possible = math.comb(len(classes), half)
    if len(classes) % 2 == 0:
        possible //= 2  # both directions are run, so that A and B may change places
    if count > possible:
        raise DataError(
            f"--splits {count}: {len(classes)} classes have only {possible} different halves.",
            f"Give --splits {possible}.",
        )
    generator = numpy_generator(seed, "class-splits")
    found: dict[frozenset[frozenset[str]], ClassSplit] = {}
    while len(found) < count:
        chosen = set(generator.permutation(len(classes))[:half].tolist())
        a = tuple(name for i, name in enumerate(classes) if i in chosen)
        b = tuple(name for i, name in enumerate(classes) if i not in chosen)
        found.setdefault(frozenset((frozenset(a), frozenset(b))), ClassSplit(number=len(found) + 1, a=a, b=b))
    return tuple(found.values())


def read_splits(path: Path, classes: Sequence[str]) -> tuple[ClassSplit, ...]:
    """Read splits from a JSON file. Raises RecipeError naming what is wrong in it."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't UTF-8 text"
        raise RecipeError(f"--split-classes {path} can't be read: {reason}.", "Give auto, or a JSON file.") from error
    except json.JSONDecodeError as error:
        raise RecipeError(f"{path} is not JSON: {error.msg} in line {error.lineno}.", FORM) from error
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise RecipeError(f"{path} holds no split.", FORM)
    return tuple(_split_from(path, number, entry, classes) for number, entry in enumerate(entries, 1))


def _split_from(path: Path, number: int, entry: Any, classes: Sequence[str]) -> ClassSplit:
    where = f"{path}, split {number}"
    if not isinstance(entry, dict) or set(entry) != {"A", "B"}:
        raise RecipeError(f"{where}: an object with the keys A and B was expected.", FORM)
    halves = {letter: _half_from(f"{where}, half {letter}", entry[letter], classes) for letter in ("A", "B")}
    return ClassSplit(number=number, a=halves["A"], b=halves["B"])


def _half_from(where: str, names: Any, classes: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(f"{where}: a list of names of classes was expected.", FORM)
    for name in names:
        if name not in classes:
            raise RecipeError(f"{where}: the data has no class {name!r}.", nearest(name, classes))
        if names.count(name) > 1:
            raise RecipeError(f"{where} names {name!r} twice.", "Name it once.")
    if len(names) < LEAST_CLASSES:
        raise RecipeError(f"{where} has {len(names)} class(es), but needs {LEAST_CLASSES}.", "Name more classes.")
    return tuple(name for name in classes if name in names)


PARTS: Mapping[DataPart, DataPart] = {"development": "development", "validation": "development", "sealed": "validation"}


def half_of(dataset: Dataset, classes: Sequence[str]) -> tuple[Dataset, IntArray]:
    """Restrict a data set to some of its classes, with labels counted from 0 in their order.

    The part to learn from stays that; sealed samples become the validation part, on which every arm is judged.

    Returns:
        The restricted data set, and the index in `dataset` of each of its samples (N,), ascending.
    """
    label_of = {dataset.classes.index(name): label for label, name in enumerate(classes)}
    kept = np.array([i for i, s in enumerate(dataset.samples) if s.label in label_of], dtype=np.int64)
    chosen = [dataset.samples[i] for i in kept.tolist()]
    samples = tuple(replace(s, label=label_of[s.label], part=PARTS[s.part]) for s in chosen)
    restricted = replace(dataset, classes=tuple(classes), samples=samples)
    return restricted, kept


def check_held_out(dataset: Dataset) -> None:
    """Raise DataError naming a class without a held-out sample, on which no arm could be judged."""
    present = {s.label for s in dataset.samples if s.part == "sealed"}
    for label, name in enumerate(dataset.classes):
        if label not in present:
            raise DataError(
                f"The class {name} has no sample in the held-out part ({dataset.sealed_from}).",
                "Add samples of it, or leave it out with --min-per-class N.",
            )
