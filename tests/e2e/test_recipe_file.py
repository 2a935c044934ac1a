"""A recipe that was shown, saved and run gives the same bits as the strategy it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cases.small_world import frostline

# the name and clocks; the others only a verdict has, from its refit
NOT_COMPARED = {"name", "seconds", "versus_best", "test", "steps", "epochs"}


def test_a_shown_recipe_runs_like_its_strategy(fit: Any, squares: Path, tmp_path: Path) -> None:
    shown = frostline("recipe", "show", "freeze@2", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "mine.json"
    file.write_text(shown.stdout)
    out = tmp_path / "run"
    words = ("--strategies", f"freeze@2,{file}", "--epochs", 2, "--blocks", 2, "--out", out)
    done = fit(squares, *words)
    assert done.code == 0, done.err
    table = pq.read_table(out / "oof.parquet").to_pylist()
    mine = [{k: v for k, v in row.items() if k != "strategy"} for row in table if row["strategy"] == "my-freeze@2"]
    known = [{k: v for k, v in row.items() if k != "strategy"} for row in table if row["strategy"] == "freeze@2"]
    assert mine == known != []
    assert (out / "recipes" / "my-freeze@2.json").read_bytes() == file.read_bytes()
    record = json.loads((out / "result.json").read_text())
    known_entry, my_entry = (
        {key: value for key, value in entry.items() if key not in NOT_COMPARED}
        for name in ("freeze@2", "my-freeze@2")
        for entry in record["strategies"]
        if entry["name"] == name
    )
    assert known_entry == my_entry


def test_unknown_keys_are_refused(fit: Any, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"format": 1, "freeze": 3}')
    done = fit(squares, "--strategies", tmp_path / "mine.json", "--out", tmp_path / "run")
    assert done.code == 2
    assert "mine.json is not a recipe" in done.err
    assert not (tmp_path / "run").exists()
