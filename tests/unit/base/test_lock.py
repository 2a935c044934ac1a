"""One process holds a folder; it may hold it again; its end lets go of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.base import lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
HOLD = """
import sys
from pathlib import Path
from frostline.base import lock

print(lock.hold(Path(sys.argv[1]), patience=0.2))
"""


def hold_elsewhere(folder: Path) -> str:
    """What another process gets when it wants the lock."""
    done = subprocess.run([sys.executable, "-c", HOLD, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_another_process_is_told_who_holds_it_until_it_is_released(tmp_path: Path) -> None:
    import os

    assert lock.hold(tmp_path) is None
    assert lock.hold(tmp_path) is None
    assert hold_elsewhere(tmp_path) == str(os.getpid())
    lock.release(tmp_path)
    lock.release(tmp_path)
    assert hold_elsewhere(tmp_path) == "None"
    assert lock.hold(tmp_path, patience=0.0) is None  # that process has ended
    lock.release(tmp_path)


def test_a_folder_that_was_made_anew_is_held_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    assert lock.hold(folder) is None
    shutil.rmtree(folder)
    folder.mkdir()
    assert lock.hold(folder) is None
    assert hold_elsewhere(folder) != "None"
    lock.release(folder)
