"""The images that `predict` is given, each with its name: files, folders of them, and the rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.base.errors import DataError
from frostline.data.decode import Lazy, Source
from frostline.data.folder_tree import read_tree
from frostline.data.labels import is_missing
from frostline.data.paths import with_slashes
from frostline.data.table_files import READERS, ArrowImages, Place
from frostline.data.tables import read_columns

FORM = "Give images, folders of them, or tables (.csv, .tsv, .jsonl, .parquet) with a column image."


def images_at(path: Path) -> list[tuple[str, Source]]:
    """Names and places of the images that a path stands for: itself, those below a folder, those of a table's rows.

    A row is called by its path as the table has it, one that holds the image's bytes `FILE:ROW`. Raises DataError for
    a path that isn't there, a folder without images, and tables as :func:`frostline.data.tables.read_table` does,
    except that a table needs no labels.
    """
    if path.is_dir():
        inside = sorted(read_tree(path).all_images())  # what fit would see: nothing hidden, no folder of a system
        if not inside:
            raise DataError(f"The folder {path} holds no images.", FORM)
        return [(str(path / name), path / name) for name in inside]
    if not path.is_file():
        raise DataError(f"{path} doesn't exist.", FORM)
    if path.suffix.lower() in READERS:
        return _rows_of(path)
    return [(str(path), path)]


def _rows_of(path: Path) -> list[tuple[str, Source]]:
    columns = read_columns(path)
    if "image" not in columns:
        known = ", ".join(map(repr, columns)) or "none"
        raise DataError(f"{path} has no column 'image', which the model reads; its columns are {known}.", FORM)
    images = columns["image"]
    if not images:
        raise DataError(f"{path} holds no rows.", FORM)
    folder = path.parent.resolve()
    return [_image_of(images, row, path, folder) for row in range(len(images))]


def _image_of(images: Sequence[Any], row: int, table: Path, folder: Path) -> tuple[str, Source]:
    where = Place(table.name)(row)
    held = images[row] if not isinstance(images, ArrowImages) else images.path(row)
    if isinstance(images, ArrowImages) and held is None:
        return f"{table}:{row + 1}", Lazy(lambda: images.bytes(row))
    if is_missing(held) or held == "":
        raise DataError(f"image is empty in {where}.", "Give a path, or leave the row out.")
    if not isinstance(held, str) or "\0" in held:
        raise DataError(f"image is {held!r} in {where}, but a path was expected.", FORM)
    if Path(held).is_absolute():
        return held, Path(held)
    path = folder / with_slashes(held, folder)
    if not path.resolve().is_relative_to(folder):
        raise DataError(
            f"image is {held!r} in {where}, which leads out of the table's folder.",
            "Move the table to the folder above the images, or give absolute paths.",
        )
    return held, path
