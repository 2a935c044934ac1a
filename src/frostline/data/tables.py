"""Tables of images or texts: CSV, TSV, JSON lines and Parquet with the columns image or text, and label, optionally
split and group."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError
from frostline.base.records import DataWarning
from frostline.data.columns import LOOKED_AT, check_names
from frostline.data.decode import Lazy, Source
from frostline.data.delimited import read_delimited
from frostline.data.labels import is_missing, read_rows
from frostline.data.paths import BACKSLASH, with_slashes
from frostline.data.scan import Listing, scan

COLUMNS = ("image", "text", "label", "split", "group")
FORM = "A table has the columns image (a path) or text, and label, and optionally split and group."

TEXT_FILES = "Give a table (.csv, .tsv, .jsonl, .parquet) with a column text, or a .txt file with one text a line."

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's columns by name (of those that aren't read, the first rows do), and what was noticed on the way."""

    columns: Columns
    warnings: tuple[DataWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row is, in words; the data rows count from 1."""

    name: str

    def __call__(self, row: int) -> str:
        return f"row {row + 1} of {self.name}"


def find(path: Path) -> Listing:
    """The listing of a folder of images, or of a table of images or texts. Raises DataError as `scan` and
    `read_table` say."""
    if path.suffix.lower() in READERS and path.is_file():
        return read_table(path)
    return scan(path)


def read_table(path: Path) -> Listing:
    """The rows of a table; ids are their numbers, counted from 1 (a header isn't counted).

    A table with a column `text` has one text a row. An image is a path, relative to the table's folder or absolute;
    in Parquet also the bytes of an image file, alone or in a struct of `bytes` and `path`, as the library `datasets`
    writes them. Files that are missing count as unreadable. Raises DataError for a missing column, an empty cell, an
    unknown part, a relative path that leads out of the table's folder, or a file that isn't such a table; each names
    row and column.
    """
    table = READERS[path.suffix.lower()](path)
    columns = table.columns
    warnings = (*table.warnings, *check_names(columns, COLUMNS, str(path)))
    _check_columns(path, columns)
    folder = path.parent.resolve()
    where = _Place(path.name)
    if "text" in columns:
        rows = read_rows(columns, [None] * len(columns["label"]), where, first=1)
        return Listing(root=path, kind="table", rows=rows, warnings=warnings, texts=as_texts(columns["text"], where))
    images = columns["image"]
    sources = [_source(images, i, folder, where) for i in range(len(images))]
    rows = read_rows(columns, sources, where, first=1)
    return Listing(root=path, kind="table", rows=rows, warnings=(*warnings, *_slashed(images, sources)))


def read_columns(path: Path) -> Columns:
    """A table's columns by name; raises DataError for a file that isn't such a table."""
    return READERS[path.suffix.lower()](path).columns


def read_lines(path: Path) -> tuple[str, ...]:
    """The texts of a table with a column `text`, or the lines of a .txt file. Raises DataError for anything else."""
    if not path.is_file():
        raise DataError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}.", TEXT_FILES)
    if path.suffix.lower() in READERS:
        columns = read_columns(path)
        if "text" not in columns:
            known = ", ".join(map(repr, columns)) or "none"
            raise DataError(f"{path} has no column 'text'; its columns are {known}.", TEXT_FILES)
        return as_texts(columns["text"], _Place(path.name))
    if path.suffix.lower() != ".txt":
        raise DataError(f"{path} is not a file of texts, which the model expects.", TEXT_FILES)
    try:
        return tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error


def _check_columns(path: Path, columns: Columns) -> None:
    known = ", ".join(map(repr, columns)) or "none"
    if "image" in columns and "text" in columns:
        raise DataError(f"{path} has both a column 'image' and a column 'text'.", "Leave one of them out.")
    if "image" not in columns and "text" not in columns:
        raise DataError(f"{path} has neither a column 'image' nor a column 'text'; its columns are {known}.", FORM)
    if "label" not in columns:
        raise DataError(f"{path} has no column 'label'; its columns are {known}.", FORM)
    if not columns["label"]:
        raise DataError(f"{path} holds no rows.", FORM)


def as_texts(values: Sequence[Any], where: Callable[[int], str]) -> tuple[str, ...]:
    """Texts as they are, empty where there is none; raises DataError for anything else, by its row."""
    wrong = next((i for i, v in enumerate(values) if not (is_missing(v) or isinstance(v, str))), None)
    if wrong is not None:
        raise DataError(f"text is {values[wrong]!r} in {where(wrong)}, but text was expected.", FORM)
    return tuple("" if is_missing(v) else v for v in values)


def _slashed(images: Sequence[Any], sources: Sequence[Source]) -> tuple[DataWarning, ...]:
    """A warning of paths that were found with `/` in the place of each backslash."""
    if isinstance(images, ArrowImages):
        return ()
    found = [held for held, s in zip(images, sources, strict=True) if BACKSLASH in held and BACKSLASH not in str(s)]
    if not found:
        return ()
    handled = "read with / in their place"
    return (DataWarning(kind="backslashes", count=len(found), examples=tuple(found[:3]), handled=handled),)


def _source(images: Sequence[Any], row: int, folder: Path, where: _Place) -> Source:
    if isinstance(images, ArrowImages):
        held = images.path(row)
        if held is None:
            return Lazy(lambda: images.bytes(row))
    else:
        held = images[row]
    if is_missing(held) or held == "":
        raise DataError(f"image is empty in {where(row)}.", "Give a path, or leave the row out.")
    if not isinstance(held, str) or "\0" in held:
        raise DataError(f"image is {held!r} in {where(row)}, but a path was expected.", FORM)
    path = Path(held)
    if path.is_absolute():
        return path
    path = folder / with_slashes(held, folder)
    if not path.resolve().is_relative_to(folder):
        raise DataError(
            f"image is {held!r} in {where(row)}, which leads out of the table's folder.",
            "Move the table to the folder above the images, or give absolute paths.",
        )
    return path


def _read_csv(path: Path, delimiter: str) -> _Table:
    found = read_delimited(path, delimiter)
    twice = next((name for name in COLUMNS if found.header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns {twice!r}.", "Rename one of them.")
    width = len(found.header)
    wrong = next((i for i, row in enumerate(found.cells) if len(row) != width), None)
    if wrong is not None:
        raise DataError(
            f"{_Place(path.name)(wrong)} has {len(found.cells[wrong])} cells, but the header has {width}.",
            "Quote cells that hold a separator.",
        )
    columns: Columns = {name: [row[k] for row in found.cells] for k, name in enumerate(found.header)}
    return _Table(columns, _marks(found.plain))


def _marks(lines: Sequence[int]) -> tuple[DataWarning, ...]:
    """A warning of quotation marks that were read as text."""
    if not lines:
        return ()
    handled = "read as text, one row a line: as marks around cells they would swallow rows"
    examples = tuple(f"line {line}" for line in lines[:3])
    return (DataWarning(kind="quotation-marks", count=len(lines), examples=examples, handled=handled),)


def _read_json_lines(path: Path) -> _Table:
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    rows.append(json.loads(line))
                    if not isinstance(rows[-1], dict):
                        raise DataError(f"{_Place(path.name)(len(rows) - 1)} is not a JSON object.", FORM)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    except ValueError as error:
        raise DataError(
            f"{_Place(path.name)(len(rows))} is not JSON: {error}.", "Write one object per line."
        ) from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", FORM) from error
    names = dict.fromkeys(name for row in rows for name in row)
    return _Table({name: [row.get(name) for row in rows] for name in names})


def _read_parquet(path: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        table = pq.read_table(path, columns=[name for name in COLUMNS if name in schema.names], memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}.", FORM) from error
    columns: Columns = {name: _head_of_column(path, schema, name) for name in schema.names if name not in COLUMNS}
    for name in table.column_names:
        if name != "image":
            columns[name] = table.column(name).to_pylist()
        else:
            columns[name] = _pictures_of(table.column(name), path)
    names = _class_names(schema.metadata or {})
    if names:
        columns["label"] = [names[v] if isinstance(v, int) and 0 <= v < len(names) else v for v in columns["label"]]
    return _Table(columns)


def _head_of_column(path: Path, schema: Any, name: str) -> list[Any]:
    """The first rows of a column of text or numbers that isn't read otherwise; nothing of other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        return []
    batches = pq.ParquetFile(path).iter_batches(batch_size=LOOKED_AT, columns=[name])
    first = next(iter(batches), None)
    if first is None:
        return []
    return list(first.column(0).to_pylist())


def _pictures_of(column: Any, path: Path) -> Sequence[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
        return ArrowImages(column)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return ArrowImages(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return list(column.to_pylist())
    raise DataError(f"The column image of {path} holds {kind}, but paths or images were expected.", FORM)


def _class_names(metadata: dict[bytes, bytes]) -> list[str]:
    """Names of numbered classes, which the library `datasets` writes beside the schema."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, ValueError, TypeError):
        return []
    if isinstance(names, list) and all(isinstance(n, str) for n in names):
        return names
    return []


class ArrowImages(Sequence[Any]):
    """A column of image files' bytes, or of structs of them; only the image asked for is copied."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[row].as_py()

    def path(self, row: int) -> str | None:
        """The path of an image that isn't held as bytes; None where it is, empty text where neither is there."""
        scalar = self._column[row]
        if not scalar.is_valid:
            return ""
        if not hasattr(scalar, "keys"):
            return None
        if scalar["bytes"].is_valid:
            return None
        return scalar["path"].as_py() or ""

    def bytes(self, row: int) -> bytes:
        """The bytes of an image file."""
        scalar = self._column[row]
        return bytes((scalar["bytes"] if hasattr(scalar, "keys") else scalar).as_py())


READERS: dict[str, Callable[[Path], _Table]] = {
    ".csv": lambda path: _read_csv(path, ","),
    ".tsv": lambda path: _read_csv(path, "\t"),
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
