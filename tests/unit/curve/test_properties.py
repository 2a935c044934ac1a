"""Splits of the classes by hand: any file is a list of splits, each of all the classes, or a RecipeError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import RecipeError
from frostline.curve.splits import read_splits
from helpers.odd_values import FEW, JSON, SEEDS, as_json, damaged, edited

CLASSES = ("a", "b", "c", "d")


@FEW
@given(order=st.permutations(CLASSES), count=st.integers(1, 3))
def test_splits_are_read_as_they_were_written(order: list[str], count: int, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_bytes(as_json([{"A": order[:2], "B": order[2:]}] * count))
    found = read_splits(path, CLASSES)
    assert [split.number for split in found] == list(range(1, count + 1))
    assert all({*split.a} == {*order[:2]} and {*split.b} == {*order[2:]} for split in found)


@FEW
@given(value=JSON, seed=SEEDS)
def test_any_file_is_a_list_of_splits_or_a_recipe_error(value: Any, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    whole = [{"A": ["a", "b"], "B": ["c", "d"]}]
    halves = as_json({"A": value, "B": value})
    texts = (as_json(value), halves, as_json(edited(whole, seed)), damaged(as_json(whole), seed))
    for content in texts:
        path.write_bytes(content)
        with contextlib.suppress(RecipeError):
            assert all({*split.a, *split.b} <= {*CLASSES} for split in read_splits(path, CLASSES))


def test_a_file_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text("[" * 50_000)
    with pytest.raises(RecipeError, match="not JSON"):
        read_splits(tmp_path / "splits.json", CLASSES)
