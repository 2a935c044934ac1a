"""What `predict` takes for images: files, folders, and the very tables that `fit` takes, labelled or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from frostline.base.errors import DataError
from frostline.bundle.predict import images_at
from frostline.data.decode import Lazy, Source

NAMES = ["d/a.png", "d/b.png", "d/a.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    for name, grey in (("a", 10), ("b", 200)):
        Image.new("L", (4, 4), grey).save(tmp_path / "d" / f"{name}.png")
    return tmp_path


def as_delimited(separator: str, *, labelled: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        rows = [("image", "label"), *((name, "x") for name in NAMES)]
        path.write_text("".join(separator.join(row[: 1 + labelled]) + "\n" for row in rows))

    return write


def as_lines(path: Path) -> None:
    path.write_text("".join(json.dumps({"image": name, "more": 1}) + "\n" for name in NAMES))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.table({"image": NAMES}), path)


TABLES: dict[str, Callable[[Path], None]] = {
    "labelled.csv": as_delimited(",", labelled=True),
    "bare.csv": as_delimited(",", labelled=False),
    "labelled.tsv": as_delimited("\t", labelled=True),
    "bare.TSV": as_delimited("\t", labelled=False),
    "t.jsonl": as_lines,
    "t.parquet": as_parquet,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_one_image_a_row_by_the_names_in_it(name: str, folder: Path) -> None:
    TABLES[name](folder / name)
    assert images_at(folder / name) == [(held, folder.resolve() / held) for held in NAMES]


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_rows_that_hold_the_bytes_are_called_by_their_number(form: str, folder: Path) -> None:
    contents = [(folder / name).read_bytes() for name in NAMES]
    column: list[object] = list(contents)
    if form == "struct":
        column = [{"bytes": content, "path": None} for content in contents]
    table = folder / "t.parquet"
    pq.write_table(pa.table({"image": column}), table)
    found = images_at(table)
    assert [name for name, _ in found] == [f"{table}:{row}" for row in (1, 2, 3)]

    def fetched(source: Source) -> object:
        assert isinstance(source, Lazy)
        return source.fetch()

    assert [fetched(source) for _, source in found] == contents


def test_absolute_paths_files_and_folders_keep_their_names(folder: Path) -> None:
    file = folder / "d" / "b.png"
    (folder / "t.csv").write_text(f"image\n{file}\n")
    assert images_at(folder / "t.csv") == [(str(file), file)]
    assert images_at(file) == [(str(file), file)]
    assert [name for name, _ in images_at(folder)] == [str(folder / "d" / "a.png"), str(file)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\nd/a.png,x\n", r"no column 'image', which the model reads; its columns are 'path', 'label'"),
        ("image,label\n", "holds no rows"),
        ("image,label\nd/a.png,x\n,y\n", "image is empty in row 2"),
        ("image\n../x.png\n", "leads out of the table's folder"),
    ],
)
def test_tables_that_fit_would_refuse_are_refused(text: str, says: str, folder: Path) -> None:
    (folder / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        images_at(folder / "t.csv")


def test_paths_that_are_not_there_are_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        images_at(folder / "empty")
    with pytest.raises(DataError, match=r"none\.csv doesn't exist"):
        images_at(folder / "none.csv")
