"""Doubts as a table, in the record and in the report."""

from __future__ import annotations

import csv
import io

from frostline.conclude.doubts import KINDS, Doubt, Doubts
from frostline.record.compose import MOST_EXAMPLES, doubts_csv, doubts_record
from frostline.report.lines import doubt_lines


def many(count: int) -> Doubts:
    found = [
        Doubt(
            kind="label",
            id=f"{i}.jpg",
            label="ants",
            suggestion="bees",
            score=1 / (i + 3),
            detail=f"{i}.jpg is labelled ants, but looks like bees.",
        )
        for i in range(count)
    ]
    other = Doubt(kind="small-class", id="bees", label="bees", detail="bees: 3 samples, of 10.")
    return Doubts(method="by looking", found=(*found, other))


def test_the_table_has_every_doubt() -> None:
    rows = list(csv.DictReader(io.StringIO(doubts_csv(many(30)).decode())))
    assert len(rows) == 31
    assert rows[0] == {
        "kind": "label",
        "id": "0.jpg",
        "label": "ants",
        "suggestion": "bees",
        "score": "0.333333",
        "detail": "0.jpg is labelled ants, but looks like bees.",
    }
    assert (rows[30]["suggestion"], rows[30]["score"]) == ("", "")


def test_the_record_counts_all_and_shows_the_first_of_each_kind() -> None:
    record = doubts_record(many(30))
    assert record.counts == {kind: {"label": 30, "small-class": 1}.get(kind, 0) for kind in KINDS}
    assert [x.id for x in record.examples] == [*(f"{i}.jpg" for i in range(MOST_EXAMPLES)), "bees"]
    assert record.method == "by looking"


def test_the_lines_say_how_many_and_that_nothing_was_changed() -> None:
    lines = doubt_lines(doubts_record(many(3)).model_dump(mode="json"))
    assert lines[0] == (
        "Doubt: 3 labels look wrong (0.jpg is labelled ants, but looks like bees; 1.jpg is labelled "
        "ants, but looks like bees; and 1 more)."
    )
    assert lines[1] == "Doubt: 1 class is too small to judge (bees: 3 samples, of 10)."
    assert lines[-1].startswith("Nothing was changed")
    assert doubt_lines(doubts_record(Doubts(method="", found=())).model_dump()) == doubt_lines(None) == []
