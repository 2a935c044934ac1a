"""Data sets of the library `datasets`, known by their looks: nothing is imported for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.hashing import hash_values
from frostline.data.decode import Lazy, Source
from frostline.data.labels import WORDS, Where, is_missing, read_rows
from frostline.data.scan import PARTS, Listing, Row

HINT = "Name the columns image and label (rename_column), or leave one Image and one ClassLabel."


def is_dataset(data: Any) -> bool:
    """Whether something looks like a `Dataset`, an `IterableDataset`, or a `DatasetDict` of them."""
    if isinstance(data, Mapping):
        return bool(data) and all(is_dataset(part) for part in data.values())
    return all(hasattr(data, name) for name in ("features", "cast_column", "with_format"))


def list_dataset(data: Any) -> Listing:
    """The listing of a `Dataset` (ids are row numbers from 0), or of a `DatasetDict` (ids are `split/row`).

    Columns are `image` and `label`, or the only ones of the features Image and ClassLabel; `split` and `group` are
    read where they are there, and the keys of a DatasetDict are the parts. Images are fetched when they are decoded.
    Raises DataError for other columns, unknown parts, rows without a label, and data sets that are streamed.
    """
    if not isinstance(data, Mapping):
        rows = _split_rows(data, None, "")
    else:
        for key in data:
            if str(key).lower() not in PARTS:
                raise DataError(f"The data set has a split {key!r}.", nearest(str(key), WORDS.split(", ")))
        rows = tuple(row for key, part in data.items() for row in _split_rows(part, str(key), f"{key}/"))
    if isinstance(data, Mapping):
        members = list(data.values())
    else:
        members = [data]
    prints = [str(getattr(member, "_fingerprint", "")) for member in members]
    name = hash_values(prints, [(r.id, r.class_name, r.part, r.group) for r in rows])[:8]
    return Listing(root=Path(f"dataset-{name}"), kind="dataset", rows=rows)


def _split_rows(dataset: Any, part: str | None, prefix: str) -> tuple[Row, ...]:
    if not hasattr(dataset, "num_rows") or dataset.features is None:
        raise DataError("The data set is streamed, but images are read more than once.", "Load it whole.")
    dataset = dataset.with_format(None)
    image = _column(dataset, "image", "Image")
    label = _column(dataset, "label", "ClassLabel")
    columns: dict[str, list[Any]] = {"label": _label_names(dataset, label)}
    columns |= {name: list(dataset[name]) for name in ("split", "group") if name in dataset.features}
    if part is not None:
        columns["split"] = [part] * dataset.num_rows
    where = _where(prefix)
    return tuple(
        dataclasses.replace(row, id=prefix + row.id)
        for row in read_rows(columns, _row_sources(dataset, image, where), where, first=0)
    )


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
    if getattr(feature, "dtype", None) in ("string", "large_string"):
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
