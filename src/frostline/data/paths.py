"""Paths of images in a table: in another spelling than the files have, or what was meant where none is found."""

from __future__ import annotations

import os  # its questions about a path say no where a name is too long, at which those of pathlib fail
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Literal

from frostline.data.scan import Listing

BACKSLASH = "\\"
FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")  # macOS wrote names with accents apart, others don't


def as_found(held: str, folder: Path) -> str:
    """A relative path with `/` for `\\`, or in another Unicode form, where it is found only so; else as it is."""
    if (held.isascii() and BACKSLASH not in held) or os.path.exists(folder / held):
        return held
    slashed = held.replace(BACKSLASH, "/")
    spellings = (slashed, *(unicodedata.normalize(form, path) for path in (held, slashed) for form in FORMS))
    return next((path for path in spellings if os.path.exists(folder / path)), held)


def path_hint(listing: Listing, row: int) -> str:
    """Where the file of a table's row lies after all, and what to change; empty where its file is there.

    Looked for, in this order: the path without its first folders, below a folder beside the table, and with an ending.
    """
    path = listing.rows[row].path
    if listing.kind != "table" or path is None or os.path.exists(path):
        return ""
    folder = listing.root.parent
    parts = _parts_of(path, folder)
    for start in range(1, len(parts)):
        if os.path.isfile(folder.joinpath(*parts[start:])):
            return f"{'/'.join(parts[start:])} is there: leave {'/'.join(parts[:start])}/ out of the paths."
    beside = next((d for d in _folders(folder) if os.path.isfile(d.joinpath(*parts))), None)
    if beside is not None:
        return f"{beside.name}/{'/'.join(parts)} is there: write {beside.name}/ before the paths."
    near = folder.joinpath(*parts)
    ended = next((f for f in _files(near.parent) if f.stem == near.name), None)
    if ended is not None:
        return f"{ended.name} is there: write the endings of the files."
    return f"Paths are relative to the folder of the table, {folder}."


def _parts_of(path: Path, folder: Path) -> tuple[str, ...]:
    resolved = folder.resolve()
    if path.is_relative_to(resolved):
        path = path.relative_to(resolved)
    return tuple(p for p in PurePosixPath(str(path).replace(BACKSLASH, "/")).parts if p != "/")


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir())


def _files(folder: Path) -> list[Path]:
    if not os.path.isdir(folder):
        return []
    return sorted(p for p in folder.iterdir() if p.is_file())
