"""Files of tables, read into columns by name: CSV, TSV, JSON and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError
from frostline.base.files import parse_json
from frostline.base.records import DataWarning
from frostline.data.columns import LOOKED_AT
from frostline.data.delimited import not_utf8, read_delimited
from frostline.data.notices import noticed
from frostline.data.table_limits import check_parquet, check_size, rows_at_once

COLUMNS = ("image", "text", "label", "split", "group")
FORM = "A table has the columns image (a path) or text, and label, and optionally split and group."
JSON_FORM = "Write one JSON object a line, or one list of objects, each with image or text, and label."

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns by name (of those that aren't read, the first rows do), and what was noticed on the way."""

    columns: Columns
    warnings: tuple[DataWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is, in words; the data rows count from 1."""

    name: str

    def __call__(self, row: int) -> str:
        return f"row {row + 1} of {self.name}"


def _read_csv(path: Path, delimiter: str) -> Table:
    found = read_delimited(path, delimiter)
    twice = next((name for name in COLUMNS if found.header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns {twice!r}.", "Rename one of them.")
    width = len(found.header)
    wrong = next((i for i, row in enumerate(found.cells) if len(row) != width), None)
    if wrong is not None:
        raise DataError(
            f"{Place(path.name)(wrong)} has {len(found.cells[wrong])} cells, but the header has {width}.",
            "Quote cells that hold a separator.",
        )
    columns: Columns = {name: [row[k] for row in found.cells] for k, name in enumerate(found.header)}
    return Table(columns, _marks(found.plain))


def _marks(lines: Sequence[int]) -> tuple[DataWarning, ...]:
    """A warning of quotation marks that were read as text."""
    handled = "read as text, one row a line: as marks around cells they would swallow rows"
    return noticed("quotation-marks", [f"line {line}" for line in lines], handled)


def _read_json(path: Path) -> Table:
    """One object a line, or one list of objects, over however many lines."""
    try:
        check_size(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", FORM) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, data, error.start) from error
    if text.lstrip().startswith("["):
        rows = _listed_objects(text, path)
    else:
        rows = _objects_by_line(text, path)
    if len(rows) == 1 and any(isinstance(value, list | dict) for value in rows[0].values()):
        raise DataError(f"{path} holds a single object whose values are lists or objects, not a row.", JSON_FORM)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names})


def _listed_objects(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        rows = parse_json(text)
    except ValueError as error:
        if "\n" in text.strip():  # lines that each hold a list
            return _objects_by_line(text, path)
        raise DataError(f"{path} is not JSON: {error}.", JSON_FORM) from error
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise DataError(f"{Place(path.name)(wrong)} is not a JSON object.", JSON_FORM)
    return list(rows)


def _objects_by_line(text: str, path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            rows.append(parse_json(line))
        except ValueError as error:
            raise DataError(f"{Place(path.name)(len(rows))} is not JSON: {error}.", JSON_FORM) from error
        if not isinstance(rows[-1], dict):
            raise DataError(f"{Place(path.name)(len(rows) - 1)} is not a JSON object.", JSON_FORM)
    return rows


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        check_parquet(path, COLUMNS)
        table = pq.read_table(path, columns=[name for name in COLUMNS if name in schema.names], memory_map=True)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name that isn't UTF-8
        raise DataError(f"{path} can't be read as Parquet: {_arrow_reason(error)}.", FORM) from error
    try:
        columns = _cells_of(path, schema, table)
    except (pa.ArrowException, OSError, ValueError) as error:  # damaged values, which are decoded only now
        raise DataError(f"{path} holds values that can't be read: {_arrow_reason(error)}.", FORM) from error
    names = _class_names(schema.metadata or {})
    if names and "label" in columns:
        columns["label"] = [_named_class(value, names) for value in columns["label"]]
    return Table(columns)


def _cells_of(path: Path, schema: Any, table: Any) -> Columns:
    """The columns that are read, as Python values, and the first rows of the others."""
    columns: Columns = {name: _head_of_column(path, schema, name) for name in schema.names if name not in COLUMNS}
    for name in table.column_names:
        if name != "image":
            columns[name] = table.column(name).to_pylist()
        else:
            columns[name] = _pictures_of(table.column(name), path)
    return columns


def _arrow_reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _named_class(value: Any, names: Sequence[str]) -> Any:
    """The name of a numbered class; None for -1, which stands for no label."""
    if not isinstance(value, int) or value >= len(names):
        return value
    return names[value] if value >= 0 else None


def _head_of_column(path: Path, schema: Any, name: str) -> list[Any]:
    """The first rows of a column of text or numbers that isn't read otherwise; nothing of other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        return []
    file = pq.ParquetFile(path)
    batches = file.iter_batches(batch_size=min(LOOKED_AT, rows_at_once(file, name)), columns=[name])
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
        names = parse_json(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
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


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda path: _read_csv(path, ","),
    ".tsv": lambda path: _read_csv(path, "\t"),
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
