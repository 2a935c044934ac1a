"""Which images or texts a folder, a file or Python hands over where no labels are needed, and which are sealed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline.base.errors import DataError
from frostline.data.columns import check_names
from frostline.data.folder_tree import FolderTree, read_tree
from frostline.data.given import CONTENTS, content
from frostline.data.labels import as_column, is_missing, parts
from frostline.data.part_names import GivenPart, part_of, parts_of
from frostline.data.raw import as_numpy, is_array, raw_images
from frostline.data.scan import Listing, Row
from frostline.data.table_files import COLUMNS, READERS, Place
from frostline.data.table_limits import check_size
from frostline.data.tables import as_texts, image_source, read_lines

FORM = "Give a folder of images, a table (.csv, .tsv, .jsonl, .parquet), an .npy file, or a .txt file of texts."
ARRAY_FORM = "Save uint8 images of shape (N, H, W) or (N, H, W, C): numpy.save(FILE, images, allow_pickle=False)."
PYTHON_FORM = 'Give a path, an array of images, a list of texts, a pair (X, y), or {"image": X} or {"text": X}.'


@dataclass(frozen=True, kw_only=True)
class UnlabelledListing:
    """A listing whose rows may lack a class. `labels` has a class or None for each row;
    `sealed` rows were left out, and `notes` say so in sentences."""

    listing: Listing
    labels: tuple[str | None, ...]
    sealed: int = 0
    notes: tuple[str, ...] = ()


def list_unlabelled(data: Any, *, partly: bool = False) -> UnlabelledListing:
    """List what `data` holds: a folder of images (with or without folders in it), a table with a column image or
    text, an `.npy` file of images, a `.txt` file with one text a line, or data in memory.

    A part that would be sealed (`test/`; without one, `val/`) isn't listed. `partly`: images may lie in class folders
    and beside these; otherwise all of them do, or no folder is a class. Raises DataError for anything else, by name.
    """
    if not isinstance(data, Path):
        return _in_memory(data)
    if data.is_dir():
        return _folder(data, partly=partly)
    if not data.exists():
        raise DataError(f"{data} does not exist.", FORM)
    ending = data.suffix.lower()
    if ending in READERS:
        return _from_table(data)
    if ending == ".npy":
        return _array_file(data)
    if ending == ".txt":
        texts = read_lines(data)
        return _plain(Listing(root=data, kind="table", rows=_blank_rows(len(texts), 1), texts=texts))
    raise DataError(f"{data} is a file of another kind.", FORM)


def _plain(listing: Listing) -> UnlabelledListing:
    return UnlabelledListing(listing=listing, labels=(None,) * len(listing.rows))


def _blank_rows(count: int, first: int) -> tuple[Row, ...]:
    return tuple(Row(id=str(first + i), source=None, class_name="", part=None, group=None) for i in range(count))


# -- folders


def _folder(path: Path, *, partly: bool) -> UnlabelledListing:
    tree = read_tree(path, strict=True)
    sealed = _sealed_part(part for part in _parts_in(tree).values())
    found = sorted(_unsealed(tree, (), sealed))
    left_out = sum(1 for _ in tree.all_images()) - len(found)
    if not found:
        what = f"no images outside its {sealed}/ part" if left_out else "no images"
        raise DataError(f"{path} holds {what}.", FORM)
    rows = tuple(Row(id=name, source=path / name, class_name="", part=None, group=None) for name, _ in found)
    listing = Listing(
        root=path, kind="class-folders", rows=rows, ignored=tuple(item.name for item in tree.all_ignored())
    )
    return UnlabelledListing(
        listing=listing,
        labels=_folder_labels([folders for _, folders in found], partly=partly),
        sealed=left_out,
        notes=_sealed_note(sealed, left_out, "images"),
    )


def _parts_in(tree: FolderTree) -> dict[str, GivenPart]:
    """Folders that mean a part: those of the first level, and those of the second where they stand beside train."""
    found = dict(_known_parts(tree, alone=True))
    for folder in tree.classes:
        below = _known_parts(folder, alone=False)
        found |= {f"{folder.name}/{name}": part for name, part in below.items()}
    return found


def _known_parts(tree: FolderTree, *, alone: bool) -> dict[str, GivenPart]:
    names = [folder.name for folder in tree.classes]
    parts_found = parts_of(names)
    if "train" in parts_found.values():
        return parts_found
    if not alone:
        return {}
    return {name: part for name in names if (part := part_of(name)) is not None}


def _sealed_part(found: Iterator[GivenPart]) -> GivenPart | None:
    """Which part `fit` would seal."""
    there = set(found)
    if "test" in there:
        return "test"
    if "val" in there:
        return "val"
    return None


def _unsealed(
    tree: FolderTree, above: tuple[str, ...], sealed: GivenPart | None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Images outside the sealed part, each with the folders above it that aren't parts."""
    known = _known_parts(tree, alone=not above) if len(above) < 2 else {}
    yield from ((name, above) for name in tree.images)
    for folder in tree.classes:
        part = known.get(folder.name)
        if part is not None and part == sealed:
            continue
        inner = above if part is not None else (*above, folder.name)
        yield from _unsealed(folder, inner, sealed)


