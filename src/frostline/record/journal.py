"""The journal of a run: its log, and the seconds of each phase."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from frostline.base.events import Emit, PhaseEvent
from frostline.base.memory import give_back_memory
from frostline.bundle.runlog import RunLog, logged


@dataclass
class Journal(RunLog):
    """Lives as long as a run."""

    phases: list[tuple[str, float]] = field(default_factory=list)

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


@contextlib.contextmanager
def keep_journal(emit: Emit) -> Iterator[Journal]:
    """Keep the journal of a run; its log ends with how the run ended."""
    journal = Journal(emit)
    with logged(journal):
        yield journal
