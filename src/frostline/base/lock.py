"""A lock on a folder that one process holds until it lets go or ends, in whatever way it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

NAME = "lock"
PATIENCE = 5.0  # seconds for a process that was killed to be gone: large ones take their time
_TAKEN = (errno.EACCES, errno.EAGAIN)

_held: dict[Path, int] = {}  # the open files of the locks that this process holds


def hold(folder: Path, *, patience: float = PATIENCE) -> int | None:
    """Hold the folder's lock, or return the number of the process that has held it for `patience` seconds (0: unknown).

    The same process may hold it again. Where the system has no such locks (Windows, some network disks), none is held.
    The lock is a POSIX record lock on the file `lock` in the folder.
    """
    path = (folder / NAME).resolve()
    if path in _held:
        if _is_at(_held[path], path):
            return None
        release(folder)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + patience
    while not _try(file):
        if time.monotonic() >= deadline:
            return _owner(file)
        time.sleep(0.1)
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    _held[path] = file
    return None


def release(folder: Path) -> None:
    """Let go of the folder's lock, where this process holds it."""
    file = _held.pop((folder / NAME).resolve(), None)
    if file is not None:
        os.close(file)


def _try(file: int) -> bool:
    """Take the lock; False where another process has it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _owner(file: int) -> int:
    """Return the number of the process that holds the lock, and close the file."""
    number = 0
    with contextlib.suppress(ValueError):
        number = int(os.read(file, 32))
    os.close(file)
    return number


def _is_at(file: int, path: Path) -> bool:
    """True where the open file is the one that lies at that path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False
