"""What a store holds, how large it may be, and what goes when: the least recently used entries first.

Only files that a store writes are looked at, by their names (`AB/KEY.bin` and `AB/KEY.json`, where KEY is a hash that
begins with AB); links are neither followed nor removed. An entry may go while a run reads it: mapped pages stay until
their reader ends, and what is wanted again is computed again, with the same bits.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from frostline.base.errors import FrostlineError
from frostline.base.files import cache_folder, parse_json, write_json

DEFAULT_CAP = 10 << 30  # bytes
LIMIT = "limit.json"  # in the store's folder: what `frostline cache --limit` has set
KINDS = ("views", "activations", "forecasts", "other")
DAY = 86_400  # seconds
_FOLDER = re.compile(r"[0-9a-f]{2}")
_KEY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.([0-9a-f]{8}|[0-9a-f]{64}\.json)\.[a-z0-9_]{8}")  # names of temporary files


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """A stored array: its note and its data, and when it was used last (seconds since 1970)."""

    note: Path
    size: int  # bytes, of both files
    used: float

    @property
    def key(self) -> str:
        return self.note.stem

    @property
    def kind(self) -> str:
        """What it is, as its note says; 'other' where the note says nothing that is known."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            kind = parse_json(self.note.read_text(encoding="utf-8")).get("kind")
            if kind in KINDS:
                return str(kind)
        return "other"

    def remove(self) -> bool:
        """Remove the note, without which there is no entry, and then the data; False where that isn't allowed."""
        try:
            self.note.unlink(missing_ok=True)
            self.note.with_suffix(".bin").unlink(missing_ok=True)
        except OSError:
            return False
        return True


def store_folder(setting: str | Path | None) -> Path:
    """Return the folder of the store that `--store` names; by default it lies in the user's cache folder."""
    return Path(setting) if setting else cache_folder() / "store"


def entries(root: Path) -> list[StoredEntry]:
    """Return the entries of a store, the least recently used first."""
    found = []
    for file, stat in _own_files(root):
        if file.suffix == ".json" and _KEY.fullmatch(file.stem):
            size = stat.st_size
            with contextlib.suppress(OSError):
                size += file.with_suffix(".bin").lstat().st_size
            found.append(StoredEntry(note=file, size=size, used=stat.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.key))


def unfinished(root: Path) -> list[tuple[Path, os.stat_result]]:
    """Return what writers are at, or were when they were killed: temporary files, and data without a note."""
    return [
        (file, stat)
        for file, stat in _own_files(root)
        if _UNFINISHED.fullmatch(file.name)
        or (file.suffix == ".bin" and _KEY.fullmatch(file.stem) and not file.with_suffix(".json").exists())
    ]


def _own_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files of a store that may be its own; what is gone by now isn't there."""
    try:
        folders = [f for f in os.scandir(root) if _FOLDER.fullmatch(f.name) and f.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as found:
            for file in found:
                belongs = file.name.lstrip(".").startswith(folder.name)
                if belongs and file.is_file(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        yield Path(file.path), file.stat(follow_symlinks=False)


def prune(root: Path, cap: int, keep: Collection[str] = ()) -> int:
    """Remove the least recently used entries, but none of `keep`, until the store is under its cap; and what killed
    writers left behind a day ago or earlier. Return the bytes that are left."""
    _sweep(root)
    found = entries(root)
    used = sum(entry.size for entry in found)
    for entry in found:
        if used <= cap:
            break
        if entry.key not in keep and entry.remove():
            used -= entry.size
    return used


def _sweep(root: Path) -> None:
    old = time.time() - DAY
    for file, stat in unfinished(root):
        if stat.st_mtime < old:
            with contextlib.suppress(OSError):
                file.unlink()


def clear(root: Path, older_than: float | None = None) -> list[StoredEntry]:
    """Remove all entries, or those that nobody has used for so many seconds; return those that went."""
    _sweep(root)
    limit = float("inf")
    if older_than is not None:
        limit = time.time() - older_than
    return [entry for entry in entries(root) if entry.used <= limit and entry.remove()]


def read_cap(root: Path) -> int:
    """Return the bytes that a store may take: what `frostline cache --limit` has set, or 10 GB."""
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
        return int(parse_json((root / LIMIT).read_text(encoding="utf-8"))["bytes"])
    return DEFAULT_CAP


def write_cap(root: Path, cap: int) -> None:
    """Set the bytes that a store may take from now on, and make it so. Raises FrostlineError."""
    try:
        write_json(root / LIMIT, {"bytes": cap})
    except OSError as error:
        raise FrostlineError(
            f"The store folder {root} can't be written ({error.strerror}).", "Give another folder with --store DIR."
        ) from error
    prune(root, cap)


def mark_used(note: Path) -> None:
    """Note that an entry was used now; where its time can't be set (another user's file), by writing it again."""
    try:
        os.utime(note)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            write_json(note, parse_json(note.read_text(encoding="utf-8")), durable=False)


def free_bytes(root: Path) -> int:
    """Return the free space of the disk that a folder lies on, or will lie on."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
