"""CSV and TSV files as rows of cells, with an eye on quotation marks that would swallow rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from frostline.base.errors import DataError

LABEL = "label"
LONGEST = 1 << 24  # characters of one cell
MEND = "Double the marks that belong to the text, or leave them out."


@dataclass(frozen=True, slots=True)
class Rows:
    """The cells of a file: `header`, then one list a row; `plain` are the lines whose marks were read as text."""

    header: list[str]
    cells: list[list[str]]
    plain: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    """One row with the lines of the file that it takes (counted from 0, the last one not included)."""

    cells: list[str]
    first: int
    end: int


def read_delimited(path: Path, delimiter: str) -> Rows:
    """The rows of a file of cells in UTF-8, blank lines left out, cells without blanks at their ends.

    A quotation mark at the start of a cell opens it, and such a cell may go over lines. Where it would swallow lines
    that are rows by themselves (each with a known label in its place), those lines are read one by one, their marks as
    text. Raises DataError for a file that can't be read, for marks that can't be told apart so, and for another number
    of cells than the header's.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", "Give a file that can be opened.") from error
    lines = re.split(r"\r\n|\r|\n", text)
    with _long_cells():
        rows, fault = _quoted(lines, delimiter)
        header = _trimmed(rows[0].cells) if rows else []
        if fault is not None:
            found = _one_a_line(lines[rows[0].end :], delimiter, header) if rows else None
            if found is None:
                raise DataError(f"Line {fault[0]} of {path} can't be read as a table: {fault[1]}.", MEND)
            marked = tuple(i + 1 for i, line in enumerate(lines) if i and line.count('"') % 2)
            return Rows(header, found, marked or (fault[0],))
        return _with_swallowed(path, lines, rows, delimiter)


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(lines: Sequence[str], delimiter: str) -> tuple[list[_Row], tuple[int, str] | None]:
    """The rows as quotation marks say, and the line (counted from 1) and reason where that fails."""
    reader = csv.reader(
        io.StringIO("\n".join(lines), newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    rows = []
    first = 0
    try:
        for cells in reader:
            if cells:
                rows.append(_Row(cells, first, reader.line_num))
            first = reader.line_num
    except csv.Error as error:
        return rows, (first + 1, str(error))
    return rows, None


def _with_swallowed(path: Path, lines: Sequence[str], rows: Sequence[_Row], delimiter: str) -> Rows:
    """The rows, with those that swallowed others taken apart."""
    header = _trimmed(rows[0].cells) if rows else []
    labels = _known_labels(header, rows[1:])
    cells: list[list[str]] = []
    plain: list[int] = []
    for row in rows[1:]:
        inside = lines[row.first : row.end]
        if row.end - row.first > 1 and _swallows(inside, header, labels, delimiter):
            found = _one_a_line(inside, delimiter, header)
            if found is None:
                raise DataError(
                    f"A quotation mark in line {row.first + 1} of {path} closes in line {row.end} only, and the lines "
                    "between look like rows of their own.",
                    MEND,
                )
            cells.extend(found)
            plain.extend(i for i in range(row.first + 1, row.end + 1) if '"' in lines[i - 1])
        else:
            cells.append(_trimmed(row.cells))
    return Rows(header, cells, tuple(plain))


def _known_labels(header: Sequence[str], rows: Sequence[_Row]) -> frozenset[str]:
    """The labels of rows that take one line."""
    if LABEL not in header:
        return frozenset()
    place = header.index(LABEL)
    single = (row.cells for row in rows if row.end - row.first == 1 and len(row.cells) == len(header))
    return frozenset(cells[place].strip() for cells in single)


def _swallows(lines: Sequence[str], header: Sequence[str], labels: frozenset[str], delimiter: str) -> bool:
    """Whether at least two of the lines of a row have a known label where a row has it.

    Its place is counted from the nearer end, as a text may hold separators. Without a column of labels, every line
    has to have as many cells as the header.
    """
    split = [line.split(delimiter) for line in lines]
    if LABEL not in header:
        return len(header) > 1 and all(len(cells) == len(header) for cells in split)
    place = header.index(LABEL)
    if place >= len(header) / 2:
        place -= len(header)
    there = [cells[place].strip().strip('"') for cells in split if len(cells) >= len(header)]
    return sum(label in labels for label in there) > 1


def _one_a_line(lines: Sequence[str], delimiter: str, header: Sequence[str]) -> list[list[str]] | None:
    """Each line as a row: as its own marks say, else with its marks as text.

    None where a line has another number of cells than the header, and where a label would keep half of its marks.
    """
    found = []
    for line in lines:
        if not line:
            continue
        rows, fault = _quoted([line], delimiter)
        if fault is not None or len(rows) != 1 or len(rows[0].cells) != len(header):
            cells = _trimmed(line.split(delimiter))
        else:
            cells = _trimmed(rows[0].cells)
        if len(cells) != len(header) or any(
            h == LABEL and c.count('"') % 2 for h, c in zip(header, cells, strict=True)
        ):
            return None
        found.append(cells)
    return found


def _trimmed(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]
