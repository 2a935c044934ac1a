"""The finished runs that the tests of reports look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.report.stored import Stored, read_stored


@pytest.fixture(scope="session")
def demo(demo_run: Path) -> Stored:
    """The demo, read; tests alter copies of it only."""
    return read_stored(demo_run)


@pytest.fixture(scope="session")
def trained(trained_run: Path) -> Stored:
    """The demo whose verdict trains three stages, read."""
    return read_stored(trained_run)
