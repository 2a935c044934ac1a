"""Runs that are killed in the middle, and what has to be equal once they were resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

KILL_AFTER = 4  # trials


def bits(run: Path) -> dict[str, bytes]:
    names = ("model/model.safetensors", "predictions.csv", "oof.parquet", "moments.safetensors", "ledger.json")
    return {name: (run / name).read_bytes() for name in names}


def killed_run(command: list[str], out: Path, after: int = KILL_AFTER) -> dict[str, float]:
    """Start a run, kill it once a few trials are on disk; gives the seconds that each of those took."""
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob(".work/outcomes/*.json"))) < after:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    outcomes = [json.loads(f.read_text())["outcome"] for f in out.glob(".work/outcomes/*.json")]
    return {o["key"]: o["seconds"] for o in outcomes}
