"""The folders below a data folder: files that may be images, and what takes no part, such as links that lead astray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frostline.base.errors import DataError
from frostline.data.formats import is_image

PROJECTS = (".git", ".dvc", ".datalad")  # what marks the folder of a project: its own store of files lies below it
# Folders and files that systems and their programs put among people's files.
SYSTEM = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"})
SYSTEM_FILES = frozenset("thumbs.db ehthumbs.db desktop.ini .ds_store icon\r .directory .picasa.ini".split(" "))
FORK = "._"  # with which macOS names what it keeps of a file on other systems
DEEPEST = 50  # levels of folders; far fewer than Python's own limit
Why = Literal["hidden", "system", "name", "special", "other", "closed", "empty", "deep", "out", "circle"]
# What takes no part for a reason that only the user can mend.
HINTS: dict[Why, str] = {
    "out": "Copy the folder with its links resolved (cp -rL DATA COPY) and give the copy.",
    "circle": "Remove the link.",
    "closed": "Give a folder that you may read.",
}


@dataclass(frozen=True, slots=True)
class Ignored:
    """What takes no part: its id (a folder's ends with `/`), the kind of reason, and of some the reason in words."""

    name: str
    why: Why
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FolderTree:
    """One folder: its files that may be images, its folders that may be classes, and the rest; ids, not names."""

    name: str
    images: tuple[str, ...]
    folders: tuple[FolderTree, ...]
    ignored: tuple[Ignored, ...]

    def all_images(self) -> Iterator[str]:
        yield from self.images
        for folder in self.folders:
            yield from folder.all_images()

    def all_ignored(self) -> Iterator[Ignored]:
        yield from self.ignored
        for folder in self.folders:
            yield from folder.all_ignored()

    @property
    def empty(self) -> bool:
        return next(self.all_images(), None) is None

    @property
    def classes(self) -> tuple[FolderTree, ...]:
        return tuple(f for f in self.folders if not f.empty)


def read_tree(path: Path, *, strict: bool = False) -> FolderTree:
    """The tree of a data folder. Links are followed below `path`, and below the project (git, DVC) that holds it.

    A link that leads elsewhere, or to a folder that holds it, is ignored with its reason, and so is a folder that can't
    be opened; `strict` refuses them. A link to a file that isn't there counts as an image that can't be read. Raises
    DataError where the data folder itself can't be opened.
    """
    walk = _Walk(path, _project(path.resolve()))
    tree = _read_tree(path, walk, "", ())
    closed = next((i for i in tree.ignored if i.name == "/"), None)
    if closed is not None:
        raise DataError(f"{path} {closed.reason}.", HINTS["closed"])
    left_out = next((i for i in tree.all_ignored() if i.why in HINTS), None)
    if strict and left_out is not None:
        raise refused(path, left_out)
    return tree


def refused(path: Path, item: Ignored) -> DataError:
    """The error for a link that can't be followed, or a folder that can't be opened."""
    return DataError(f"{path / item.name} {item.reason}.", HINTS[item.why])


def shown_name(name: str) -> str:
    """A file's name as text that can be written, whatever its bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where links may lead: below `allowed`, which is the data folder or the project around it.

    `linked` are the folders that were read by a link within a folder that was itself reached by one: each is read so
    once, as folders full of links to each other would else be read in every order.
    """

    data: Path
    allowed: Path
    linked: set[Path] = field(default_factory=set)

    def target(self, entry: os.DirEntry[str], shown: str) -> Path | Ignored | None:
        """Where a link leads; None for a link to nothing."""
        try:
            target = Path(entry.path).resolve()
        except (OSError, RuntimeError):  # RuntimeError: links that name each other in a circle
            return Ignored(shown, "circle", "is a link that leads to itself")
        if not os.path.exists(target):
            return None
        if not target.is_relative_to(self.allowed):
            where = f"{shown_name(str(target))}, which lies outside {shown_name(str(self.allowed))}"
            return Ignored(shown, "out", f"is a link to {where}")
        return target


def _project(folder: Path) -> Path:
    """The nearest folder at or above that is a project's; the folder itself where there is none."""
    for above in (folder, *folder.parents[:-1]):  # the last is the root of the file system
        if any(os.path.exists(above / mark) for mark in PROJECTS):
            return above
    return folder


def _read_tree(folder: Path, walk: _Walk, prefix: str, above: tuple[Path, ...], *, by_link: bool = False) -> FolderTree:
    images = []
    folders = []
    ignored = []
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        reason = f"can't be opened ({error.strerror or error})"
        return FolderTree(_folder_name(prefix), (), (), (Ignored(prefix or "/", "closed", reason),))
    above = (*above, folder.resolve())
    for entry in entries:
        name = prefix + entry.name
        kind = _kind_of(entry, name, walk, above, by_link)
        if kind == "folder":
            linked = by_link or entry.is_symlink()
            folders.append(_read_tree(folder / entry.name, walk, name + "/", above, by_link=linked))
        elif kind == "image":
            images.append(name)
        elif isinstance(kind, Ignored):
            ignored.append(kind)
    if prefix and not entries:
        ignored.append(Ignored(prefix, "empty"))
    return FolderTree(_folder_name(prefix), tuple(images), tuple(folders), tuple(ignored))


def _kind_of(
    entry: os.DirEntry[str], name: str, walk: _Walk, above: tuple[Path, ...], by_link: bool
) -> Literal["folder", "image"] | Ignored:
    """What an entry of a folder is; `above` are the folders that hold it, resolved."""
    shown = shown_name(name) + ("/" if entry.is_dir(follow_symlinks=False) else "")
    why = _by_name(entry.name)
    if why is not None:
        return Ignored(shown, why)
    if entry.is_symlink():
        return _kind_of_link(entry, name, walk, above, by_link)
    if entry.is_dir():
        return _deep_or_folder(shown, above)
    if not entry.is_file():
        return Ignored(shown, "special")
    return "image" if is_image(entry.name) else Ignored(shown, "other")


def _by_name(name: str) -> Why | None:
    """Why a file or folder of that name is passed over, whatever it holds."""
    if any("\ud800" <= c <= "\udfff" for c in name):  # lone bytes, which can't be written into a record
        return "name"
    if name in SYSTEM or name.casefold() in SYSTEM_FILES or name.startswith(FORK):
        return "system"
    if name.startswith("."):
        return "hidden"
    return None


def _kind_of_link(
    entry: os.DirEntry[str], name: str, walk: _Walk, above: tuple[Path, ...], by_link: bool
) -> Literal["folder", "image"] | Ignored:
    is_folder = os.path.isdir(entry.path)
    shown = f"{name}/" if is_folder else name
    target = walk.target(entry, shown)
    if isinstance(target, Ignored):
        return target
    if target is not None and is_folder:
        if target in above:
            return Ignored(shown, "circle", f"is a link to {target}, a folder that holds it")
        if by_link and target in walk.linked:
            return Ignored(shown, "circle", f"is a link to {target}, which other links lead to")
        if by_link:
            walk.linked.add(target)
        return _deep_or_folder(shown, above)
    return "image" if is_image(entry.name) else Ignored(shown, "other")


def _deep_or_folder(shown: str, above: tuple[Path, ...]) -> Literal["folder"] | Ignored:
    if len(above) > DEEPEST:
        return Ignored(shown, "deep")
    return "folder"


def _folder_name(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]
