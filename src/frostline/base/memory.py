"""How much memory this process holds."""

from __future__ import annotations

import contextlib
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
