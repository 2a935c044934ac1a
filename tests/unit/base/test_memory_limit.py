"""How much memory there is by the machine and its control groups, what --max-memory allows, arrays in files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from frostline.base import memory
from frostline.base.errors import FrostlineError, RecipeError
from frostline.base.memory import allowed_memory, decoders, large_array, memory_bytes, memory_there

GB = 1 << 30


def system(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """Files as Linux shows control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups, encoding="utf-8")
    for name, value in limits.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(value + "\n", encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "70000000", "sys/fs/cgroup/a/memory.max": "max"}, 70_000_000),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "50000000"}, 50_000_000),
        ("0::/docker/id\n", {"sys/fs/cgroup/memory.max": "60000000"}, 60_000_000),  # the host's path, seen from inside
        (
            "5:cpu:/x\n4:memory,other:/x\n0::/\n",
            {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "40000000", "sys/fs/cgroup/cpu/x/memory.max": "1"},
            40_000_000,
        ),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),  # no limit
        ("0::/\n", {}, None),
    ],
)
def test_limits_of_control_groups_are_respected(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int | None
) -> None:
    found = memory_there(system(tmp_path, groups, limits))
    if expected is None:
        expected = memory_there(tmp_path / "a system without groups")
    assert found == expected


def test_three_quarters_are_used_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_there", lambda: 8 * GB)
    assert allowed_memory(None) == 6 * GB
    assert allowed_memory("50%") == 4 * GB
    assert [memory_bytes(text, 8 * GB) for text in ("4GB", "4 gb", "4096MB", "4GiB", "4g")] == [4 * GB] * 5


@pytest.mark.parametrize("wrong", ["4", "0GB", "-1GB", "120%", "0%", "much", "4XB", ""])
def test_what_is_no_amount_of_memory_is_refused(wrong: str) -> None:
    with pytest.raises(RecipeError, match="such as 4GB"):
        memory_bytes(wrong, GB)


@pytest.mark.parametrize("room", [None, 0])
def test_a_large_array_reads_the_same_from_memory_and_from_a_file(room: int | None, tmp_path: Path) -> None:
    shape = (3, 600, 1200)
    array = large_array(shape, "float32", room)
    array[:] = np.arange(3.0)[:, None, None]
    assert array.shape == shape
    assert [float(part.mean()) for part in array] == [0.0, 1.0, 2.0]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists open files")
def test_arrays_in_files_leave_no_name_and_no_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    held = [large_array((1 << 20, 2), "uint8", 0) for _ in range(40)]
    held[-1][:] = 7
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_file_is_an_error_and_no_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(MemoryError, match="No space left"):
        large_array((1 << 21,), "uint8", 0)
    assert not list(tmp_path.iterdir())


def test_few_threads_decode_at_a_time_where_memory_is_short() -> None:
    assert decoders(8, 16 * GB) == 8
    assert decoders(8, 3 * GB) == 3
    assert decoders(8, GB // 2) == 1
    assert issubclass(RecipeError, FrostlineError)
