"""CSV and TSV files as rows of cells, with an eye on quotation marks that would swallow rows."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from frostline.base.errors import DataError
from frostline.data.table_limits import check_lines

LABEL = "label"
CONTENTS = frozenset({"image", "text"})
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
    """The rows of a file of cells in UTF-8, or in UTF-16 with its mark; cells without blanks at their ends.

    Lines without a filled cell are no rows, and empty cells beyond the header's are left out, as spreadsheets write
    both. Where the header has its names only by another separator (`;`, `|`, a tab), that one is taken. A quotation
    mark at the start of a cell opens it, and such a cell may go over lines. Where it would swallow lines that are rows
    by themselves (each with a known label in its place), those lines are read one by one, their marks as text.

    Raises DataError for a file that can't be read, and for marks that can't be told apart so.
    """
    text = _text_of(path)
    lines = re.split(r"\r\n|\r|\n", text)
    start, delimiter = _begin(lines, delimiter)
    with _long_cells():
        rows, fault = _quoted(lines[start:], delimiter)
        header = _header_of(rows)
        if fault is None:
            return _with_swallowed(path, lines, start, (rows, header), delimiter)
        found = _one_a_line(lines[start + rows[0].end :], delimiter, header) if rows else None
        if found is None:
            raise DataError(f"Line {start + fault[0]} of {path} can't be read as a table: {fault[1]}.", MEND)
        marked = tuple(i for i, line in enumerate(lines, 1) if i > start + 1 and line.count('"') % 2)
        return Rows(header, found, marked or (start + fault[0],))


def _text_of(path: Path) -> str:
    try:
        check_lines(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", "Give a file that can be opened.") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, data, error.start) from error
    if "\0" in text:
        raise DataError(f"{path} is not UTF-8 text: it holds zero bytes, as UTF-16 does.", "Save it as UTF-8.")
    return text


def not_utf8(path: Path, data: bytes, start: int) -> DataError:
    """The error for a file that isn't UTF-8 text, the first byte that shows it at `start`."""
    line = data.count(b"\n", 0, start) + 1
    found = f"{path} is not UTF-8 text: line {line} holds the byte 0x{data[start]:02X}."
    return DataError(found, "Save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE.")


def _begin(lines: Sequence[str], delimiter: str) -> tuple[int, str]:
    """The line of the header (counted from 0), and the separator of the cells."""
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    said = re.fullmatch(r"sep=(.)", lines[start].strip(), re.IGNORECASE)  # which Excel writes
    if said:
        return start + 1, said[1]
    for other in (delimiter, ";", "\t", "|", ","):
        names = {cell.strip().strip('"') for cell in lines[start].split(other)}
        if LABEL in names and names & CONTENTS:
            return start, other
    return start, delimiter


def _header_of(rows: Sequence[_Row]) -> list[str]:
    """The names of the columns, without the nameless ones at the end."""
    names = _trimmed(rows[0].cells) if rows else []
    while names and not names[-1]:
        names.pop()
    return names


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


def _with_swallowed(
    path: Path, lines: Sequence[str], start: int, read: tuple[Sequence[_Row], list[str]], delimiter: str
) -> Rows:
    """The rows, with those that swallowed others taken apart; `start` is the line of the header."""
    rows, header = read
    labels = _known_labels(header, rows[1:])
    cells: list[list[str]] = []
    plain: list[int] = []
    for row in rows[1:]:
        first = start + row.first
        inside = lines[first : start + row.end]
        if len(inside) > 1 and _swallows(inside, header, labels, delimiter):
            found = _one_a_line(inside, delimiter, header)
            if found is None:
                raise DataError(
                    f"A quotation mark in line {first + 1} of {path} closes in line {start + row.end} only, and the "
                    "lines between look like rows of their own.",
                    MEND,
                )
            cells.extend(found)
            plain.extend(first + i for i, line in enumerate(inside, 1) if '"' in line)
        elif any(cell.strip() for cell in row.cells):
            cells.append(_as_wide(_trimmed(row.cells), len(header)))
    return Rows(header, cells, tuple(plain))


def _as_wide(cells: list[str], width: int) -> list[str]:
    """The cells without empty ones beyond the header's."""
    while len(cells) > width and not cells[-1]:
        cells.pop()
    return cells


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
        if not line.strip().strip(delimiter):
            continue
        rows, fault = _quoted([line], delimiter)
        if fault is not None or len(rows) != 1 or len(_as_wide(rows[0].cells, len(header))) != len(header):
            cells = _as_wide(_trimmed(line.split(delimiter)), len(header))
        else:
            cells = _as_wide(_trimmed(rows[0].cells), len(header))
        if len(cells) != len(header) or any(
            h == LABEL and c.count('"') % 2 for h, c in zip(header, cells, strict=True)
        ):
            return None
        found.append(cells)
    return found


def _trimmed(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]
