"""What a data folder holds beside the images that take part: sorted by reason, counted, with examples."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from frostline.base.records import DataWarning
from frostline.data.folder_tree import FolderTree, Ignored, refused
from frostline.data.formats import (
    ARCHIVES,
    HEAD,
    READ,
    UNREAD,
    begins_as_image,
    ending,
    formats_in_words,
    unread_formats,
)
from frostline.data.notices import noticed

# What lies beside images as a rule; files of other endings are looked at, as they may be images.
BESIDE = frozenset(".txt .xml .json .csv .tsv .md .yaml .yml .html .py .log .pdf .mp4 .mov .avi .parquet".split())
# Line breaks and other characters that can't be seen or turn the text around; blanks where a name begins or ends.
ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|^\s|\s(\.\w+)?$")
# How each reason is called in a warning, and what is done.
HANDLED = {
    "hidden": ("hidden", "not read"),
    "system": ("system-files", "not read: systems and their programs leave them"),
    "name": ("names-no-text", "not read: their names are no valid text; rename them"),
    "special": ("special-files", "not read: pipes, sockets or devices"),
    "other": ("ignored", "not read: no images by their names"),
    "image": ("unnamed-images", "not read, though they begin as images do: give them the ending of an image"),
    "format": ("unread-formats", f"not read: images of other formats; {READ}"),
    "archive": ("archives", "not read; unpack them if they hold images of yours"),
    "closed": ("closed-folders", "not read: they can't be opened"),
    "folder": ("empty-folders", "passed over: folders without images"),
    "deep": ("deep-folders", "not read: below too many folders"),
    "out": ("links-out", "not followed: they leave the data; copy the folder with cp -rL if they belong to it"),
    "circle": ("links-in-circles", "not followed"),
    "outside": ("outside-classes", "not read: images that lie in no folder of a class"),
}


def ignored_warnings(root: Path, tree: FolderTree, unused: Sequence[str]) -> tuple[DataWarning, ...]:
    """One warning for each reason; `unused` are images that lie in no folder of a class."""
    found: dict[str, list[str]] = {reason: [] for reason in HANDLED}
    for item in tree.all_ignored():
        shown = item.name
        if item.reason:
            shown = f"{item.name} {item.reason.partition(', which lies')[0]}"
        found[_reason(root, item)].append(shown)
    bare = tuple(_without_images(root, tree))
    found["folder"] = [*bare, *(name for name in found["folder"] if not name.startswith(bare))]
    found["outside"] = list(unused)
    warnings: list[DataWarning] = []
    for reason, (kind, handled) in HANDLED.items():
        warnings.extend(noticed(kind, sorted(found[reason]), handled))
    return tuple(warnings)


def name_warnings(names: Iterable[str]) -> tuple[DataWarning, ...]:
    """Warnings of images whose own names trip other programs up: they are read all the same."""
    odd = []
    by_look: dict[tuple[str, str], list[str]] = {}
    for name in names:
        folder, _, own = name.rpartition("/")
        if ODD.search(own):
            odd.append(ascii(name))
        by_look.setdefault((folder, unicodedata.normalize("NFC", own).casefold()), []).append(name)
    alike = [" and ".join(map(ascii, twins)) for twins in by_look.values() if len(twins) > 1]
    return (
        *noticed("odd-names", odd, "read; other programs may stumble over blanks at the ends and what can't be seen"),
        *noticed("names-alike", alike, "read; systems that don't tell case or Unicode forms apart keep one of each"),
    )


def unread_classes(root: Path, tree: FolderTree, parts: Iterable[FolderTree]) -> dict[str, str]:
    """Folders of classes that hold images of which none is read, or that can't be looked into, and why."""
    found: dict[str, str] = {}
    for part in list(parts) or [tree]:
        for item in part.ignored:
            if item.why in ("out", "name") and item.name.endswith("/"):
                found[item.name.rstrip("/").rpartition("/")[2]] = f"it {item.reason or 'has a name that is no text'}"
        for folder in part.folders:
            why = _why_unread(root, folder)
            if folder.empty and why:
                found[folder.name] = why
    return found


def _why_unread(root: Path, folder: FolderTree) -> str:
    items = list(folder.all_ignored())
    formats = unread_formats(item.name for item in items)
    if formats:
        return f"it holds {formats_in_words(formats)}; {READ}"
    for item in items:
        if item.why in ("out", "closed"):
            return f"{item.name} {item.reason}"
        if item.why == "name":
            return f"the name of {item.name} is no text"
        if _reason(root, item) == "image":
            return f"{item.name} has no ending of images"
    return ""


def _reason(root: Path, item: Ignored) -> str:
    """The key of HANDLED for what takes no part."""
    if item.why == "empty":
        return "folder"
    if item.why != "other":
        return item.why
    kind = ending(item.name)
    if kind in UNREAD:
        return "format"
    if item.name.lower().endswith(ARCHIVES):
        return "archive"
    if kind not in BESIDE and begins_as_image(_head(root / item.name)):
        return "image"
    return "other"


def _head(path: Path) -> bytes:
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(HEAD)
    except OSError:
        return b""
    return b""


def check_links(root: Path, tree: FolderTree) -> None:
    """Raise DataError where at least as many links leave the data as images lie in it: they are then no strays."""
    leaving = [item for item in tree.all_ignored() if item.why == "out"]
    if leaving and len(leaving) >= sum(1 for _ in tree.all_images()):
        raise refused(root, leaving[0])


def _without_images(root: Path, tree: FolderTree) -> Iterator[str]:
    """Folders of the first levels (of classes and parts) without anything that may be an image, by their ids."""
    for folder in tree.folders:
        if not folder.empty:
            yield from (f"{folder.name}/{f.name}/" for f in folder.folders if f.empty and not _why_unread(root, f))
        elif not _why_unread(root, folder):
            yield f"{folder.name}/"
