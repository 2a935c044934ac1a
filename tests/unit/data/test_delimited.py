"""Quotation marks in CSV and TSV: cells over several lines are kept whole, stray marks swallow nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.base.errors import DataError
from frostline.data.delimited import read_delimited
from frostline.data.tables import find


def written(folder: Path, lines: list[str], gap: str) -> Path:
    path = folder / "t.csv"
    path.write_text("\n".join(line.replace("|", gap) for line in lines) + "\n", encoding="utf-8")
    return path


def _marked(text: str, mark: str) -> str:
    """A text with a mark at its start, or at its end where the mark is `end`."""
    if mark == "end":
        return f'{text}"'
    return mark + text


def rows(count: int, marks: dict[int, str]) -> list[str]:
    """Lines of a text and a label; `marks` are put before the text of a line."""
    return ["text|label", *(_marked(f"text {i}", marks.get(i, "")) + f"|{'ab'[i % 2]}" for i in range(count))]


@pytest.mark.parametrize("gap", [",", "\t"])
@pytest.mark.parametrize(
    "marks", [{3: '"', 8: "end"}, {3: '"', 8: '"'}, {3: '"'}, {9: '"'}, {2: '"', 3: '"', 7: "end"}]
)
def test_stray_marks_swallow_no_row(tmp_path: Path, gap: str, marks: dict[int, str]) -> None:
    found = read_delimited(written(tmp_path, rows(10, marks), gap), gap)
    assert len(found.cells) == 10
    assert found.cells[3][0].lstrip('"') == "text 3"
    assert [cells[1] for cells in found.cells] == ["a", "b"] * 5
    assert set(found.plain) >= {i + 2 for i in marks} - {9}


@pytest.mark.parametrize("gap", [",", "\t"])
def test_cells_over_several_lines_stay_whole(tmp_path: Path, gap: str) -> None:
    lines = ["text|label", '"Dear Sir, I am', 'not | happy", b', '"a ""word""|b"|a', "plain|b", '"one', "", 'two"|a']
    found = read_delimited(written(tmp_path, [x.replace('", b', '"|b') for x in lines], gap), gap)
    assert [cells[0] for cells in found.cells] == [
        f"Dear Sir, I am\nnot {gap} happy",
        f'a "word"{gap}b',
        "plain",
        "one\n\ntwo",
    ]
    assert [cells[1] for cells in found.cells] == ["b", "a", "b", "a"]
    assert not found.plain


def test_marks_that_cannot_be_told_apart_are_refused_with_their_lines(tmp_path: Path) -> None:
    lines = rows(10, {3: '"', 8: "end"})
    path = written(tmp_path, [*lines[:6], lines[6].replace("5", "5, and more"), *lines[7:]], ",")
    with pytest.raises(DataError, match=r"line 5 of .* closes in line 10 only") as error:
        read_delimited(path, ",")
    assert "Double the marks" in error.value.hint
    path.write_text('text,label\n"a" b,x, y\n')
    with pytest.raises(DataError, match=r"Line 2 of .*t\.csv can't be read as a table"):
        read_delimited(path, ",")


def test_long_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"text,label\n{'word ' * 50_000},a\n")
    assert len(read_delimited(path, ",").cells[0][0]) == 249_999


SPREADSHEETS = {
    "semicolons": "text;label\na, b;x\nc;y\n",
    "said by Excel": "sep=;\r\ntext;label\r\na, b;x\r\nc;y\r\n",
    "tabs": "text\tlabel\na, b\tx\nc\ty\n",
    "bars": "text|label\na, b|x\nc|y\n",
    "rows of commas": 'text,label\n"a, b",x\nc,y\n,\n,\n   \n',
    "a comma after each row": 'text,label,\n"a, b",x,\nc,y,\n',
    "a comma after each row but the header": 'text,label\n"a, b",x,\nc,y,\n',
    "an empty first line": '\n\ntext,label\n"a, b",x\nc,y\n',
    "old line ends": 'text,label\r"a, b",x\rc,y\r',
}


@pytest.mark.parametrize("content", SPREADSHEETS.values(), ids=SPREADSHEETS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_leave_behind_is_no_row(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode(encoding))
    found = read_delimited(path, ",")
    assert (found.header, found.cells) == (["text", "label"], [["a, b", "x"], ["c", "y"]])
    assert not found.plain


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_other_encodings_are_refused_by_name(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("text,label\nna\u00efve,x\n".encode(encoding))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_delimited(tmp_path / "t.csv", ",")


def test_the_marks_that_were_read_as_text_are_told(tmp_path: Path) -> None:
    (warning,) = find(written(tmp_path, rows(10, {3: '"', 8: "end"}), ",")).warnings
    assert (warning.kind, warning.count, warning.examples) == ("quotation-marks", 2, ("line 5", "line 10"))
