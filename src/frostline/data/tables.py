"""Tables of images or texts: CSV, TSV, JSON and Parquet with the columns image or text, and label, optionally split
and group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from frostline.base.errors import DataError
from frostline.base.records import DataWarning
from frostline.data.columns import check_names
from frostline.data.decode import Lazy, Source
from frostline.data.formats import is_image
from frostline.data.labels import is_missing, read_rows
from frostline.data.notices import noticed
from frostline.data.paths import BACKSLASH, as_found
from frostline.data.scan import Listing, scan
from frostline.data.table_files import COLUMNS, FORM, READERS, ArrowImages, Columns, Place
from frostline.data.table_limits import check_size

TEXT_FILES = "Give a table (.csv, .tsv, .jsonl, .parquet) with a column text, or a .txt file with one text a line."
PIXEL_COLUMNS = 60  # of images of 8 x 8 pixels and more
NAMES_SHOWN = 8  # of a table's columns, in a message
ADDRESSES = ("http://", "https://", "ftp://", "s3://", "gs://", "hf://", "data:")


def _no_image() -> bytes:
    raise FileNotFoundError(2, "no image in this row")


NO_IMAGE = Lazy(_no_image)  # the source of a row that has none


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
    writes them. Files that are missing and cells without an image count as unreadable, and rows without a label are
    left out later. Raises DataError for a missing column, an unknown part, a relative path that leads out of the
    table's folder, or a file that isn't such a table; each names row and column.
    """
    table = READERS[path.suffix.lower()](path)
    columns = table.columns
    warnings = (*table.warnings, *check_names(columns, COLUMNS, str(path)))
    _check_columns(path, columns)
    folder = path.parent.resolve()
    where = Place(path.name)
    if "text" in columns:
        rows = read_rows(columns, [None] * len(columns["label"]), where, first=1)
        return Listing(root=path, kind="table", rows=rows, warnings=warnings, texts=as_texts(columns["text"], where))
    images = columns["image"]
    sources = [NO_IMAGE if _is_empty(images, i) else image_source(images, i, folder, where) for i in range(len(images))]
    rows = read_rows(columns, sources, where, first=1)
    return Listing(root=path, kind="table", rows=rows, warnings=(*warnings, *_about_paths(images, sources)))


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
            raise DataError(f"{path} has no column 'text'; its columns are {_names(columns)}.", TEXT_FILES)
        return as_texts(columns["text"], Place(path.name))
    if path.suffix.lower() != ".txt":
        raise DataError(f"{path} is not a file of texts, which the model expects.", TEXT_FILES)
    check_size(path)
    try:
        return tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error


def _check_columns(path: Path, columns: Columns) -> None:
    if "image" in columns and "text" in columns:
        raise DataError(f"{path} has both a column 'image' and a column 'text'.", "Leave one of them out.")
    if "image" not in columns and "text" not in columns:
        raise DataError(
            f"{path} has neither a column 'image' nor a column 'text'; its columns are {_names(columns)}.",
            _about_columns(columns),
        )
    if "label" not in columns:
        raise DataError(f"{path} has no column 'label'; its columns are {_names(columns)}.", FORM)
    if not columns["label"]:
        raise DataError(f"{path} holds no rows.", FORM)


def _names(columns: Columns) -> str:
    shown = ", ".join(map(repr, list(columns)[:NAMES_SHOWN])) or "none"
    if len(columns) > NAMES_SHOWN:
        return f"{shown} and {len(columns) - NAMES_SHOWN} more"
    return shown


def _about_columns(columns: Columns) -> str:
    """What to do about a table without images or texts, by what its header looks like."""
    if any(is_image(name) for name in columns):
        return "Its first line is a row already: put the line image,label above it."
    if len(columns) > PIXEL_COLUMNS:
        return "Pixels aren't read from tables: give arrays in Python, frostline.fit((X.reshape(-1, H, W), y), ...)."
    return f"{FORM} If its first line is a row already, put a line with these names above it."


def as_texts(values: Sequence[Any], where: Callable[[int], str]) -> tuple[str, ...]:
    """Texts as they are, empty where there is none; raises DataError for anything else, by its row."""
    wrong = next((i for i, v in enumerate(values) if not (is_missing(v) or isinstance(v, str))), None)
    if wrong is not None:
        raise DataError(f"text is {values[wrong]!r} in {where(wrong)}, but text was expected.", FORM)
    return tuple("" if is_missing(v) else v for v in values)


def _about_paths(images: Sequence[Any], sources: Sequence[Source]) -> tuple[DataWarning, ...]:
    """Warnings of paths that were found in another spelling, and of rows that name the same file."""
    if isinstance(images, ArrowImages):
        return ()
    paths = [
        (row, held, str(s)) for row, (held, s) in enumerate(zip(images, sources, strict=True), 1) if s is not NO_IMAGE
    ]
    slashed = [held for _, held, found in paths if BACKSLASH in held and BACKSLASH not in found]
    others = [
        held
        for _, held, found in paths
        if not held.isascii() and not found.endswith(str(PurePosixPath(held.replace(BACKSLASH, "/"))))
    ]
    first: dict[str, int] = {}
    again = [
        f"row {row} = row {first[found]} ({held})" for row, held, found in paths if first.setdefault(found, row) != row
    ]
    return (
        *noticed("backslashes", slashed, "read with / in their place"),
        *noticed("unicode-paths", others, "read: the files have them in the other Unicode form"),
        *noticed("repeated-rows", again, "read; rows of one image are copies, and treated as such"),
    )


def _is_empty(images: Sequence[Any], row: int) -> bool:
    held = images.path(row) if isinstance(images, ArrowImages) else images[row]
    return held == "" or (not isinstance(images, ArrowImages) and is_missing(held))


def image_source(images: Sequence[Any], row: int, folder: Path, where: Place) -> Source:
    """Where the image of a table's row comes from; `folder` is the table's, resolved.

    Raises DataError for an empty cell, an address, anything but a path, and a relative path that leads out.
    """
    if isinstance(images, ArrowImages):
        held = images.path(row)
        if held is None:
            return Lazy(lambda: images.bytes(row))
    else:
        held = images[row]
    if is_missing(held) or held == "":
        raise DataError(f"image is empty in {where(row)}.", "Give a path, or leave the row out.")
    if not isinstance(held, str) or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in held):
        raise DataError(f"image is {held!r} in {where(row)}, but a path was expected.", FORM)
    if held.startswith(ADDRESSES):
        raise DataError(
            f"image is {held[:80]!r} in {where(row)}, and addresses aren't fetched.",
            "Download the images and give their paths.",
        )
    path = Path(held)
    if path.is_absolute():
        return path
    path = folder / as_found(held, folder)
    if not path.resolve().is_relative_to(folder):
        raise DataError(
            f"image is {held!r} in {where(row)}, which leads out of the table's folder.",
            "Move the table to the folder above the images, or give absolute paths.",
        )
    return path
