"""Memory that no file backs is told apart from pages of mapped files."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.base import memory
from frostline.base.memory import anonymous_mb

# in a process of its own: one that has worked before may hold freed memory that an array then takes
PROGRAM = """
import json, mmap, sys
from pathlib import Path
from frostline.base.memory import anonymous_mb, peak_rss_mb
size = 64 << 20
found = [anonymous_mb()]
held = bytearray(b"x" * size)
found.append(anonymous_mb())
Path(sys.argv[1]).write_bytes(bytes(size))
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    pages = sum(mapped[i] for i in range(0, size, 4096))
    found.append(anonymous_mb())
print(json.dumps([*found, peak_rss_mb(), pages]))
"""

KEEPING = """
import json
from frostline.base.device import prepare_process
prepare_process()
from frostline.base.memory import anonymous_mb, give_back_memory
held = [bytearray(b"x" * (1 << 20)) for _ in range(64)]
full = anonymous_mb()
held.clear()
kept = anonymous_mb()
give_back_memory()
print(json.dumps([full, kept, anonymous_mb()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not memory.STATUS.exists(), reason="the allocator is another")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, check=True)
    full, kept, left = json.loads(done.stdout)
    assert kept == pytest.approx(full, abs=4)
    assert full - left > 56


@pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells")
def test_an_array_counts_and_a_mapped_file_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "stored.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, with_array, with_file, peak, pages = json.loads(done.stdout)
    assert with_array - before == pytest.approx(64, abs=4)
    assert with_file - with_array == pytest.approx(0, abs=4)
    assert peak >= with_array + 60  # the file's pages count there
    assert pages == 0


def test_a_system_that_does_not_tell_gives_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert anonymous_mb() == 0.0
