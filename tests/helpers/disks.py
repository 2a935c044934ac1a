"""A small disk of one's own: a tmpfs that can be full, made larger, and made read-only. Mounting needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, options: str) -> None:
        """Mount it anew with other options, such as `size=60m` or `ro`."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def temporary_files(self) -> list[str]:
        """What writers left behind that hadn't come to an end."""
        return [p.name for p in self.path.rglob(".*") if p.is_file()]


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Disk]:
    """Mount a tmpfs of this size; skips where that isn't allowed."""
    path.mkdir(parents=True)
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
