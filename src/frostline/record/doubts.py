"""The doubts about the data as a table and as a part of the record."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import fields

from frostline.bundle import schema
from frostline.conclude.doubts import KINDS, Doubt, Doubts

MOST_EXAMPLES = 20  # of a kind in result.json; doubts.csv has all


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


def doubts_record(doubts: Doubts) -> schema.DoubtsRecord:
    """The same for result.json, with the gravest of each kind as examples."""
    counts = Counter(doubt.kind for doubt in doubts.found)
    examples = [d for kind in KINDS for d in [x for x in doubts.found if x.kind == kind][:MOST_EXAMPLES]]
    return schema.DoubtsRecord(
        method=doubts.method,
        counts={kind: counts[kind] for kind in KINDS},
        examples=[
            schema.DoubtRecord(kind=d.kind, id=d.id, label=d.label, suggestion=d.suggestion, detail=d.detail,
                          score=None if d.score is None else float(f"{d.score:.6g}"))
            for d in examples
        ],
    )  # fmt: skip
