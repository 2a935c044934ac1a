"""How much memory this process holds."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_rss_mb() -> float:
    """Return the largest memory that this process has held, mapped files included, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 << 20 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return peak / unit


def anonymous_mb() -> float:
    """Return the memory that this process holds now and that no file backs, in MiB; 0.0 where Linux doesn't say.

    Pages of mapped files, such as the store's, can be given back by the system at any time; these can't.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def give_back_memory() -> None:
    """Give freed memory that the allocator keeps back to the system, where it is glibc's.

    Keeping it makes the passes within one part of a job fast (docs/decisions/0003), but the next part needs memory of
    other sizes, so what is kept adds up from part to part.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
