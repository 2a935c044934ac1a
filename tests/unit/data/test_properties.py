"""Readers of tables and maps: what was written is read back, and whatever else is there is a DataError at worst."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import DataError
from frostline.data.class_map import read_label_map, read_source_classes
from frostline.data.decode import decode_all, hash_files
from frostline.data.paths import path_hint
from frostline.data.scan import Listing
from frostline.data.table_files import READERS
from frostline.data.tables import find, read_lines
from frostline.data.unlabelled_listing import list_unlabelled
from helpers.data_makers import SMALL
from helpers.odd_values import FEW, FEWER, JSON, SEEDS, WORDS, as_json, damaged

ROWS = st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["train", "test"])), min_size=1, max_size=5)
NAMES = ("text", "label", "split")


def write_table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    """The rows in the form that the file's ending says."""
    columns = {name: [row[k] for row in rows] for k, name in enumerate(NAMES)}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t", quoting=csv.QUOTE_ALL)
            table.writerows([NAMES, *rows])
    else:
        objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in objects]
        text = "\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]"
        path.write_text(text, encoding="utf-8")
    return path


def taken(path: Path) -> list[Any]:
    """What the readers of a table say of a file; DataError is an answer too."""
    answers: list[Any] = []
    for reader in (find, read_lines, list_unlabelled):
        try:
            answers.append(reader(path))
        except DataError as error:
            answers.append(error)
    return answers


@pytest.mark.parametrize("ending", READERS)
@FEW
@given(rows=ROWS)
def test_a_table_is_read_as_it_was_written(ending: str, rows: list[tuple[str, ...]], tmp_path: Path) -> None:
    listing = find(write_table(tmp_path / f"t{ending}", rows))
    assert listing.texts == tuple(text for text, _, _ in rows)
    assert [row.class_name for row in listing.rows] == [label for _, label, _ in rows]
    assert [row.part for row in listing.rows] == [part for _, _, part in rows]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".txt"])
@FEW
@given(text=st.text(max_size=60), before=st.sampled_from(["", "text,label\n", "text\tlabel\n", '{"text": "', "["]))
def test_any_text_is_a_table_or_a_data_error(ending: str, text: str, before: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes((before + text).encode("utf-8", "surrogatepass"))
    assert all(isinstance(answer, Listing | DataError | tuple) or answer.listing for answer in taken(path))


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
@FEW
@given(cell=JSON, name=st.sampled_from(["text", "image", "label", "split", "group", "part"]))
def test_any_json_value_may_stand_in_a_cell(ending: str, cell: Any, name: str, tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "b"}, {"text": "a", "label": "b", name: cell}]
    path = tmp_path / f"t{ending}"
    path.write_bytes(b"\n".join(map(as_json, rows)) if ending == ".jsonl" else as_json(rows))
    taken(path)


@pytest.mark.parametrize("ending", READERS)
@FEWER
@given(seed=SEEDS)
def test_a_damaged_table_is_a_table_or_a_data_error(ending: str, seed: int, tmp_path: Path) -> None:
    path = write_table(tmp_path / f"t{ending}", [("some words", "a", "train"), ("others", "b", "test")] * 2)
    path.write_bytes(damaged(path.read_bytes(), seed))
    taken(path)


@FEW
@given(value=JSON, text=st.text(max_size=20))
def test_any_value_is_a_label_map_or_a_data_error(value: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    for content in (as_json(value), text.encode("utf-8", "surrogatepass")):
        path.write_bytes(content)
        for reader in (read_label_map, read_source_classes):
            with contextlib.suppress(DataError):
                assert reader(path)


# What tools/fuzz.py has found, in the smallest form.
ROW = '{"text": "a", "label": "b"}'
DEEP = "[" * 50_000
FINDS = {
    "half a character in a path.jsonl": '{"image": "\\ud800.png", "label": "b"}',
    "nested too deeply.json": f'[{{"text": {DEEP}',
    "nested too deeply.jsonl": f'{{"text": {DEEP}',
    "too many digits.jsonl": f'{{"text": "a", "label": {"1" * 5000}}}',
    "a list in a column that isn't read.jsonl": f'{ROW[:-1]}, "more": [1]}}\n{ROW}',
    "an object in a column that isn't read.jsonl": f'{ROW[:-1]}, "more": {{}}}}\n{ROW}',
}


@pytest.mark.parametrize("name", FINDS)
def test_tables_that_once_ended_in_a_traceback(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FINDS[name])
    (found, *_) = taken(path)
    assert isinstance(found, Listing if "isn't read" in name else DataError)


@pytest.mark.parametrize("held", ["x" * 5000, "a\\" + "x" * 5000, "/" + "x" * 5000])
def test_a_path_that_is_too_long_is_an_image_that_cannot_be_opened(held: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"image": held, "label": "a"}))
    listing = find(path)
    _, bad = decode_all(listing.sources(SMALL), SMALL, threads=1, spill_dir=None, progress=None)
    assert bad == {0: "can't be opened (File name too long)"}
    assert hash_files(listing.sources(SMALL), 1) == [""]
    assert path_hint(listing, 0)


def test_a_parquet_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    column = pa.array([b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"text": column, "label": pa.array(["a"])}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="values that can't be read"):
        find(tmp_path / "t.parquet")


def test_a_parquet_column_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": ["a"]}), path)
    data = path.read_bytes()
    assert data.count(b"text") > 1
    path.write_bytes(data.replace(b"text", b"te\xfft"))
    with pytest.raises(DataError, match="can't be read as Parquet"):
        find(path)


def test_class_names_without_a_column_of_labels_are_no_fault(tmp_path: Path) -> None:
    note = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["a"]}}}})}
    table = pa.table({"text": ["x"]}).replace_schema_metadata(note)
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_lines(tmp_path / "t.parquet") == ("x",)


@pytest.mark.parametrize("text", ["[" * 50_000, "1" * 5000, '{"a": ' * 50_000])
def test_a_map_that_is_no_map_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not JSON"):
        read_label_map(path)
