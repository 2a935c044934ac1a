"""Data that Python hands over: a mapping of columns or a pair (X, y), as a listing like that of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError, nearest
from frostline.base.records import DataWarning
from frostline.data.hub import is_dataset, list_dataset
from frostline.data.labels import as_column, read_rows
from frostline.data.raw import as_numpy, hash_array, is_array, raw_images
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
    if isinstance(data, tuple | list) and len(data) == 2:
        data = {"X": data[0], "label": data[1]}
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a frame of pandas
        data = {name: list(data[name]) for name in COLUMNS if name in data.columns}
    if not isinstance(data, Mapping):
        raise DataError(f"data is a {type(data).__name__}, which isn't a known form.", FORMS)
    for name in data:
        if name not in COLUMNS:
            raise DataError(f"The data has a column {name!r}.", nearest(str(name), COLUMNS))
    given = [name for name in CONTENTS if name in data]
    if len(given) > 1:
        raise DataError(f"The data has both {given[0]!r} and {given[1]!r}.", "Leave one of them out.")
    if not given or "label" not in data:
        raise DataError(f"The data has no {'label' if given else 'image'!r}{'' if given else ' and no text'}.", FORMS)
    texts = _texts(data[given[0]], given[0])
    images = None if given == ["text"] else raw_images(data[given[0]] if texts is None else list(texts), "image")
    count = len(texts) if texts is not None else len(images.items) if images else 0
    named = (name for name in COLUMNS if name not in CONTENTS and data.get(name) is not None)
    columns = {name: as_column(data[name], name, count) for name in named}
    rows = read_rows(columns, [None] * count, lambda row: f"row {row}", first=0)
    if images is None or texts is not None:
        root = Path(f"{'texts' if images is None else 'arrays'}-{content(texts or (), rows)[:8]}")
        return Listing(root=root, kind="arrays", rows=rows, arrays=images, texts=texts)
    warnings: tuple[DataWarning, ...] = ()
    if images.rounded:
        handled = "floats from 0 to 1 were rounded to 8 bits, as image files hold"
        first = next(i for i, item in enumerate(images.items) if not isinstance(item, Path) and item.dtype.kind == "f")
        warnings = (DataWarning(kind="rounded", count=images.rounded, examples=(str(first),), handled=handled),)
    root = Path(f"arrays-{content(images.items, rows)[:8]}")
    return Listing(root=root, kind="arrays", rows=rows, warnings=warnings, arrays=images)


def _texts(values: Any, name: str) -> tuple[str, ...] | None:
    """The strings of a column of texts, or of an X of strings alone; None for anything else."""
    if isinstance(values, (str, bytes)) or (is_array(values) and as_numpy(values).dtype.kind not in "UO"):
        listed: list[Any] = []
    else:
        listed = as_numpy(values).tolist() if is_array(values) else list(values) if hasattr(values, "__iter__") else []
    if name == "text":
        if not listed:
            raise DataError("text holds no texts.", "Give a list of them.")
        return as_texts(listed, lambda row: f"row {row}")
    return tuple(listed) if name == "X" and listed and all(isinstance(v, str) for v in listed) else None


def content(items: Iterable[Any], rows: tuple[Row, ...]) -> str:
    """Hash of all that was handed over: it names the data, so that other arrays never resume a run."""
    digest = hashlib.sha256()
    for row, item in zip(rows, items, strict=True):
        what = str(item) if isinstance(item, (Path, str)) else hash_array(item)
        digest.update(f"{what}\x1f{row.class_name}\x1f{row.part}\x1f{row.group}\x1e".encode())
    return digest.hexdigest()
