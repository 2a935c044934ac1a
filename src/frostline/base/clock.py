"""The clock that a budget of time is counted on."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since `began`, a reading of time.perf_counter."""

    began: float = field(default_factory=time.perf_counter)

    @staticmethod
    def of_process() -> Clock:
        """Return a clock that counts from the start of this process: the time that its user has waited."""
        return Clock(time.perf_counter() - process_age())

    def __call__(self) -> float:
        return time.perf_counter() - self.began


def process_age() -> float:
    """Return the age of this process in seconds, imports included; 0.0 where the system doesn't report it (not Linux).

    Source: proc(5): field 22 of /proc/self/stat is the start in clock ticks since boot.
    """
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        stat = Path("/proc/self/stat").read_text(encoding="utf-8")
        started = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")  # the name may hold spaces
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return 0.0
