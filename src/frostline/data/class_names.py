"""Names of classes that look alike: what is one class by any reader's eye becomes one, what may be one is said."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from frostline.data.notices import noticed
from frostline.data.scan import Listing

# Characters without a width: they come with copied text and byte order marks, and no name means them.
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
# What tables write for an empty cell once it has become text. `none` may be a class; `None` is Python's.
MISSING = frozenset({"nan", "NaN", "NAN", "null", "NULL", "None", "N/A", "n/a", "#N/A", "<NA>", "NaT"})
NO_LABEL = "-1"  # beside 0, 1, ... it stands for a sample without a label
LIST = re.compile(r"\[\s*['\"].*['\"]\s*\]")  # a list that was written as text
TRUTH = {"true": "1", "false": "0"}


def plain_name(name: str) -> str:
    """The name in one Unicode form (NFC), without blanks at its ends and without invisible characters."""
    text = unicodedata.normalize("NFC", name.translate(INVISIBLE))
    return text.strip() or name


def with_plain_classes(listing: Listing) -> Listing:
    """The listing with plain names of classes, and warnings of names that were joined or that look alike."""
    given = {row.class_name for row in listing.rows if row.class_name}
    plain = {name: plain_name(name) for name in given}
    rows = tuple(replace(row, class_name=plain.get(row.class_name, "")) for row in listing.rows)
    names = sorted(set(plain.values()))
    joined = [_joined(twins) for twins in _sets_alike(given, plain_name)]
    twins = [_joined(twins) for twins in _twins(names)]
    known = frozenset(names)
    combined = [f"{name!r}" for name in names if _is_combined(name, known)]
    missing: list[str] = []
    if not listing.kind.endswith("folders"):
        numbered = len(names) > 1 and all(re.fullmatch(r"\d+", name) for name in names if name != NO_LABEL)
        missing = [f"{name!r}" for name in names if name in MISSING or (name == NO_LABEL and numbered)]
    warnings = (
        *listing.warnings,
        *noticed(
            "one-class", joined, "taken as one class: they differ in blanks, invisible characters or Unicode form alone"
        ),
        *noticed("twin-classes", twins, "kept apart; if they are one, give them one name"),
        *noticed(
            "combined-labels", combined, "kept, each as a class of its own: several labels for one sample aren't read"
        ),
        *noticed("missing-labels", missing, "kept as a class; leave these rows out if their label is missing"),
    )
    unread = {plain_name(name): why for name, why in listing.unread_classes.items()}
    return replace(listing, rows=rows, warnings=warnings, unread_classes=unread)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in the order of their outputs: as text, but whole numbers as numbers (2 before 10)."""
    listed = list(names)
    if all(re.fullmatch(r"-?\d+", name) for name in listed):
        return tuple(sorted(listed, key=lambda name: (int(name), name)))
    return tuple(sorted(listed))


def classes_that_differ_in_case(names: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """A name of each side that look alike; None where there are none."""
    by_key = {_folded(name): name for name in names}
    twin = next((other for other in sorted(others) if _folded(other) in by_key), None)
    if twin is None:
        return None
    return by_key[_folded(twin)], twin


def _twins(names: Iterable[str]) -> list[list[str]]:
    """Sets of different names that a reader takes for the same: case, `1` and `1.0`, `True` and `1`."""
    listed = list(names)
    as_numbers = any(_number(name) in TRUTH.values() for name in listed)

    def key(name: str) -> str:
        look = _folded(name)
        if as_numbers and look in TRUTH:
            return TRUTH[look]
        return _number(name) or look

    return _sets_alike(listed, key)


def _is_combined(name: str, known: frozenset[str]) -> bool:
    """Whether a name is a list of names, such as `cat|dog`: most of its parts are classes by themselves."""
    if LIST.fullmatch(name):
        return True
    parts = [part.strip() for part in re.split(r"[|;,+]", name)]
    return len(parts) > 1 and 2 * sum(part in known for part in parts) > len(parts)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold())


def _number(name: str) -> str | None:
    """A number's shortest form: 1 for `1`, `1.0` and `01`; None for anything else."""
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?", name):
        return None
    return f"{float(name):.15g}"


def _sets_alike(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        by_key[key(name)].append(name)
    return [members for members in by_key.values() if len(members) > 1]


def _joined(names: list[str]) -> str:
    """Names with what can't be seen in them written out."""
    return " and ".join(ascii(name) if _hides(name) else repr(name) for name in names)


def _hides(name: str) -> bool:
    return name != plain_name(name) or any(unicodedata.combining(c) for c in name)
