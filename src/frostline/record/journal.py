"""The journal of a run: events to the listener and to log.jsonl, and the seconds of each phase."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from frostline.base.events import Emit, Event, PhaseEvent
from frostline.base.memory import anonymous_mb, give_back_memory
from frostline.bundle.runfolder import RunFolder


@dataclass
class Journal:
    """Lives as long as a run. Events before the folder exists are kept and written once it does."""

    listener: Emit
    phases: list[tuple[str, float]] = field(default_factory=list)
    peak_anonymous_mb: float = 0.0  # at any event so far: the allocator keeps what it has, so little comes between
    started: float = field(default_factory=time.perf_counter)
    _folder: RunFolder | None = None
    _early: list[dict[str, Any]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.listener(event)
        self.peak_anonymous_mb = max(self.peak_anonymous_mb, anonymous_mb())
        note = {"seconds": round(time.perf_counter() - self.started, 3), **asdict(event)}
        if self._folder:
            self._folder.log(note)
        else:
            self._early.append(note)

    def attach(self, folder: RunFolder) -> None:
        """Write the log to this folder from now on, and name the folder to the listener."""
        self._folder = folder
        for note in self._early:
            folder.log(note)
        self._early.clear()
        self.emit(Event(kind="note", text=f"writing {folder.path}", data={"run": str(folder.path)}))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the pipeline; the memory that it no longer needs is given back at its end."""
        begun = time.perf_counter()
        self.emit(PhaseEvent(kind="phase", text=name, data={"name": name, "state": "begin", "seconds": 0.0}))
        yield
        seconds = time.perf_counter() - begun
        self.phases.append((name, seconds))
        self.emit(
            PhaseEvent(kind="phase", text=name, data={"name": name, "state": "end", "seconds": round(seconds, 3)})
        )
        give_back_memory()
