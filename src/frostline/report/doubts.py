"""The doubts about the data as a table, as a part of the record, and as lines of the report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from frostline.bundle import parts as p
from frostline.conclude.doubts import KINDS, Doubt, Doubts

MOST_EXAMPLES = 20  # of a kind in result.json; doubts.csv has all
SHOWN = 2
WORDS = {
    "label": ("label looks wrong", "labels look wrong"),
    "conflicting-copy": ("copy has another class than the original", "copies have another class than the original"),
    "copy": ("copy", "copies"),
    "close-to-other-class": ("pair of two classes is nearly alike", "pairs of two classes are nearly alike"),
    "outlier": ("outlier", "outliers"),
    "small-class": ("class is too small to judge", "classes are too small to judge"),
}


def doubts_csv(doubts: Doubts) -> bytes:
    """doubts.csv: all doubts, with the columns `kind`, `id`, `label`, `suggestion`, `score`, `detail`."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    names = [f.name for f in fields(Doubt)]
    table.writerow(names)
    for doubt in doubts.found:
        cells = [getattr(doubt, name) for name in names]
        table.writerow([f"{c:.6g}" if isinstance(c, float) else "" if c is None else c for c in cells])
    return text.getvalue().encode()


def doubts_record(doubts: Doubts) -> p.DoubtsRecord:
    """The same for result.json, with the gravest of each kind as examples."""
    counts = Counter(doubt.kind for doubt in doubts.found)
    examples = [d for kind in KINDS for d in [x for x in doubts.found if x.kind == kind][:MOST_EXAMPLES]]
    return p.DoubtsRecord(
        method=doubts.method,
        counts={kind: counts[kind] for kind in KINDS},
        examples=[
            p.DoubtRecord(kind=d.kind, id=d.id, label=d.label, suggestion=d.suggestion, detail=d.detail,
                          score=None if d.score is None else float(f"{d.score:.6g}"))
            for d in examples
        ],
    )  # fmt: skip


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
