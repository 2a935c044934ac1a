"""Memory that no file backs is told apart from pages of mapped files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.base import memory
from frostline.base.memory import anonymous_mb, peak_rss_mb

pytestmark = pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells")
MIB = 1 << 20


def test_an_array_counts_and_a_mapped_file_does_not(tmp_path: Path) -> None:
    before = anonymous_mb()
    held = np.ones(64 * MIB, dtype=np.uint8)
    with_array = anonymous_mb()
    assert with_array - before == pytest.approx(64, abs=8)
    file = tmp_path / "stored.bin"
    file.write_bytes(bytes(64 * MIB))
    mapped = torch.from_file(str(file), shared=False, size=64 * MIB, dtype=torch.uint8)
    assert int(mapped.sum()) == 0  # every page is read
    assert anonymous_mb() - with_array < 16
    assert peak_rss_mb() >= anonymous_mb()
    assert held[0] == 1


def test_a_system_that_does_not_tell_gives_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert anonymous_mb() == 0.0
