"""Paths of images in a table: as Windows writes them, and what was probably meant where nothing is found."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from frostline.data.scan import Listing

BACKSLASH = "\\"


def with_slashes(held: str, folder: Path) -> str:
    """A relative path with `/` where it was written with `\\` and is found only so; else as it is."""
    if BACKSLASH not in held or (folder / held).exists():
        return held
    slashed = held.replace(BACKSLASH, "/")
    if (folder / slashed).exists():
        return slashed
    return held


def path_hint(listing: Listing, row: int) -> str:
    """Where the file of a table's row lies after all, and what to change; empty where its file is there.

    Looked for, in this order: the path without its first folders, below a folder beside the table, and with an ending.
    """
    path = listing.rows[row].path
    if listing.kind != "table" or path is None or path.exists():
        return ""
    folder = listing.root.parent
    parts = _parts_of(path, folder)
    for start in range(1, len(parts)):
        if folder.joinpath(*parts[start:]).is_file():
            return f"{'/'.join(parts[start:])} is there: leave {'/'.join(parts[:start])}/ out of the paths."
    beside = next((d for d in _folders(folder) if d.joinpath(*parts).is_file()), None)
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
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file())
