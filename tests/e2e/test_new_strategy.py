"""Adding a strategy is one entry: here it is added while the test runs, and goes through a whole run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.base.records import StageInfo
from frostline.bundle.predict import load
from frostline.recipe.catalogue import CATALOGUE, Choices, Strategy
from frostline.recipe.recipe import Part, Phase, Recipe

NAME, CALLED = "surgical@K", "surgical fine-tuning (Lee et al. 2023)"


def surgical(stages: Sequence[StageInfo], k: int, choices: Choices) -> Recipe:
    """Stage k and the head trained, everything else frozen."""
    parts = tuple(Part(trained=s.index == k, batchnorm=choices.batchnorm or "frozen") for s in stages)
    phase = Phase(name="train", solver="stepped", stages=parts, head=Part(trained=True, lr_factor=10.0))
    return Recipe(
        name=f"surgical@{k}",
        kind="surgical",
        origins=tuple("pretrained" for _ in stages),
        head_origin="new",
        keep=len(stages),
        phases=(phase,),
        rates=(1e-3, 3e-3),
    )


def test_a_strategy_that_is_one_entry_runs_from_plan_to_saved_model(
    fit: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Strategy(name=NAME, happens="only stage K and the head are trained", called=CALLED, build=surgical)
    monkeypatch.setitem(CATALOGUE, NAME, entry)
    out = tmp_path / "run"
    words = ("--epochs", 2, "--blocks", 2, "--evaluate-all", "--out", out)
    done = fit(squares, "--strategies", "surgical@2,probe", *words)
    assert done.code == 0, done.err
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    row = next(s for s in record["strategies"] if s["name"] == "surgical@2")
    assert (row["term"], row["status"], len(row["rates_tried"])) == (CALLED, "raced", 2)
    assert row["origin_summary"].startswith("stages 1 pretrained, frozen; 2 pretrained, trained; 3 pretrained, frozen")
    assert row["trained_parameters"] == (8 * 8 * 9 + 8) + 2 * 9  # the second convolution and the head
    assert row["test"] is not None
    audit = record["audit"]
    assert audit["frozen_tensors"] == audit["frozen_unchanged"] > 0
    assert audit["trained_tensors"] == audit["trained_changed"]
    alone = tmp_path / "alone"
    assert fit(squares, "--strategies", "surgical@2", "--epochs", 2, "--out", alone).code == 0
    moved = {r["tensor"] for r in json.loads((alone / "ledger.json").read_text()) if r["distance"]}
    assert {"2.weight", "2.bias"} < moved
    assert not {"0.weight", "4.weight"} & moved
    image = np.zeros((1, 18, 20, 3), dtype=np.uint8)
    assert load(alone, trust_code=True).predict_proba(image).sum() == pytest.approx(1.0)
    shown = fit(squares, "--strategies", "surgical@9", "--out", tmp_path / "no")
    assert shown.code == 2
    assert "there is no stage '9'" in shown.err


@pytest.mark.parametrize("names", ["gradual,reinit@1,reinit-freeze@2,probe", "norm,bias,lora,probe"])
def test_the_rest_of_the_vocabulary_goes_through_a_whole_run(
    names: str, fit: Any, squares: Path, tmp_path: Path
) -> None:
    asked = [name for name in names.split(",") if name != "norm"]  # the network has no normalisation layer
    out = tmp_path / "run"
    done = fit(squares, "--strategies", ",".join(asked), "--epochs", 3, "--blocks", 2, "--out", out)
    assert done.code == 0, done.err
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert {s["name"]: s["status"] for s in record["strategies"]} == dict.fromkeys(asked, "raced")
    assert record["audit"]["frozen_tensors"] == record["audit"]["frozen_unchanged"]
    if "norm" in names:
        refused = fit(squares, "--strategies", names, "--out", tmp_path / "no")
        assert refused.code == 2
        assert "norm can't run: the network has no normalisation layer" in refused.err
