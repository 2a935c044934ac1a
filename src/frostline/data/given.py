"""Data that Python hands over: a mapping of columns or a pair (X, y), as a listing like that of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.records import DataWarning
from frostline.data.columns import LOOKED_AT, check_names
from frostline.data.hub import is_dataset, list_dataset
from frostline.data.labels import as_column, read_rows
from frostline.data.raw import RawImages, as_numpy, hash_array, is_array, raw_images
from frostline.data.scan import Listing, Row
from frostline.data.tables import as_texts

COLUMNS = ("image", "text", "X", "label", "split", "group")
CONTENTS = COLUMNS[:3]  # X: images, or texts, as the network reads
FORMS = (
    'Give a path, a pair (X, y), or {"image": X, "label": y} or {"text": X, "label": y} with "split" and "group" '
    "where you have them."
)


def list_given(data: Any) -> Listing:
    """The listing of images or texts and labels in memory; ids are the row's number, counted from 0.

    Args:
        data: a pair (X, y), or a mapping (or frame) with `image` or `text`, and `label`, and optionally `split`
            (train, val or test) and `group` (rows of one group stay together);
            :func:`frostline.data.raw.raw_images` says which images. Strings in X are texts to a network that
            reads texts, and paths of image files to one that reads images. Or a data set of the library
            `datasets` (:func:`frostline.data.hub.list_dataset`).

    Raises:
        DataError: what is missing, has another length, or can't be read as what it should be.
    """
    if is_dataset(data):
        return list_dataset(data)
    columns, noticed = _as_columns(data)
    name = _content_column(columns)
    texts = _as_strings(columns[name], name)
    if name == "text":
        return replace(_listed_texts(columns, texts or ()), warnings=noticed)
    images = raw_images(columns[name] if texts is None else list(texts), "image")
    rows = _labelled_rows(columns, len(images.items) if texts is None else len(texts))
    if texts is not None:  # texts, or paths of images: the network tells
        root = Path(f"arrays-{content(texts, rows)[:8]}")
        return Listing(root=root, kind="arrays", rows=rows, warnings=noticed, arrays=images, texts=texts)
    root = Path(f"arrays-{content(images.items, rows)[:8]}")
    return Listing(root=root, kind="arrays", rows=rows, warnings=(*noticed, *_rounding(images)), arrays=images)


def _as_columns(data: Any) -> tuple[Mapping[str, Any], tuple[DataWarning, ...]]:
    """The columns of a pair (X, y), a mapping or a frame, and what was noticed; DataError for another form or name."""
    if isinstance(data, tuple | list) and len(data) == 2:
        data = {"X": data[0], "label": data[1]}
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a frame of pandas
        others = {str(name): list(data[name][:LOOKED_AT]) for name in data.columns if name not in COLUMNS}
        data = {name: list(data[name]) for name in COLUMNS if name in data.columns}
        return data, check_names(data | others, COLUMNS, "The frame")
    if not isinstance(data, Mapping):
        raise DataError(f"data is a {type(data).__name__}, which isn't a known form.", FORMS)
    check_names({str(name): () for name in data}, COLUMNS, "The data")
    for name in data:
        if name not in COLUMNS:
            raise DataError(f"The data has a column {name!r}.", nearest(str(name), COLUMNS))
    return data, ()


def _content_column(columns: Mapping[str, Any]) -> str:
    """The one column that holds images or texts; DataError where there are several, none, or no labels."""
    contents = [name for name in CONTENTS if name in columns]
    if len(contents) > 1:
        raise DataError(f"The data has both {contents[0]!r} and {contents[1]!r}.", "Leave one of them out.")
    if not contents:
        raise DataError("The data has no 'image' and no text.", FORMS)
    if "label" not in columns:
        raise DataError("The data has no 'label'.", FORMS)
    return contents[0]


def _listed_texts(columns: Mapping[str, Any], texts: tuple[str, ...]) -> Listing:
    rows = _labelled_rows(columns, len(texts))
    root = Path(f"texts-{content(texts, rows)[:8]}")
    return Listing(root=root, kind="arrays", rows=rows, arrays=None, texts=texts)


def _labelled_rows(columns: Mapping[str, Any], count: int) -> tuple[Row, ...]:
    """One row per sample, from the columns that aren't its content."""
    names = (name for name in COLUMNS if name not in CONTENTS and columns.get(name) is not None)
    notes = {name: as_column(columns[name], name, count) for name in names}
    return read_rows(notes, [None] * count, lambda row: f"row {row}", first=0)


def _rounding(images: RawImages) -> tuple[DataWarning, ...]:
    """A warning where floating-point pixels were rounded."""
    if not images.rounded:
        return ()
    handled = "floats from 0 to 1 were rounded to 8 bits, as image files hold"
    arrays = ((i, item) for i, item in enumerate(images.items) if not isinstance(item, Path))
    first = next(i for i, item in arrays if item.dtype.kind == "f")
    return (DataWarning(kind="rounded", count=images.rounded, examples=(str(first),), handled=handled),)


def _as_strings(values: Any, name: str) -> tuple[str, ...] | None:
    """The strings of a column of texts, or of an X of strings alone; None for anything else."""
    values = _as_list(values)
    if name == "text":
        if not values:
            raise DataError("text holds no texts.", "Give a list of them.")
        return as_texts(values, lambda row: f"row {row}")
    if name == "X" and values and all(isinstance(v, str) for v in values):
        return tuple(values)
    return None


def _as_list(values: Any) -> list[Any]:
    """A column's values where they may be strings; empty for arrays of numbers and for a single string."""
    if isinstance(values, (str, bytes)):
        return []
    if is_array(values):
        array = as_numpy(values)
        return array.tolist() if array.dtype.kind in "UO" else []
    return list(values) if hasattr(values, "__iter__") else []


def content(items: Iterable[Any], rows: tuple[Row, ...]) -> str:
    """Hash of all that was handed over: it names the data, so that other arrays never resume a run."""
    digest = hashlib.sha256()
    for row, item in zip(rows, items, strict=True):
        if isinstance(item, (Path, str)):
            what = str(item)
        else:
            what = hash_array(item)
        digest.update(f"{what}\x1f{row.class_name}\x1f{row.part}\x1f{row.group}\x1e".encode())
    return digest.hexdigest()
