"""The folders below a data folder: files that may be images, the rest, and links, which are followed with care."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frostline.base.errors import DataError
from frostline.data.formats import is_image

PROJECTS = (".git", ".dvc", ".datalad")  # what marks the folder of a project: its own store of files lies below it
# Folders that systems and their programs put among people's files.
SYSTEM = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"})
Kind = Literal["folder", "image", "other"]
COPY = "Copy the folder with its links resolved (cp -rL DATA COPY) and give the copy."


@dataclass(frozen=True, slots=True)
class FolderTree:
    """One folder: its files that may be images, its folders that may be classes, and the rest, as ids."""

    name: str
    images: tuple[str, ...]
    folders: tuple[FolderTree, ...]
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
    def classes(self) -> tuple[FolderTree, ...]:
        return tuple(f for f in self.folders if not f.empty)


def read_tree(path: Path) -> FolderTree:
    """The tree of a data folder. Links are followed below `path`, and below the project (git, DVC) that holds it.

    Raises DataError for a link that leads elsewhere, and for one to a folder that holds it. A link to a file that
    isn't there counts as an image that can't be read.
    """
    return _read_tree(path, _Links(path, _project(path.resolve())), "", ())


def shown_name(name: str) -> str:
    """A file's name as text that can be written, whatever its bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class _Links:
    """Where links may lead: below `allowed`, which is the data folder or the project around it."""

    data: Path
    allowed: Path

    def target(self, entry: os.DirEntry[str], name: str) -> Path | None:
        """Where a link leads; None for a link to nothing. Raises DataError where it leads out, or to itself."""
        shown = self.data / shown_name(name)
        try:
            target = Path(entry.path).resolve()
        except (OSError, RuntimeError):  # RuntimeError: links that name each other in a circle
            raise DataError(f"{shown} is a link that leads to itself.", "Remove it.") from None
        if not target.exists():
            return None
        if not target.is_relative_to(self.allowed):
            raise DataError(f"{shown} is a link to {shown_name(str(target))}, which lies outside {self.allowed}.", COPY)
        return target


def _project(folder: Path) -> Path:
    """The nearest folder at or above that is a project's; the folder itself where there is none."""
    for above in (folder, *folder.parents[:-1]):  # the last is the root of the file system
        if any((above / mark).exists() for mark in PROJECTS):
            return above
    return folder


def _read_tree(folder: Path, links: _Links, prefix: str, above: tuple[Path, ...]) -> FolderTree:
    images = []
    folders = []
    ignored = []
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return FolderTree(_folder_name(prefix), (), (), (prefix or "/",))
    above = (*above, folder.resolve())
    for entry in entries:
        name = prefix + entry.name
        kind = "other"
        if _is_text(name) and not entry.name.startswith(".") and entry.name not in SYSTEM:
            kind = _kind_of_entry(entry, name, links, above)
        if kind == "folder":
            folders.append(_read_tree(folder / entry.name, links, name + "/", above))
        elif kind == "image":
            images.append(name)
        else:
            end = "/" if entry.is_dir(follow_symlinks=False) else ""
            ignored.append(shown_name(name) + end)
    if prefix and not entries:
        ignored.append(prefix)
    return FolderTree(_folder_name(prefix), tuple(images), tuple(folders), tuple(ignored))


def _kind_of_entry(entry: os.DirEntry[str], name: str, links: _Links, above: tuple[Path, ...]) -> Kind:
    """What a file or folder of a usual name is; DataError for a link that can't be followed."""
    if not entry.is_symlink():
        if entry.is_dir():
            return "folder"
        return "image" if is_image(entry.name) and entry.is_file() else "other"
    target = links.target(entry, name)
    if target in above:
        raise DataError(f"{links.data / name} is a link to {target}, a folder that holds it.", "Remove the link.")
    if target is not None and target.is_dir():
        return "folder"
    return "image" if is_image(entry.name) else "other"


def _folder_name(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def _is_text(name: str) -> bool:
    """File names that are no valid text (lone bytes) can't be written into a record."""
    return not any("\ud800" <= c <= "\udfff" for c in name)
