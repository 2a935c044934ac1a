"""Data sets of the library `datasets`, known by their looks: nothing is imported for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.hashing import hash_values
from frostline.base.records import DataWarning
from frostline.data.columns import LOOKED_AT, check_names
from frostline.data.decode import Lazy, Source
from frostline.data.labels import Where, is_missing, read_rows
from frostline.data.part_names import WORDS, part_of
from frostline.data.scan import Listing, Row
from frostline.data.tables import as_texts

HINT = "Name the columns image or text, and label (rename_column), or leave one Image and one ClassLabel."
READ = ("image", "text", "label", "split", "group")


def is_dataset(data: Any) -> bool:
    """Whether something looks like a `Dataset`, an `IterableDataset`, or a `DatasetDict` of them."""
    if isinstance(data, Mapping):
        return bool(data) and all(is_dataset(part) for part in data.values())
    return all(hasattr(data, name) for name in ("features", "cast_column", "with_format"))


def list_dataset(data: Any) -> Listing:
    """The listing of a `Dataset` (ids are row numbers from 0), or of a `DatasetDict` (ids are `split/row`).

    Columns are `image` or `text`, and `label`, or the only ones of the features Image (else of strings) and
    ClassLabel; `split` and `group` are read where they are there, and the keys of a DatasetDict are the parts. Images
    are fetched when they are decoded. Raises DataError for other columns, unknown parts, rows without a label, and
    data sets that are streamed.
    """
    if isinstance(data, Mapping):
        for key in data:
            if part_of(str(key)) is None:
                raise DataError(f"The data set has a split {key!r}.", nearest(str(key), WORDS.split(", ")))
        read = [_read_split(part, str(key), f"{key}/") for key, part in data.items()]
        members = list(data.values())
    else:
        read = [_read_split(data, None, "")]
        members = [data]
    rows = tuple(row for split in read for row in split.rows)
    prints = [str(getattr(member, "_fingerprint", "")) for member in members]
    name = hash_values(prints, [(r.id, r.class_name, r.part, r.group) for r in rows])[:8]
    texts = None
    if all(split.texts is not None for split in read):
        texts = tuple(text for split in read for text in split.texts or ())
    elif any(split.texts is not None for split in read):
        raise DataError("The data set has images in one split and texts in another.", HINT)
    warnings = read[0].warnings if read else ()
    return Listing(root=Path(f"dataset-{name}"), kind="dataset", rows=rows, texts=texts, warnings=warnings)


@dataclasses.dataclass(frozen=True, slots=True)
class _Split:
    """The rows of one split; `texts` where they are texts."""

    rows: tuple[Row, ...]
    texts: tuple[str, ...] | None
    warnings: tuple[DataWarning, ...]


def _read_split(dataset: Any, part: str | None, prefix: str) -> _Split:
    if not hasattr(dataset, "num_rows") or dataset.features is None:
        raise DataError("The data set is streamed, but samples are read more than once.", "Load it whole.")
    dataset = dataset.with_format(None)
    warnings = check_names(_unread_columns(dataset), READ[3:], "The data set")
    label = _column(dataset, "label", "ClassLabel")
    content = _image_or_text(dataset, label)
    columns: dict[str, list[Any]] = {"label": _label_names(dataset, label)}
    columns |= {name: list(dataset[name]) for name in ("split", "group") if name in dataset.features}
    if part is not None:
        columns["split"] = [part] * dataset.num_rows
    where = _where(prefix)
    texts = None
    sources: list[Source | None] = [None] * dataset.num_rows
    if content != "image" and _is_text(dataset, content):
        texts = as_texts(list(dataset[content]), where)
    else:
        sources = [*_row_sources(dataset, content, where)]
    rows = read_rows(columns, sources, where, first=0)
    named = tuple(dataclasses.replace(row, id=prefix + row.id) for row in rows)
    return _Split(named, texts, warnings)


def _unread_columns(dataset: Any) -> dict[str, list[Any]]:
    """The columns by name; of those of text or whole numbers that aren't read, the first rows."""
    found: dict[str, list[Any]] = {name: [] for name in dataset.features}
    plain = [
        name
        for name, feature in dataset.features.items()
        if name not in READ and str(getattr(feature, "dtype", "")) in ("string", "int32", "int64")
    ]
    if plain and dataset.num_rows:
        head = dataset.select_columns(plain).select(range(min(LOOKED_AT, dataset.num_rows)))
        found |= {name: list(head[name]) for name in plain}
    return found


def _image_or_text(dataset: Any, label: str) -> str:
    """The column of images or of texts; DataError where it can't be told."""
    for name in ("image", "text"):
        if name in dataset.features:
            return name
    images = [name for name, feature in dataset.features.items() if type(feature).__name__ == "Image"]
    others = [name for name in dataset.features if name not in READ and name != label and _is_text(dataset, name)]
    found = images or others
    if len(found) == 1:
        return str(found[0])
    known = ", ".join(map(repr, dataset.features))
    raise DataError(f"The data set has no column 'image' and no column 'text'; it has {known}.", HINT)


def _is_text(dataset: Any, name: str) -> bool:
    return getattr(dataset.features[name], "dtype", None) in ("string", "large_string")


def _where(prefix: str) -> Where:
    return lambda row: f"row {prefix}{row} of the data set"


def _column(dataset: Any, name: str, feature: str) -> str:
    if name in dataset.features:
        return name
    found = [k for k, v in dataset.features.items() if type(v).__name__ == feature]
    if len(found) != 1:
        known = ", ".join(map(repr, dataset.features))
        raise DataError(f"The data set has no column {name!r} and {len(found)} of {feature}; it has {known}.", HINT)
    return str(found[0])


def _label_names(dataset: Any, column: str) -> list[Any]:
    names = getattr(dataset.features[column], "names", None)
    values = list(dataset[column])
    if names is None:
        return values
    return [None if is_missing(v) or v < 0 else names[v] for v in values]  # -1 stands for no label


def _row_sources(dataset: Any, column: str, where: Where) -> list[Source]:
    feature = dataset.features[column]
    if _is_text(dataset, column):
        return [_path(value, where(i)) for i, value in enumerate(dataset[column])]
    if type(feature).__name__ != "Image":
        raise DataError(
            f"The column {column!r} of the data set is of {feature!r}, but images were expected.",
            "Cast it to datasets.Image(), or give arrays: frostline.fit((X, y), ...).",
        )
    still = dataclasses.replace(feature, decode=False)
    files = dataset.select_columns([column]).cast_column(column, still)

    def fetch(row: int) -> Path | bytes:
        held = files[row][column]
        if held is None or (held["bytes"] is None and not held["path"]):
            raise FileNotFoundError(2, "no image in this row")
        if held["bytes"] is not None:
            return bytes(held["bytes"])
        return Path(held["path"])

    return [Lazy(lambda row=i: fetch(row)) for i in range(dataset.num_rows)]  # type: ignore[misc]


def _path(value: Any, where: str) -> Path:
    if is_missing(value) or value == "":
        raise DataError(f"image is empty in {where}.", "Give a path, or leave the row out.")
    return Path(value)
