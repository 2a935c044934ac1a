"""Finds the images of a data folder: class folders (DATA/<class>/*) or split folders (DATA/train/<class>/* ...)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frostline.base.errors import DataError
from frostline.base.records import DataWarning
from frostline.data.decode import Source
from frostline.data.preprocess import Preprocess
from frostline.data.raw import RawImages, arrange

GivenPart = Literal["train", "val", "test"]
Kind = Literal["class-folders", "split-folders", "arrays", "table", "dataset"]

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
PARTS: dict[str, GivenPart] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
LAYOUT = "Expected DATA/<class>/<images>, or DATA/train/<class>/<images> with val/ or test/ beside it."
TABLES = "Tables end with .csv, .tsv, .jsonl or .parquet."


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
    are paths of images to a network for images and texts to one for texts.
    """

    root: Path
    kind: Kind
    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    arrays: RawImages | None = None
    texts: tuple[str, ...] | None = None

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


@dataclass(frozen=True, slots=True)
class _FolderTree:
    """One folder: its files that may be images, its folders that may be classes, and the rest, as ids."""

    name: str
    images: tuple[str, ...]
    folders: tuple[_FolderTree, ...]
    ignored: tuple[str, ...]

    def all_images(self) -> Iterator[str]:
        yield from self.images
        for folder in self.folders:
            yield from folder.all_images()

    def all_ignored(self) -> Iterator[str]:
        yield from self.ignored
        for folder in self.folders:
            yield from folder.all_ignored()

    @property
    def empty(self) -> bool:
        return next(self.all_images(), None) is None

    @property
    def classes(self) -> tuple[_FolderTree, ...]:
        return tuple(f for f in self.folders if not f.empty)


def scan(path: Path) -> Listing:
    """All images below `path`, sorted by id; nested images belong to the class folder above them.

    Hidden files, files that are no images, linked folders and links that leave `path` are ignored and listed.
    Raises DataError for a missing path, a file, no images, no class folders, or a layout that can be read two ways.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", LAYOUT)
    if not path.is_dir():
        raise DataError(f"{path} is a file, but a folder of images was expected.", f"{LAYOUT} {TABLES}")
    tree = _read_tree(path, path.resolve(), "")
    if tree.empty:
        raise DataError(f"{path} holds no images{_found_instead(tree)}.", LAYOUT)
    parts = _split_folders(path, tree)
    kind: Kind = "class-folders"
    if parts:
        kind = "split-folders"
    if parts:
        rows = tuple(_rows_of_folders(path, parts))
    else:
        rows = tuple(_class_rows(path, tree, None))
    if not rows:
        raise DataError(f"{path} holds images, but no class folders.", LAYOUT)
    used = {row.id for row in rows}
    ignored = [*tree.all_ignored(), *(i for i in tree.all_images() if i not in used)]
    return Listing(root=path, kind=kind, rows=tuple(sorted(rows, key=lambda r: r.id)), ignored=tuple(sorted(ignored)))


def is_image(name: str) -> bool:
    """Whether a file of that name is taken for an image."""
    return os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")


def _read_tree(folder: Path, root: Path, prefix: str) -> _FolderTree:
    images = []
    folders = []
    ignored = []
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return _FolderTree(_folder_name(prefix), (), (), (prefix or "/",))
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir() and not entry.name.startswith(".") and not entry.is_symlink() and _printable(name):
            folders.append(_read_tree(folder / entry.name, root, name + "/"))
        elif entry.is_dir():
            ignored.append(_shown(name) + "/")
        elif is_image(entry.name) and entry.is_file() and _is_inside(entry, root) and _printable(name):
            images.append(name)
        else:
            ignored.append(_shown(name))
    if prefix and not entries:
        ignored.append(prefix)
    return _FolderTree(_folder_name(prefix), tuple(images), tuple(folders), tuple(ignored))


def _folder_name(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def _is_inside(entry: os.DirEntry[str], root: Path) -> bool:
    """A link that leaves the data folder could read anything of this machine into a record or a model."""
    return not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)


def _printable(name: str) -> bool:
    """File names that are no valid text (lone bytes) can't be written into a record."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _split_folders(path: Path, tree: _FolderTree) -> dict[GivenPart, _FolderTree]:
    """The split folders, or nothing where the folder holds class folders (a class may be called `train`)."""
    parts: dict[GivenPart, _FolderTree] = {}
    for folder in tree.classes:
        part = PARTS.get(folder.name.lower())
        if part in parts:
            raise DataError(
                f"{path} holds both {parts[part].name}/ and {folder.name}/, which mean the same part.",
                "Merge or rename one of them.",
            )
        if part is not None:
            parts[part] = folder
    others = [f.name for f in tree.classes if f.name.lower() not in PARTS]
    if not parts or (others and not any(p.classes for p in parts.values())):
        return {}
    _check_split_folders(path, parts, others)
    return parts


def _check_split_folders(path: Path, parts: dict[GivenPart, _FolderTree], others: list[str]) -> None:
    if "train" not in parts:
        names = " and ".join(f"{p.name}/" for p in parts.values())
        raise DataError(f"{path} holds {names} but no train/ with images.", LAYOUT)
    for folder in parts.values():
        if not folder.classes:
            raise DataError(f"{path / folder.name} holds images, but no class folders.", LAYOUT)
    if others and len(parts) == 1:
        raise DataError(
            f"{path} can be read two ways: train/ holds class folders, but {others[0]!r} stands beside it.",
            "Move the other folders away, or rename train/ if it is a class.",
        )


def _rows_of_folders(path: Path, parts: dict[GivenPart, _FolderTree]) -> Iterator[Row]:
    for part, tree in parts.items():
        yield from _class_rows(path, tree, part)


def _class_rows(path: Path, tree: _FolderTree, part: GivenPart | None) -> Iterator[Row]:
    for folder in tree.classes:
        for name in folder.all_images():
            yield Row(id=name, source=path / name, class_name=folder.name, part=part, group=None)


def _found_instead(tree: _FolderTree) -> str:
    endings = _endings(tree.all_ignored())
    if endings:
        return f" (found {', '.join(endings)} files)"
    return ""


def _endings(names: Iterable[str]) -> list[str]:
    counts = Counter(os.path.splitext(n)[1].lower() for n in names if not n.endswith("/"))
    return [ending for ending, _ in counts.most_common(3) if ending]
