"""Finds the images of a data folder: class folders (DATA/<class>/*) or split folders (DATA/train/<class>/* ...)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frostline.base.errors import DataError
from frostline.base.records import DataWarning
from frostline.data.decode import Source
from frostline.data.folder_tree import FolderTree, read_tree
from frostline.data.formats import ARCHIVES, ending, formats_in_words, unread_formats
from frostline.data.layouts import (
    LAYOUT,
    check_layout,
    folders_below_classes,
    parts_below_classes,
    split_folders,
    table_hint,
)
from frostline.data.left_out import check_links, ignored_warnings, name_warnings, unread_classes
from frostline.data.notices import noticed
from frostline.data.part_names import GivenPart, parts_of
from frostline.data.preprocess import Preprocess
from frostline.data.raw import RawImages, arrange

Kind = Literal["class-folders", "split-folders", "arrays", "table", "dataset"]

TABLES = "Tables end with .csv, .tsv, .jsonl, .json or .parquet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image that was found: `id` is its path below the data folder with `/`, or its row as text."""

    id: str
    source: Source | None  # None where the listing has `arrays`
    class_name: str
    part: GivenPart | None
    group: str | None

    @property
    def path(self) -> Path | None:
        """The image's file, where it has one."""
        if isinstance(self.source, Path):
            return self.source
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the data holds; `ignored` names files and folders that don't take part (a folder ends with `/`).

    `warnings` are what was noticed while it was listed. `arrays` are the rows' images where they came as arrays: the
    sources of rows are then not set. `texts` are the rows' texts; where both are set, Python handed over strings that
    are paths of images to a network for images and texts to one for texts. `unread_classes` are class folders that hold
    images, but none of a format that is read, or that can't be looked into, with the reason in words.
    """

    root: Path
    kind: Kind
    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    arrays: RawImages | None = None
    texts: tuple[str, ...] | None = None
    unread_classes: Mapping[str, str] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What the rows are."""
        if self.texts is not None and self.arrays is None:
            return "texts"
        return "images"

    def sources(self, preprocess: Preprocess) -> list[Source]:
        """Where the image of each row comes from. Raises DataError for arrays that don't fit the network."""
        if self.arrays is not None:
            return [*arrange(self.arrays, preprocess, "image")]
        return [row.source for row in self.rows if row.source is not None]


def scan(path: Path) -> Listing:
    """All images below `path`, sorted by id; nested images belong to the class folder above them.

    Hidden files and files that are no images are ignored and listed, each sort with a warning; links are followed as
    :func:`frostline.data.folder_tree.read_tree` says. Raises DataError for a missing path, a file, no images, no class
    folders, a layout that can be read two ways, or as many links that leave the data as images in it.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", LAYOUT)
    if not path.is_dir():
        hint = f"{LAYOUT} {TABLES}"
        if path.name.lower().endswith(ARCHIVES):
            hint = "Unpack the archive and give its folder."
        raise DataError(f"{path} is a file, but a folder of images was expected.", hint)
    tree = read_tree(path)
    check_links(path, tree)
    if tree.empty:
        raise DataError(f"{path} holds no images{_found_instead(tree)}.", table_hint(path, tree) or LAYOUT)
    check_layout(path, tree)
    parts = split_folders(path, tree)
    kind: Kind = "class-folders"
    if parts:
        kind = "split-folders"
        rows = tuple(_rows_of_folders(path, parts))
    elif parts_below_classes(tree):
        kind = "split-folders"
        rows = tuple(_rows_below_classes(path, tree))
    else:
        rows = tuple(_class_rows(path, tree, None))
    used = {row.id for row in rows}
    nested = _nested(tree) if kind == "class-folders" else ()
    unused = [i for i in tree.all_images() if i not in used]
    ignored = [*(item.name for item in tree.all_ignored()), *unused]
    return Listing(
        root=path,
        kind=kind,
        rows=tuple(sorted(rows, key=lambda r: r.id)),
        ignored=tuple(sorted(ignored)),
        warnings=(*ignored_warnings(path, tree, unused), *name_warnings(sorted(used)), *nested),
        unread_classes=unread_classes(path, tree, parts.values()),
    )


def _rows_of_folders(path: Path, parts: dict[GivenPart, FolderTree]) -> Iterator[Row]:
    for part, tree in parts.items():
        yield from _class_rows(path, tree, part)


def _rows_below_classes(path: Path, tree: FolderTree) -> Iterator[Row]:
    """The rows of CLASS/PART/images."""
    for folder in tree.classes:
        meaning = parts_of(f.name for f in folder.classes)
        for below in folder.classes:
            for name in below.all_images() if below.name in meaning else ():
                part = meaning[below.name]
                yield Row(id=name, source=path / name, class_name=folder.name, part=part, group=None)


def _nested(tree: FolderTree) -> tuple[DataWarning, ...]:
    """A warning where class folders hold further folders of images."""
    handled = "images belong to the class of the first level, whatever the folders below it are called"
    return noticed("folders-below-classes", folders_below_classes(tree), handled)


def _class_rows(path: Path, tree: FolderTree, part: GivenPart | None) -> Iterator[Row]:
    for folder in tree.classes:
        for name in folder.all_images():
            yield Row(id=name, source=path / name, class_name=folder.name, part=part, group=None)


def _found_instead(tree: FolderTree) -> str:
    ignored = [item.name for item in tree.all_ignored()]
    formats = unread_formats(ignored)
    if formats:
        return f" that can be read (found {formats_in_words(formats)})"
    nameless = [name for name in ignored if not name.endswith("/") and not ending(name)]
    if nameless:
        return f" (found {len(nameless)} files without an ending: images are known by .jpg, .png and the like)"
    endings = _endings(ignored)
    if endings:
        return f" (found {', '.join(endings)} files)"
    return ""


def _endings(names: Iterable[str]) -> list[str]:
    counts = Counter(os.path.splitext(n)[1].lower() for n in names if not n.endswith("/"))
    return [ending for ending, _ in counts.most_common(3) if ending]
