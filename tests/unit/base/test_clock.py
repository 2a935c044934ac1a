"""The clock of a budget."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from frostline.base.clock import Clock, process_age


def test_the_age_of_a_process_grows_with_time() -> None:
    first = process_age()
    time.sleep(0.05)
    assert process_age() >= first


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports when a process was started")
def test_a_process_counts_its_imports() -> None:
    code = "import time; time.sleep(0.3); from frostline.base.clock import Clock; print(Clock.of_process()())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.25 < float(process.stdout) < 60


def test_a_clock_counts_from_its_reading() -> None:
    assert Clock(time.perf_counter() - 5)() == pytest.approx(5, abs=1)
