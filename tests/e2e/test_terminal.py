"""A run in a real terminal: the live table shows while it runs, and only what lasts is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases.small_world import FROSTLINE
from frostline.report.tables import result_text
from helpers.terminal import Terminal, run_in_terminal

HEADING = "accuracy    rate  state"


@pytest.mark.slow
def test_a_run_shows_its_table_and_leaves_the_terminal_clean(squares: Path, tmp_path: Path) -> None:
    words = ["fit", squares, "--model", "glyphs", "--strategies", "probe,freeze@4", "--epochs", 1]
    words += ["--blocks", 2, "--store", "off", "--out", "r"]
    code, written = run_in_terminal([FROSTLINE, *map(str, words)], cwd=tmp_path)
    screen = Terminal()
    frames = []
    for piece in written:
        screen.write(piece)
        frames.append(screen.text.splitlines())
    assert code == 0, screen.text
    assert screen.unknown == []

    tables = ["\n".join(frame[-5:]) for frame in frames if any(HEADING in line for line in frame[-5:-3])]
    assert tables
    assert all(" % " in table.splitlines()[-1] for table in tables)
    assert any("  freeze@4" in table and "done" in table for table in tables)

    assert not screen.hidden
    left = screen.text
    assert HEADING not in left
    assert "━" not in left
    assert "Provisional verdict" in left
    result = json.loads((tmp_path / "r" / "result.json").read_text(encoding="utf-8"))
    alone = Terminal()
    alone.write(result_text(result, screen.columns).replace("\n", "\r\n"))
    assert "Accuracy by depth" in alone.text
    assert left.endswith(alone.text)  # nothing stands between the lasting lines and the result
