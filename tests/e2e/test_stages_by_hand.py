"""A network that reads its input twice (a mask is computed from it), with stages named by hand, through the command:
the run, the saved model in a fresh process, and the replay when the file of stages is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import frostline
from cases.small_world import write_network

Fit = Callable[..., SimpleNamespace]
MASKED = """
import torch
from torch import nn

MEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 16)


class Block(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(cin, cout, 3, 1, 1), nn.BatchNorm2d(cout)

    def forward(self, x, mask):
        return torch.relu(self.norm(self.conv(x))) * mask


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = Block(3, 8), nn.ModuleList(Block(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        mask = 0.5 + 0.5 * (x.mean(1, keepdim=True) > x.mean((1, 2, 3), keepdim=True))
        y = self.stem(x, mask)
        for block in self.blocks:
            y = block(y, mask)
        return self.head((y * mask).sum((2, 3)) / mask.sum((2, 3)))


def net():
    return Net()
"""
STAGES = "stem   stem\nearly  blocks.1\nlate   after blocks.2\n"
FRESH = """
import json, sys, frostline
print(json.dumps(frostline.load(sys.argv[1], trust_code=True).predict_proba(json.loads(sys.argv[2])).tolist()))
"""


@pytest.mark.slow
def test_stages_by_hand_on_a_network_with_side_inputs_run_reload_and_replay(
    fit: Fit, squares: Path, tmp_path: Path
) -> None:
    spec, weights = write_network(tmp_path / "net", MASKED)
    stages, run = tmp_path / "stages.txt", tmp_path / "run"
    stages.write_text(STAGES)
    words = ("--stages", stages, "--epochs", "2", "--lr", "1e-3", "--threads", "1", "--out")
    done = fit(squares, *words, run, "--strategies", "freeze@early", model=spec, weights=weights)
    assert done.code == 0, done.err
    record = json.loads((run / "result.json").read_text())
    assert [(s["name"], s["cuttable"]) for s in record["model"]["stages"]] == [
        ("stem", True),
        ("early", True),
        ("late", True),
    ]
    assert record["verdict"]["strategy"] == "freeze@2"
    moved = {row["tensor"] for row in json.loads((run / "ledger.json").read_text()) if row["distance"]}
    assert moved == {"blocks.2.conv.weight", "blocks.2.conv.bias", "head.weight", "head.bias"}
    images = [str(p) for p in sorted(squares.rglob("*.png"))[:4]]
    here = frostline.load(run).predict_proba(images).tolist()
    there = subprocess.run(
        [sys.executable, "-c", FRESH, str(run), json.dumps(images)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(there.stdout) == here
    stages.unlink()
    assert frostline.replay(run, trust_code=True).equal
    refused = fit(squares, *words, tmp_path / "no", "--strategies", "probe", model=spec, weights=weights)
    assert refused.code == 2
    assert "can't be read" in refused.err
