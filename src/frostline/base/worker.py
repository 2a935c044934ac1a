"""The worker process of a command, and the page of memory that it shares with the process that watches over it.

A command that computes for long runs in a worker (cli/supervise.py). The worker notes what it is at; where the system
ends it (for want of memory, or for a crash in native code), the next worker learns which piece of work that was. In a
process that nobody watches, such as a notebook, all of this does nothing.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ATTEMPTS = 2  # at a piece of work that a worker died in: the first death may have been meant for something else
_PAGE = 1 << 14  # bytes
_LENGTH = 4  # bytes at the start of the page
_SET_DEATH_SIGNAL = 1  # prctl(2): PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a worker ended: by which signal, at which piece of work, and the most memory that it held, in MiB."""

    signal: int
    held_mb: float
    work: str | None = None
    strategy: str | None = None

    def in_words(self) -> str:
        """`signal 9 (SIGKILL), when it had held up to 3,120 MB`."""
        name = signal.Signals(self.signal).name
        return f"signal {self.signal} ({name}), when it had held up to {self.held_mb:,.0f} MB"


class Board:
    """What the worker is at, in memory that outlives it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _PAGE)

    def write(self, values: Mapping[str, Any]) -> None:
        """Replace what is noted; what doesn't fit on the page isn't."""
        content = json.dumps(values).encode()
        if len(content) > _PAGE - _LENGTH:
            return
        self._page[:_LENGTH] = bytes(_LENGTH)  # a worker that dies on the next line has noted nothing
        self._page[_LENGTH : _LENGTH + len(content)] = content
        self._page[:_LENGTH] = len(content).to_bytes(_LENGTH, "little")

    def read(self) -> dict[str, Any]:
        """Return what was noted last."""
        length = int.from_bytes(self._page[:_LENGTH], "little")
        if not length:
            return {}
        values: dict[str, Any] = json.loads(self._page[_LENGTH : _LENGTH + length])
        return values


@dataclass(frozen=True)
class _Worker:
    """This process, where it is a worker."""

    board: Board
    deaths: Sequence[Death]


_worker: _Worker | None = None  # a fact about the process, like its pid


def become(board: Board, deaths: Sequence[Death]) -> None:
    """Make this process a worker that knows how those before it ended."""
    global _worker
    _worker = _Worker(board, tuple(deaths))


def note(**values: Any) -> None:
    """Add to what is noted; a value of None removes its name."""
    if _worker is None:
        return
    known = {**_worker.board.read(), **values}
    _worker.board.write({name: value for name, value in known.items() if value is not None})


def begun(run: str) -> None:
    """Note the RUN folder that can be resumed from now on; of several, such as a ranking's own and those in it, the
    first."""
    if _worker is not None and "run" not in _worker.board.read():
        note(run=run)


@contextlib.contextmanager
def at_work(work: str, strategy: str) -> Iterator[None]:
    """Note a piece of work while it lasts."""
    note(work=work, strategy=strategy)
    try:
        yield
    finally:
        note(work=None, strategy=None)


def deaths() -> Sequence[Death]:
    """Return how the workers before this one ended."""
    if _worker is None:
        return ()
    return _worker.deaths


def is_deadly(work: str, strategy: str) -> Death | None:
    """Return the last death of those that show that this work can't be done here; None where it may be tried.

    Those are ATTEMPTS deaths in this very work, or in another one of the same strategy.
    """
    if _worker is None:
        return None
    deaths: dict[str | None, list[Death]] = {}
    for death in _worker.deaths:
        if death.work == work or death.strategy == strategy:
            deaths.setdefault(death.work, []).append(death)
    for found in deaths.values():
        if len(found) >= ATTEMPTS:
            return found[-1]
    return None


def die_with(parent: int) -> None:
    """Let the system end this process when its parent, of that pid, ends; at once where that has happened already.

    Only Linux can do that; elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
