"""What takes part while a data set is put together, and the checks of its files and classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from frostline.base.errors import DataError
from frostline.base.records import DataPart, DataWarning
from frostline.data.class_names import classes_that_differ_in_case
from frostline.data.formats import READ
from frostline.data.notices import KEPT, noticed
from frostline.data.paths import path_hint
from frostline.data.scan import Listing, Row

TINY = 5  # images; below, a class can't fill five folds
IMBALANCE = 10.0  # largest class over smallest
EXAMPLES = 3
NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?")
MANY = 5  # labels
FILL = "Fill the column text."


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembleOptions:
    """The user's settings that decide which images take part; `threads` only how fast copies are found."""

    min_per_class: int | None = None
    labels_per_class: int | None = None
    pool_validation: bool = False
    seed: int = 0
    threads: int = 1


@dataclass(slots=True, kw_only=True)
class Work:
    """Rows that still take part (indices into the listing, ascending), the part of every row, and what was noticed."""

    listing: Listing
    options: AssembleOptions
    rows: list[int]
    parts: dict[int, DataPart] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    warnings: list[DataWarning] = field(default_factory=list)

    def row(self, index: int) -> Row:
        return self.listing.rows[index]

    @property
    def folders(self) -> bool:
        return self.listing.kind.endswith("folders")

    @property
    def noun(self) -> str:
        """What the rows are: images or texts."""
        return self.listing.noun

    def part_name(self, part: str) -> str:
        """What the user calls a part: a folder's name, or a word in the column `split`."""
        if self.folders:
            return f"{part}/"
        return f"split {part!r}"

    def warn(self, kind: str, examples: Sequence[str], handled: str, *, kept: int = KEPT) -> None:
        self.warnings.extend(noticed(kind, examples, handled, kept=kept))

    def leave_out(self, rows: Iterable[int]) -> None:
        gone = set(rows)
        self.rows = [i for i in self.rows if i not in gone]

    def per_class(self, part: DataPart) -> Counter[str]:
        return Counter(self.row(i).class_name for i in self.rows if self.parts[i] == part)


def leave_out_unlabelled(work: Work) -> None:
    """Drop the rows without a label, counted in a warning."""
    without = [i for i in work.rows if not work.row(i).class_name]
    work.warn("unlabelled", [f"row {work.row(i).id}" for i in without], "left out: their label is empty")
    work.leave_out(without)


def leave_out_unreadable(work: Work, bad: Mapping[int, str]) -> None:
    """Drop the files that can't be decoded, with a warning that counts their reasons.

    Raises DataError where none is left, and where none of a class is left, unless --min-per-class leaves it out.
    """
    rows = [i for i in work.rows if i in bad]
    if len(rows) == len(work.rows):
        hint = FILL
        if work.noun == "images":
            hint = path_hint(work.listing, rows[0]) or f"Give whole images: {READ}."
        raise DataError(
            f"None of the {len(rows)} {work.noun} in {work.listing.root} can be read; the first is "
            f"{_named(work.row(rows[0]), bad[rows[0]])}.",
            hint,
        )
    _warn_unreadable(work, rows, bad)
    work.leave_out(rows)
    _leave_out_unread_classes(work, rows, bad)


def _warn_unreadable(work: Work, rows: Sequence[int], bad: Mapping[int, str]) -> None:
    """One warning, with an example of each sort of reason before the others of the same."""
    by_reason: dict[str, list[str]] = {}
    for i in rows:
        by_reason.setdefault(bad[i].partition(" (")[0], []).append(_named(work.row(i), bad[i]))
    if not by_reason:
        return
    handled = "left out"
    if len(by_reason) > 1:
        handled = "left out: " + ", ".join(f"{reason} ({len(names)})" for reason, names in by_reason.items())
    in_turn = zip_longest(*by_reason.values())
    work.warn("unreadable", [name for turn in in_turn for name in turn if name is not None], handled)


def _leave_out_unread_classes(work: Work, rows: Sequence[int], bad: Mapping[int, str]) -> None:
    """A class that vanishes changes the question, so that it takes the user's word."""
    left = {work.row(i).class_name for i in work.rows}
    lost: dict[str, str] = {}
    for i in rows:
        row = work.row(i)
        if row.class_name not in left:
            lost.setdefault(row.class_name, f"the first is {_named(row, bad[i])}")
    for name, why in work.listing.unread_classes.items():
        if name not in left:
            lost.setdefault(name, why)
    if not lost:
        return
    if work.options.min_per_class is None:
        name, why = next(iter(lost.items()))
        raise DataError(
            f"None of the {work.noun} of class {name!r} in {work.listing.root} can be read: {why}.",
            "Mend or convert them, move the class away, or leave such classes out with --min-per-class 1.",
        )
    examples = [f"class {name!r}: {why}" for name, why in lost.items()]
    work.warn("unread-classes", examples, f"left out (--min-per-class {work.options.min_per_class})")


