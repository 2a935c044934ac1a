"""Data that Python hands over: a mapping of columns or a pair (X, y), as a listing like that of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.records import DataWarning
from frostline.data.hub import is_dataset, list_dataset
from frostline.data.labels import as_column, read_rows
from frostline.data.raw import RawPictures, hash_array, raw_pictures
from frostline.data.scan import Listing, Row

COLUMNS = ("image", "label", "split", "group")
FORMS = 'Give a path, a pair (X, y), or {"image": X, "label": y} with "split" and "group" where you have them.'


def list_given(data: Any) -> Listing:
    """The listing of pictures and labels in memory; ids are the row's number, counted from 0.

    Args:
        data: a pair (X, y), or a mapping (or frame) with `image` and `label`, and optionally `split` (train, val
            or test) and `group` (rows of one group stay together); :func:`frostline.data.raw.raw_pictures` says
            which pictures. Or a data set of the library `datasets` (:func:`frostline.data.hub.list_dataset`).

    Raises:
        DataError: what is missing, has another length, or can't be read as what it should be.
    """
    if is_dataset(data):
        return list_dataset(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        data = {"image": data[0], "label": data[1]}
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a frame of pandas
        data = {name: list(data[name]) for name in COLUMNS if name in data.columns}
    if not isinstance(data, Mapping):
        raise DataError(f"data is a {type(data).__name__}, which isn't a known form.", FORMS)
    for name in data:
        if name not in COLUMNS:
            raise DataError(f"The data has a column {name!r}.", nearest(str(name), COLUMNS))
    for name in ("image", "label"):
        if name not in data:
            raise DataError(f"The data has no {name!r}.", FORMS)
    pictures = raw_pictures(data["image"], "image")
    count = len(pictures.items)
    columns = {name: as_column(data[name], name, count) for name in COLUMNS[1:] if data.get(name) is not None}
    rows = read_rows(columns, [None] * count, lambda row: f"row {row}", first=0)
    warnings: tuple[DataWarning, ...] = ()
    if pictures.rounded:
        handled = "floats from 0 to 1 were rounded to 8 bits, as picture files hold"
        first = next(
            i for i, item in enumerate(pictures.items) if not isinstance(item, Path) and item.dtype.kind == "f"
        )
        warnings = (DataWarning(kind="rounded", count=pictures.rounded, examples=(str(first),), handled=handled),)
    root = Path(f"arrays-{content(pictures, rows)[:8]}")
    return Listing(root=root, kind="arrays", rows=rows, warnings=warnings, arrays=pictures)


def content(pictures: RawPictures, rows: tuple[Row, ...]) -> str:
    """Hash of all that was handed over: it names the data, so that other arrays never resume a run."""
    digest = hashlib.sha256()
    for row, item in zip(rows, pictures.items, strict=True):
        what = str(item) if isinstance(item, Path) else hash_array(item)
        digest.update(f"{what}\x1f{row.class_name}\x1f{row.part}\x1f{row.group}\x1e".encode())
    return digest.hexdigest()
