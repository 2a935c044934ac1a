"""Names of columns that nearly say what they hold: a column `Split` that is left unread answers another question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from frostline.base.errors import DataError
from frostline.base.records import DataWarning
from frostline.data.notices import noticed
from frostline.data.part_names import part_of

LOOKED_AT = 2000  # rows, of a column that isn't read
SPLIT, GROUP = "split", "group"
# What people call the column whose rows belong together: one patient, one video, one author.
GROUPS = frozenset(
    "patient patientid subject subjectid person personid participant user userid author authorid speaker speakerid "
    "session sessionid video videoid scene sceneid clip case caseid study studyid slide slideid site siteid hospital "
    "family cluster groupid groupname animal animalid individual".split()
)


# What people call the column that numbers the samples.
IDS = frozenset("id imageid sampleid rowid fileid textid uid uuid key".split())


def check_names(columns: Mapping[str, Sequence[Any]], known: Iterable[str], place: str) -> tuple[DataWarning, ...]:
    """Look through the columns that aren't read; `place` is the file's name or what the user gave.

    Raises DataError for a name that differs from a known one in case, blanks or a plural alone, and for a column of
    other name that says which rows are train and which test. A column that may hold groups gives a warning.
    """
    by_key = {_key(name): name for name in known}
    unread = [name for name in columns if name not in by_key.values()]
    for name in unread:
        meant = by_key.get(_key(name))
        if meant is not None and meant not in columns:
            raise DataError(
                f"{place} has a column {name!r}, but the column that is read is called {meant!r}.",
                f"Rename it to {meant}, or remove it.",
            )
    if SPLIT not in columns and SPLIT in by_key.values():
        _check_parts(columns, unread, place)
    repeated = _repeated_ids(columns, unread)
    if GROUP in columns or GROUP not in by_key.values():
        return repeated
    likely = [name for name in unread if re.sub(r"\W|_", "", name.casefold()) in GROUPS and _repeats(columns[name])]
    handled = "not read; rename it to group if rows that share a value belong on the same side of a split"
    return (*repeated, *noticed("possible-groups", likely, handled))


def _repeated_ids(columns: Mapping[str, Sequence[Any]], unread: Sequence[str]) -> tuple[DataWarning, ...]:
    """A warning of values that stand more than once in a column that numbers the samples."""
    for name in unread:
        if _key(name) not in IDS:
            continue
        counts = Counter(str(value) for value in columns[name] if value not in (None, ""))
        twice = [f"{name} {value!r} in {count} rows" for value, count in counts.items() if count > 1]
        if twice:
            handled = "not read: each row is a sample; rename it to group if rows that share one belong together"
            return noticed("duplicate-ids", twice, handled)
    return ()


def _check_parts(columns: Mapping[str, Sequence[Any]], unread: Sequence[str], place: str) -> None:
    for name in unread:
        some = [value for value in columns[name][:LOOKED_AT] if value not in (None, "")]
        words = {value if isinstance(value, str) else None for value in some}  # cells of JSON may be lists
        parts = {None if word is None else part_of(word) for word in words}
        if len(parts) > 1 and parts <= {"train", "val", "test"} and "train" in parts:
            raise DataError(
                f"{place} has a column {name!r} with the values {', '.join(sorted(map(repr, words)))}, but parts are "
                "read from a column 'split'.",
                "Rename it to split, or remove it.",
            )


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold()).removesuffix("s")


def _repeats(values: Sequence[Any]) -> bool:
    some = [str(value) for value in values[:LOOKED_AT] if value not in (None, "")]
    return 1 < len(set(some)) < len(some)