def _folder_labels(folders: Sequence[tuple[str, ...]], *, partly: bool) -> tuple[str | None, ...]:
    """The first folder's name of each image, where all lie in one of several; else nothing, unless `partly`."""
    names = [above[0] if above else None for above in folders]
    if partly:
        return tuple(names)
    if None in names or len(set(names)) < 2:
        return (None,) * len(names)
    return tuple(names)


def _sealed_note(sealed: GivenPart | None, count: int, noun: str) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{count} {noun} of the part {sealed} were left out: frostline fit seals them.",)


# -- files


def _from_table(path: Path) -> UnlabelledListing:
    table = READERS[path.suffix.lower()](path)
    columns = table.columns
    warnings = (*table.warnings, *check_names(columns, COLUMNS, str(path)))
    name = _content_of(columns, str(path))
    where = Place(path.name)
    count = len(columns[name])
    given: Sequence[GivenPart | None] = [None] * count
    if "split" in columns:
        given = parts(columns["split"], "split", where)
    sealed = _sealed_part(part for part in given if part is not None)
    keep = [i for i in range(count) if given[i] is None or given[i] != sealed]
    if not keep:
        raise DataError(f"{path} holds no rows outside its part {sealed}.", FORM)
    labels = _cells(columns.get("label", [None] * count))
    groups = _cells(columns.get("group", [None] * count))
    texts = None
    sources: list[Any] = [None] * count
    if name == "text":
        texts = as_texts(columns["text"], where)
        texts = tuple(texts[i] for i in keep)
    else:
        folder = path.parent.resolve()
        sources = [image_source(columns["image"], i, folder, where) for i in range(count)]
    rows = tuple(Row(id=str(i + 1), source=sources[i], class_name="", part=None, group=groups[i]) for i in keep)
    listing = Listing(root=path, kind="table", rows=rows, warnings=warnings, texts=texts)
    return UnlabelledListing(
        listing=listing,
        labels=tuple(labels[i] for i in keep),
        sealed=count - len(keep),
        notes=_sealed_note(sealed, count - len(keep), listing.noun),
    )


def _content_of(columns: Mapping[str, Sequence[Any]], place: str) -> str:
    found = [name for name in ("image", "text") if name in columns]
    if len(found) != 1:
        what = "both a column 'image' and a column 'text'" if found else "neither a column 'image' nor a column 'text'"
        raise DataError(f"{place} has {what}.", "Give one of them; label and split are optional here.")
    if not len(columns[found[0]]):
        raise DataError(f"{place} holds no rows.", FORM)
    return found[0]


def _cells(values: Sequence[Any]) -> tuple[str | None, ...]:
    return tuple(None if is_missing(v) or v == "" else str(v) for v in values)


def _array_file(path: Path) -> UnlabelledListing:
    check_size(path, times=1)
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        if "pickle" in first.lower():
            first = "it holds Python objects, which are never unpickled"
        raise DataError(f"{path} can't be read as an array of images: {first}.", ARRAY_FORM) from error
    images = raw_images(values, path.name)
    rows = _blank_rows(len(images.items), 0)
    return _plain(Listing(root=path, kind="arrays", rows=rows, arrays=images))


# -- Python


def _in_memory(data: Any) -> UnlabelledListing:
    columns = _columns_of(data)
    names = [name for name in CONTENTS if name in columns]
    if len(names) != 1:
        raise DataError("The data has no images and no texts, or several of them.", PYTHON_FORM)
    values = columns[names[0]]
    texts = _strings(values)
    if texts is None and names[0] == "text":
        raise DataError("text holds something else than texts.", PYTHON_FORM)
    images = None
    if names[0] != "text":
        images = raw_images(values if texts is None else list(texts), names[0])
    items: Sequence[Any] = texts or ()
    if images is not None:
        items = images.items
    count = len(items)
    labels: tuple[str | None, ...] = (None,) * count
    if columns.get("label") is not None:
        labels = _cells(as_column(columns["label"], "label", count))
    rows = _blank_rows(count, 0)
    root = Path(f"arrays-{content(items, rows)[:8]}")
    listing = Listing(root=root, kind="arrays", rows=rows, arrays=images, texts=texts)
    return UnlabelledListing(listing=listing, labels=labels)


def _columns_of(data: Any) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        unknown = [name for name in data if name not in (*CONTENTS, "label")]
        if unknown:
            raise DataError(f"The data has a column {unknown[0]!r}, which isn't read here.", PYTHON_FORM)
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return {"X": data[0], "label": data[1]}
    if is_array(data) or isinstance(data, list):
        return {"X": data}
    raise DataError(f"data is a {type(data).__name__}, which isn't a known form.", PYTHON_FORM)


def _strings(values: Any) -> tuple[str, ...] | None:
    """Texts, where all values are; None for anything else."""
    if is_array(values):
        array = as_numpy(values)
        if array.dtype.kind not in "UO":
            return None
        values = array.tolist()
    if not isinstance(values, (list, tuple)) or not values or not all(isinstance(v, str) for v in values):
        return None
    return tuple(values)
