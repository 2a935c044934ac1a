"""Zip archives, HDF5 and safetensors files from others, looked through before a library unpacks them.

A few megabytes can hold many gigabytes of zeros, or one piece named over and over: what a file claims to hold is
compared with its size on the disk. Nothing here is ever unpacked to names that a file chooses.
"""

from __future__ import annotations

import contextlib
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from frostline.base.errors import ModelError

MOST_TIMES = 20  # that a file may unpack to its own size; weights shrink by a tenth at the best
FREE_BYTES = 1 << 26  # which any file may unpack to
MOST_ENTRIES = 200_000  # a large network has some thousands of tensors
MOST_HEADER = 1 << 24  # bytes of a safetensors header: about 100 a tensor
HINT = "Save the weights again, uncompressed: torch.save, safetensors.torch.save_file or model.save."


def check_unpacked(path: Path, unpacked: int, *, called: Path | None = None) -> None:
    """Raise ModelError for a file that claims to hold far more bytes than it has itself; `called` is its name to the
    user."""
    if unpacked > max(FREE_BYTES, MOST_TIMES * path.stat().st_size):
        raise ModelError(
            f"{called or path} has {path.stat().st_size:,} bytes and would unpack to {unpacked:,}, so it isn't read.",
            HINT,
        )


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose entries are what they claim to be.

    Raises zipfile.BadZipFile and OSError as zipfile does; ModelError for an archive that unpacks to far more than its
    size, whose names are absolute, lead out of it or come twice, or that holds links or encrypted entries.
    """
    with zipfile.ZipFile(path) as archive:
        check_entries(path, archive.infolist())
        yield archive


def check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Raise ModelError as :func:`open_archive` does."""
    if len(entries) > MOST_ENTRIES:
        raise ModelError(f"{path} holds {len(entries):,} files, which no file of weights has.", HINT)
    seen: set[str] = set()
    for entry in entries:
        fault = _fault_of(entry)
        if entry.filename in seen:
            fault = "twice"
        if fault:
            raise ModelError(f"{path} holds {entry.filename[:80]!r} {fault}, so it isn't read.", HINT)
        seen.add(entry.filename)
    check_unpacked(path, sum(entry.file_size for entry in entries))


def _fault_of(entry: zipfile.ZipInfo) -> str:
    """Return what is wrong with an entry, in words; nothing where it is a plain file in the archive."""
    name = PurePosixPath(entry.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename:
        return "as a name that leads out of it"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "as a link"
    if entry.flag_bits & 1:
        return "encrypted"
    return ""


def check_header(path: Path) -> None:
    """Raise ModelError for a safetensors file whose header is longer than that of any network."""
    if not path.is_file():
        raise ModelError(f"{path} is no plain file.", "Give a file of weights.")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if MOST_HEADER < length <= path.stat().st_size:  # a longer one than the file is the library's to refuse
        raise ModelError(
            f"{path} has a header of {length:,} bytes, which no network's safetensors file has.", "Save it again."
        )
