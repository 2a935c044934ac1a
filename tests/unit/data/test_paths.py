"""Paths of a table that lead to nothing: what was looked for, and where the file is after all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.data.paths import path_hint
from frostline.data.tables import read_table
from helpers.data_makers import folder

CHANGES: dict[str, tuple[Callable[[str], str], str]] = {
    "another folder": (lambda p: f"old/data/{p}", "p/a/000.png is there: leave old/data/ out of the paths."),
    "of another machine": (lambda p: f"/somebody/{p}", "p/a/000.png is there: leave somebody/ out of the paths."),
    "a folder short": (lambda p: p.removeprefix("p/"), "p/a/000.png is there: write p/ before the paths."),
    "no ending": (lambda p: p[:-4], "000.png is there: write the endings of the files."),
    "nowhere": (lambda p: f"x{p}x", "Paths are relative to the folder of the table"),
}


def table(root: Path, change: Callable[[str], str]) -> Path:
    folder(root / "p", a=1, b=1)
    lines = [f"{change(f'p/{name}/000.png')},{name}" for name in "ab"]
    (root / "t.csv").write_text("image,label\n" + "\n".join(lines), encoding="utf-8")
    return root / "t.csv"


@pytest.mark.parametrize(("change", "hint"), CHANGES.values(), ids=CHANGES)
def test_the_hint_says_where_the_file_is(tmp_path: Path, change: Callable[[str], str], hint: str) -> None:
    assert path_hint(read_table(table(tmp_path, change)), 0).startswith(hint)


def test_a_file_that_is_there_needs_no_hint(tmp_path: Path) -> None:
    assert path_hint(read_table(table(tmp_path, lambda p: p)), 0) == ""


def test_backslashes_are_read_where_slashes_find_the_file(tmp_path: Path) -> None:
    listing = read_table(table(tmp_path, lambda p: p.replace("/", "\\")))
    assert [row.path and row.path.is_file() for row in listing.rows] == [True, True]
    (warning,) = listing.warnings
    assert (warning.kind, warning.count, warning.examples[0]) == ("backslashes", 2, "p\\a\\000.png")
