"""Writing files so that a reader sees the old content or the new, never half of it; and JSON that others wrote."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frostline.base.errors import BundleError, FrostlineError

LARGEST_TEXT = 1 << 28  # bytes; the record of 10,000 classes has some 3 million


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write beside the target, then rename. `durable` waits for the disk, so the file also survives a power cut.

    Raises OSError with the path as its `filename`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            name.replace(path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # not the temporary name, or none


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    write_atomic(path, json_text(value).encode(), durable=durable)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Read JSON of anyone's: raises JSONDecodeError or UnicodeDecodeError, also where values lie in each other too
    deeply or a number has thousands of digits. `pairs` makes the objects."""
    words = text if isinstance(text, str) else text.decode()
    try:
        return json.loads(words, object_pairs_hook=pairs)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("values lie in each other too deeply", words, 0) from error
    except ValueError as error:
        if "int_max_str_digits" not in str(error):  # of `pairs`
            raise
        raise json.JSONDecodeError("a number has too many digits", words, 0) from error


def read_regular(path: Path) -> bytes:
    """Return the bytes of a file in a folder that may be anyone's. Raises OSError as reading does; BundleError for what
    is no plain file (a link to a device or a pipe would never end) and for one larger than LARGEST_TEXT."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"{path} is no plain file.", "Put back the file that frostline wrote.")
    if found.st_size > LARGEST_TEXT:
        raise BundleError(f"{path} has {found.st_size:,} bytes, which no record has.", "Put back what frostline wrote.")
    return path.read_bytes()


def cache_folder() -> Path:
    """Return the cache folder: FROSTLINE_CACHE, or `frostline` in XDG_CACHE_HOME, or `frostline` in ~/.cache.

    Raises FrostlineError where none of them is known.
    """
    folder = os.environ.get("FROSTLINE_CACHE")
    if folder:
        return Path(folder)
    folder = os.environ.get("XDG_CACHE_HOME")
    if folder:
        return Path(folder) / "frostline"
    try:
        return Path.home() / ".cache" / "frostline"
    except RuntimeError as error:
        raise FrostlineError(
            "There is no home folder for frostline's cache.", "Set FROSTLINE_CACHE to a folder of yours."
        ) from error
