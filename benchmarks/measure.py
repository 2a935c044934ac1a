"""A command as a whole process: wall time, CPU time, peak memory of its process tree, and the RESULT line it prints."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLED_EVERY = 0.2  # seconds
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run. Memory in MB is the peak of the sum over the process tree, sampled; shared pages count once."""

    wall: float
    cpu: float
    rss_mb: float
    anonymous_mb: float
    result: dict[str, Any]


class CommandError(Exception):
    """A measured command ended with an error; the message holds the end of what it printed."""


def measure(command: Sequence[str], *, environment: dict[str, str] | None = None) -> Measured:
    """Run a command and wait for it. Raises CommandError on another exit code than 0."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment(environment or {})
        )
        watch = Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        log.seek(0)
        text = log.read()
    if process.returncode:
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}:\n{text[-1500:]}")
    return Measured(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        rss_mb=watch.rss / 1024,
        anonymous_mb=watch.anonymous / 1024,
        result=_result(text),
    )


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """The user's environment without thread settings and the like: every tool runs with its own defaults."""
    tuned = ("OMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "KMP_")
    return {k: v for k, v in os.environ.items() if not k.startswith(tuned)} | extra


def _result(text: str) -> dict[str, Any]:
    lines = [line.removeprefix("RESULT ") for line in text.splitlines() if line.startswith("RESULT ")]
    return dict(json.loads(lines[-1])) if lines else {}


class Watch(threading.Thread):
    """Samples the memory of a process and all its descendants until it is told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.rss = 0  # kB, peak
        self.anonymous = 0  # kB, peak
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stopped.wait(SAMPLED_EVERY):
            totals = [memory(pid) for pid in tree(self.pid)]
            self.rss = max(self.rss, sum(rss for rss, _ in totals))
            self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in totals))

    def stop(self) -> None:
        """End sampling and wait for the last one."""
        self._stopped.set()
        self.join()


def memory(pid: int) -> tuple[int, int]:
    """Resident and anonymous kB of a process; pages shared with forked loader workers are divided among them."""
    try:
        rows = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    values = {row.split(":")[0]: int(row.split()[1]) for row in rows if ":" in row}
    return values.get("Pss", 0), values.get("Pss_Anon", 0)


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found
