"""Which samples of both sides are compared: drawn where there are many, and never one folder with itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from frostline.base.errors import DataError
from frostline.base.events import Event, silent
from frostline.shift import inputs
from frostline.shift.inputs import list_source, list_target, refuse_same


def test_a_large_side_is_drawn_by_class_with_whole_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inputs, "MOST_SAMPLES", 100)
    rows = [f"text {i},{'many' if i // 2 % 4 else 'few'},g{i // 2}" for i in range(400)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["text,label,group", *rows]), encoding="utf-8")
    told: list[Event] = []
    drawn = list_source(table, 0, told.append)
    count = len(drawn.listing.listing.rows)
    assert drawn.found == 400
    assert 90 <= count <= 110
    assert f"{count} of 400 source samples were drawn" in told[0].text
    shares = Counter(drawn.listing.labels)
    assert shares["few"] == pytest.approx(count / 4, abs=3)
    groups = Counter(row.group for row in drawn.listing.listing.rows)
    assert set(groups.values()) == {2}
    assert drawn.listing.listing.texts is not None
    assert len(drawn.listing.listing.texts) == count
    assert list_source(table, 0, silent).listing.listing.rows == drawn.listing.listing.rows
    assert list_source(table, 1, silent).listing.listing.rows != drawn.listing.listing.rows


def test_arrays_are_drawn_with_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_SAMPLES", 20)
    images = np.zeros((60, 8, 8, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(60)
    drawn = list_target(images, 0, silent).listing.listing
    assert drawn.arrays is not None
    shown = [int(np.asarray(item)[0, 0, 0]) for item in drawn.arrays.items]
    assert shown == [int(row.id) for row in drawn.rows]


def test_a_folder_isnt_compared_with_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="nothing to compare"):
        refuse_same(tmp_path / "a", tmp_path / "a" / ".." / "a")
    refuse_same(tmp_path / "a", tmp_path)
    refuse_same(None, tmp_path)
