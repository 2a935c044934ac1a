"""Cells of the CSV files that frostline writes: what a spreadsheet would run as a formula is made plain text.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and formulas can fetch addresses and
start programs. File and class names come from whoever made the data. Such a cell gets an apostrophe before it, as the
OWASP recommends against "CSV injection"; numbers stay as they are. The same is done where the formula would begin
behind a semicolon, tab or line end, since a spreadsheet may cut there. `from_cell` takes the apostrophes away again.

    =1+1      '=1+1
    -0.5      -0.5
    '=1+1     ''=1+1
    a;@b      a;'@b
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# The full-width forms count too: spreadsheets of East Asian languages take them for the plain ones.
FORMULA = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
AT_START = rf"(?:{FORMULA}|[\t\r\n])"
BEHIND = r"(?<=[;\t\r\n])"
UNSAFE = re.compile(rf"^(?='*{AT_START})|{BEHIND}(?='*{FORMULA})")
MADE_SAFE = re.compile(rf"^'(?='*{AT_START})|{BEHIND}'(?='*{FORMULA})")
SPECIAL = re.compile('[,"\r\n]')
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def to_cell(value: Any) -> str:
    """Return what is written for a value: its text, with an apostrophe before whatever would begin a formula."""
    text = str(value)
    if NUMBER.fullmatch(text):
        return text
    return UNSAFE.sub("'", text)


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` made a cell of."""
    return MADE_SAFE.sub("", cell)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV file's content (lines end with LF), every cell by `to_cell`."""
    lines = [",".join(_in_marks(to_cell(value)) for value in row) for row in (header, *rows)]
    return "\n".join([*lines, ""])


def _in_marks(cell: str) -> str:
    """Return a cell with marks around it where it needs them: `csv.writer` forgets a CR where lines end with LF."""
    if not SPECIAL.search(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def read_cells(text: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of such a content, by the names of the columns.

    Raises ValueError where the content is damaged, lacks one of `columns`, or has a row of another length.
    """
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header, *rows = [[from_cell(cell) for cell in row] for row in table]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not {*columns} <= {*header} or any(len(row) != len(header) for row in rows):
        raise ValueError(f"expected the columns {' '.join(columns)}, and every row to be whole")
    return [dict(zip(header, row, strict=True)) for row in rows]
