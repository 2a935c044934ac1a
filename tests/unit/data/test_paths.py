"""Paths of a table that lead to nothing: what was looked for, and where the file is after all."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.data.assemble import AssembleOptions, assemble
from frostline.data.class_names import with_plain_classes
from frostline.data.decode import decode_all, hash_files
from frostline.data.paths import path_hint
from frostline.data.tables import read_table
from helpers.data_makers import SMALL, folder, save

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


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_paths_in_the_other_unicode_form_find_the_file(tmp_path: Path, forms: tuple[Any, Any]) -> None:
    on_disk, in_table = (unicodedata.normalize(form, "p/caf\u00e9.png") for form in forms)
    save(tmp_path / on_disk, 1)
    save(tmp_path / "p" / "\u732b.png", 2)
    held = in_table.replace("/", "\\")
    (tmp_path / "t.csv").write_text(f"image,label\n{in_table},x\n{held},x\n./p//\u732b.png,y\n", encoding="utf-8")
    listing = read_table(tmp_path / "t.csv")
    assert all(row.path is not None and row.path.is_file() for row in listing.rows)
    found = {w.kind: w.examples for w in listing.warnings}
    assert found["unicode-paths"] == (in_table, held)
    assert found["repeated-rows"] == (f"row 2 = row 1 ({held})",)


def test_rows_without_an_image_or_a_label_are_left_out_and_told(tmp_path: Path) -> None:
    lines = [f"p/{name}/00{k}.png,{name}" for name in "ab" for k in range(5)]
    folder(tmp_path / "p", a=5, b=5)
    (tmp_path / "t.csv").write_text("image,label\n" + "\n".join([*lines, ",a", "p/a/000.png,", "p/b/000.png, "]))
    listing = read_table(tmp_path / "t.csv")
    images, bad = decode_all(listing.sources(SMALL), SMALL, threads=1, spill_dir=None, progress=None)
    hashes = hash_files(listing.sources(SMALL), 1)
    dataset, rows = assemble(with_plain_classes(listing), images, bad, hashes, options=AssembleOptions())
    assert rows.tolist() == list(range(10))
    told = {w.kind: (w.count, w.examples) for w in dataset.warnings}
    assert told["unlabelled"] == (2, ("row 12", "row 13"))
    assert told["unreadable"] == (1, ("11: can't be opened (no image in this row)",))