def _named(row: Row, reason: str) -> str:
    """A row with the path that was looked for, where its id doesn't say it."""
    if row.path is None or row.id == reason or str(row.path).endswith(row.id):
        return f"{row.id}: {reason}"
    return f"row {row.id}, {row.path}: {reason}"


def leave_out_small_classes(work: Work) -> None:
    """Drop the classes below --min-per-class, each named in a warning."""
    least = work.options.min_per_class
    if least is None:
        return
    counts = work.per_class("development")
    names = sorted({work.row(i).class_name for i in work.rows})
    small = {name for name in names if counts[name] < least}
    if len(small) == len(names):
        largest = max(names, key=lambda name: counts[name])
        raise DataError(
            f"No class has {least} {work.noun} to learn from (--min-per-class); the largest, {largest!r}, has "
            f"{counts[largest]}.",
            "Lower --min-per-class.",
        )
    examples = [f"{name} ({counts[name]})" for name in names if name in small]
    work.warn("small-classes", examples, f"left out in every part (--min-per-class {least})")
    work.leave_out([i for i in work.rows if work.row(i).class_name in small])


def compare_classes(work: Work) -> None:
    """Every given part has to hold the same classes (rows without a part are one part)."""
    found: dict[str, set[str]] = {row.part or "": set() for row in work.listing.rows}
    for i in work.rows:
        found[work.row(i).part or ""].add(work.row(i).class_name)
    every = set().union(*found.values())
    lacking = [
        f"{some_of(sorted(every - classes))} missing in {work.part_name(part)}"
        for part, classes in found.items()
        if every - classes
    ]
    if lacking:
        parts = ", ".join(map(work.part_name, found))
        raise DataError(
            f"The classes of {parts} in {work.listing.root} differ: {'; '.join(lacking)}.",
            _how_to_agree(every, found),
        )


def _how_to_agree(every: set[str], found: Mapping[str, set[str]]) -> str:
    learned = found.get("train", set())
    strange = [part for part, classes in found.items() if part not in ("", "train") and classes.isdisjoint(learned)]
    for classes in found.values():
        twins = classes_that_differ_in_case(classes, every - classes)
        if twins:
            return f"{twins[0]!r} and {twins[1]!r} look like one class: give it one name everywhere."
    if strange:
        return (
            f"If the {strange[0]} part has no labels, move it out of the data: frostline predict answers for it once "
            "fit has run."
        )
    return "Give every part the same classes, or leave small classes out with --min-per-class N."


def check_classes(work: Work) -> None:
    """Refuse a single class, and a class with a single image, with what to do about it."""
    counts = work.per_class("development")
    if len(counts) < 2:
        raise DataError(
            f"{work.listing.root} holds one class ({next(iter(counts))!r}), and a comparison needs two.",
            f"Add {'a folder' if work.folders else work.noun} of anything else.",
        )
    single = sorted(name for name, n in counts.items() if n == 1)
    if single:
        if len(single) == 1:
            classes = f"Class {single[0]!r} has"
        else:
            classes = f"Classes {some_of(single)} have"
        if _are_measurements(counts):
            raise DataError(
                f"The {len(counts)} labels in {work.listing.root} look like measured numbers ({some_of(single)}), and "
                "frostline tells classes apart.",
                "Give classes, such as ranges of the number.",
            )
        raise DataError(
            f"{classes} a single {work.noun[:-1]} to learn from in {work.listing.root}, and at least two are needed.",
            f"Add {work.noun}, or leave such classes out with --min-per-class 2.",
        )


def _are_measurements(counts: Mapping[str, int]) -> bool:
    """Whether labels are numbers, most of which stand once: a quantity to be predicted, not classes."""
    numbers = [name for name in counts if NUMBER.fullmatch(name)]
    single = sum(n == 1 for n in counts.values())
    return len(numbers) == len(counts) > MANY and 2 * single > len(counts)


def report_sizes(work: Work) -> None:
    """Warn of tiny classes and of strong imbalance; nothing is changed."""
    counts = work.per_class("development")
    tiny = [f"{name} ({n})" for name, n in sorted(counts.items()) if n < TINY]
    work.warn("tiny-classes", tiny, f"kept; with fewer than {TINY} {work.noun} a class allows fewer folds")
    most = max(counts, key=lambda c: (counts[c], c))
    least = min(counts, key=lambda c: (counts[c], c))
    if counts[most] >= IMBALANCE * counts[least]:
        examples = [f"{most} ({counts[most]})", f"{least} ({counts[least]})"]
        handled = "kept; look at the results of each class"
        work.warnings.append(DataWarning(kind="imbalance", count=1, examples=tuple(examples), handled=handled))


def some_of(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:EXAMPLES])
    if len(names) <= EXAMPLES:
        return shown
    return f"{shown} and {len(names) - EXAMPLES} more"
