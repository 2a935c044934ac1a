"""Tables: every format gives the same rows; what is missing or wrong is named by row and column."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.base.errors import DataError
from frostline.data.assemble import AssembleOptions, assemble
from frostline.data.decode import decode_all, hash_files, read_image
from frostline.data.scan import Listing, scan
from frostline.data.tables import find, read_table
from helpers.data_makers import SMALL, folder, save

ROWS = [
    {"image": "a/000.png", "label": "1", "split": "train", "group": "p"},
    {"image": "a/001.png", "label": "2", "split": "train", "group": ""},
    {"image": "b/000.png", "label": "1", "split": "test", "group": "q"},
]
Write = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder(tmp_path, a=2, b=1)


def write_csv(root: Path, rows: list[dict[str, Any]], delimiter: str = ",", ending: str = "csv") -> Path:
    path = root / f"t.{ending}"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def write_tsv(root: Path, rows: list[dict[str, Any]]) -> Path:
    return write_csv(root, rows, "\t", "tsv")


def write_jsonl(root: Path, rows: list[dict[str, Any]]) -> Path:
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root / "t.jsonl"


def write_parquet(root: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), root / "t.parquet")
    return root / "t.parquet"


def write_bytes(root: Path, rows: list[dict[str, Any]]) -> Path:
    return write_parquet(root, [{**row, "image": (root / row["image"]).read_bytes()} for row in rows])


def write_structs(root: Path, rows: list[dict[str, Any]]) -> Path:
    """The first image as bytes, the others by their path, as `datasets` may write them."""
    held = [{"bytes": None, "path": row["image"]} for row in rows]
    held[0] = {"bytes": (root / rows[0]["image"]).read_bytes(), "path": "elsewhere.png"}
    return write_parquet(root, [{**row, "image": image} for row, image in zip(rows, held, strict=True)])


WRITERS = [write_csv, write_tsv, write_jsonl, write_parquet, write_bytes, write_structs]


def pixels(listing: Listing) -> list[np.ndarray]:
    found, bad = decode_all(listing.sources(SMALL), SMALL, threads=2, spill_dir=None, progress=None)
    assert not bad
    return list(found)


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_rows_pixels_and_hashes(pictures: Path, write: Write) -> None:
    listing = find(write(pictures, ROWS))
    assert listing.kind == "table"
    assert [r.id for r in listing.rows] == ["1", "2", "3"]
    assert [r.class_name for r in listing.rows] == ["1", "2", "1"]
    assert [r.part for r in listing.rows] == ["train", "train", "test"]
    assert [r.group for r in listing.rows] == ["p", None, "q"]
    paths = [pictures / row["image"] for row in ROWS]
    for found, path in zip(pixels(listing), paths, strict=True):
        assert np.array_equal(found, read_image(path, SMALL))
    assert hash_files(listing.sources(SMALL), 1) == hash_files(paths, 1)


def test_bom_quotes_line_ends_spaces_and_further_columns_are_read(pictures: Path) -> None:
    save(pictures / 'a, "b".png', 9)
    text = '\ufeffnote,"image", label \r\n"x\r\ny", "a, ""b"".png","ant, red"\r\n\r\n,a/000.png,bee\r\n'
    (pictures / "T.CSV").write_bytes(text.encode())
    listing = find(pictures / "T.CSV")
    assert [(r.path and r.path.name, r.class_name) for r in listing.rows] == [
        ('a, "b".png', "ant, red"),
        ("000.png", "bee"),
    ]
    assert len(pixels(listing)) == 2


def test_absolute_paths_are_taken_as_they_are(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    listing = read_table(write_csv(elsewhere, [{**r, "image": str(pictures / r["image"])} for r in ROWS]))
    assert len(pixels(listing)) == 3


def test_numbered_classes_of_datasets_get_their_names(pictures: Path) -> None:
    rows = [{"image": (pictures / r["image"]).read_bytes(), "label": k} for k, r in enumerate(ROWS)]
    features = {"label": {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), pictures / "t.parquet")
    assert [r.class_name for r in find(pictures / "t.parquet").rows] == ["ant", "bee", "cat"]


def test_missing_files_folders_and_rubbish_count_as_unreadable(tmp_path: Path) -> None:
    root = folder(tmp_path, a=4, b=4)
    (root / "x.png").write_bytes(b"no image")
    rows = [{"image": f"{c}/00{k}.png", "label": c} for c in "ab" for k in range(4)]
    rows += [{"image": name, "label": "a"} for name in ("gone.png", "a", "x.png")]
    listing = read_table(write_csv(root, rows))
    sources = listing.sources(SMALL)
    found, bad = decode_all(sources, SMALL, threads=1, spill_dir=None, progress=None)
    assert set(bad) == {8, 9, 10}
    assert bad[9] == "not a file"
    dataset, used = assemble(listing, found, bad, hash_files(sources, 1), options=AssembleOptions())
    assert used.tolist() == list(range(8))
    (warning,) = [w for w in dataset.warnings if w.kind == "unreadable"]
    assert warning.count == 3
    assert warning.examples[0] == f"row 9, {root / 'gone.png'}: can't be opened (No such file or directory)"
    assert dataset.sealed_from == "20 % drawn at random"


def test_a_table_makes_the_data_set_of_the_folder(tmp_path: Path) -> None:
    counts = {"test__a": 2, "test__b": 2, "train__a": 3, "train__b": 4}
    by_folder = scan(folder(tmp_path, **counts))
    rows = [{"image": r.id, "label": r.class_name, "split": r.part} for r in by_folder.rows]
    made = []
    for listing in (by_folder, read_table(write_csv(tmp_path, rows))):
        sources = listing.sources(SMALL)
        found, bad = decode_all(sources, SMALL, threads=1, spill_dir=None, progress=None)
        made.append(assemble(listing, found, bad, hash_files(sources, 1), options=AssembleOptions())[0])
    one, two = made
    assert [(s.label, s.part, s.sha256) for s in one.samples] == [(s.label, s.part, s.sha256) for s in two.samples]
    assert (one.sealed_from, two.sealed_from) == ("test/", "split 'test'")


TABLES = {
    "no image": (
        "picture,label\na.png,x\n",
        "has neither a column 'image' nor a column 'text'; its columns are 'picture', 'label'",
    ),
    "no label": ("image\na.png\n", "has no column 'label'"),
    "empty": ("", "has neither a column 'image' nor a column 'text'; its columns are none"),
    "no rows": ("image,label\n", "holds no rows"),
    "empty labels": ("image,label\na.png,\nb.png, \n", "label is empty in every row, row 1 of t.csv the first"),
    "unknown part": ("image,label,split\na.png,x,fold1\n", "split is 'fold1' in row 1 of t.csv"),
    "empty part": ("image,label,split\na.png,x,train\na.png,x,\n", "split is empty in row 2 of t.csv"),
    "ragged": ("image,label\na.png,x\nb.png,y,z\n", "row 2 of t.csv has 3 cells, but the header has 2"),
    "open quote": ('image,label\na.png,"x\n', "Line 2 of .*t.csv can't be read as a table"),
    "twice": ("image,label,label\na.png,x,y\n", "two columns 'label'"),
    "up": ("image,label\n../a.png,x\n", "'../a.png' in row 1 of t.csv, which leads out"),
    "up and down": ("image,label\na/../../b/a.png,x\n", "leads out"),
    "link": ("image,label\nlink.png,x\n", "'link.png' in row 1 of t.csv, which leads out"),
    "nul": ("image,label\na\0.png,x\n", "t.csv"),
}


@pytest.mark.parametrize(("text", "message"), TABLES.values(), ids=TABLES)
def test_tables_that_cannot_be_used_are_refused_by_row_and_column(tmp_path: Path, text: str, message: str) -> None:
    root = tmp_path / "inside"
    root.mkdir()
    save(tmp_path / "outside.png", 1)
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_table(root / "t.csv")
    assert error.value.hint


OTHERS = {
    "latin": ("t.csv", "image,label\nä.png,x\n".encode("latin-1"), "not UTF-8 text"),
    "no JSON": ("t.jsonl", b'{"image": "a.png", "label": 1}\n{"image"\n', "row 2 of t.jsonl is not JSON"),
    "no object": ("t.jsonl", b"[1]\n", "row 1 of t.jsonl is not a JSON object"),
    "null": ("t.jsonl", b'{"image": "a.png", "label": null}\n{"image": "b.png"}\n', "label is empty in every row"),
    "number": ("t.jsonl", b'{"image": 4, "label": 1}\n', "image is 4 in row 1 of t.jsonl, but a path"),
    "float": ("t.jsonl", b'{"image": "a", "label": 1.5}\n', "label is 1.5 in row 1"),
    "no Parquet": ("t.parquet", b"PAR1 rubbish", "can't be read as Parquet"),
    "another file": ("t.zip", b"PK", "is a file, but a folder of images was expected"),
}


@pytest.mark.parametrize(("name", "data", "message"), OTHERS.values(), ids=OTHERS)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        find(tmp_path / name)


def test_parquet_of_other_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column image of .* holds int64"):
        find(write_parquet(tmp_path, [{"image": 3, "label": "x"}]))


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)


@settings(max_examples=40, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=5))
def test_labels_survive_every_format(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    root = tmp_path_factory.mktemp("labels")
    rows = [{"image": "a.png", "label": label} for label in labels]
    for write in (write_csv, write_tsv, write_jsonl, write_parquet):
        assert [r.class_name for r in find(write(root, rows)).rows] == labels


JSONS = {
    "a list": ("t.json", '[{"text": "x", "label": "a"},\n {"text": "y", "label": "b"}]'),
    "a list under another name": ("t.jsonl", '[{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]\n'),
    "lines": ("t.json", '{"text": "x", "label": "a"}\n\n{"text": "y", "label": "b"}'),
}


@pytest.mark.parametrize(("name", "content"), JSONS.values(), ids=JSONS)
def test_json_is_read_as_lines_or_as_a_list(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    listing = find(tmp_path / name)
    assert listing.texts == ("x", "y")
    assert [row.class_name for row in listing.rows] == ["a", "b"]


NOT_ROWS = {
    "rows under a name": ('{"data": [{"text": "x", "label": "a"}]}', "holds a single object"),
    "columns": ('{"text": ["x", "y"], "label": ["a", "b"]}', "holds a single object"),
    "other values": ('["x", "y"]', "row 1 of t.json is not a JSON object"),
}


@pytest.mark.parametrize(("content", "message"), NOT_ROWS.values(), ids=NOT_ROWS)
def test_json_of_another_form_is_refused_shortly(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        find(tmp_path / "t.json")
    assert "one list of objects" in error.value.hint


HEADERS = {
    "no header": ("a/000.png,a\nb/000.png,b\n", "put the line image,label above it"),
    "pixels": (",".join(f"pixel{k}" for k in range(785)) + "\n", "arrays in Python"),
    "addresses": ("image,label\nhttps://x.org/a.png,a\n", "Download the images"),
}


@pytest.mark.parametrize(("content", "hint"), HEADERS.values(), ids=HEADERS)
def test_tables_of_another_kind_get_the_hint_that_mends_them(tmp_path: Path, content: str, hint: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError) as error:
        find(tmp_path / "t.csv")
    assert hint in error.value.hint
    assert len(str(error.value)) < 500


def test_minus_one_is_no_label_where_classes_are_numbered(tmp_path: Path) -> None:
    features = {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}
    table = pa.Table.from_pylist([{"text": "x", "label": 0}, {"text": "y", "label": -1}])
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        tmp_path / "t.parquet",
    )
    assert [row.class_name for row in find(tmp_path / "t.parquet").rows] == ["ant", ""]
