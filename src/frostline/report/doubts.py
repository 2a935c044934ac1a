"""The doubts about the data as lines of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 2
WORDS = {
    "label": ("label looks wrong", "labels look wrong"),
    "conflicting-copy": ("copy has another class than the original", "copies have another class than the original"),
    "copy": ("copy", "copies"),
    "close-to-other-class": ("pair of two classes is nearly alike", "pairs of two classes are nearly alike"),
    "outlier": ("outlier", "outliers"),
    "small-class": ("class is too small to judge", "classes are too small to judge"),
}


def doubt_lines(doubts: Mapping[str, Any] | None) -> list[str]:
    """One sentence for each kind of doubt that was found, from the record; none where nothing was."""
    if doubts is None:
        return []
    lines = []
    for kind, number in doubts["counts"].items():
        if number:
            one, several = WORDS.get(kind, (kind, kind))
            details = [d["detail"].rstrip(".") for d in doubts["examples"] if d["kind"] == kind]
            lines.append(f"Doubt: {number:,} {one if number == 1 else several} ({_some(details, number)}).")
    return [*lines, "Nothing was changed for these doubts; all of them are in doubts.csv."] if lines else []


def _some(details: Sequence[str], number: int) -> str:
    shown = "; ".join(details[:SHOWN])
    return f"{shown}; and {number - SHOWN:,} more" if number > SHOWN else shown
