"""From one run to the next: `run:RUN` starts where the other ended, and mapped heads survive it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import frostline as library
from cases.small_world import frostline, write_images
from helpers.in_process import rehearsals


@pytest.fixture(scope="module", autouse=True)
def quick_rehearsals() -> Iterator[None]:
    with rehearsals():
        yield


def test_a_run_can_be_started_from_and_its_classes_are_known(fit: Any, tmp_path: Path) -> None:
    first = write_images(tmp_path / "first", {"reddish": 12, "greenish": 12, "blueish": 12})
    done = fit(first, "--strategies", "finetune", "--epochs", 2, "--lr", "1e-3", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    second = write_images(tmp_path / "second", {"reddish": 10, "greenish": 10}, seed=3)
    words = ("--strategies", "as-is,continue,probe", "--epochs", 2, "--prefer", "accuracy")
    done = fit(second, *words, "--out", tmp_path / "b", model=f"run:{tmp_path / 'a'}", weights=None)
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "b" / "result.json").read_text())
    assert record["model"]["class_map"] == {"greenish": ["greenish"], "reddish": ["reddish"]}
    assert {s["name"] for s in record["strategies"] if s["status"] == "raced"} == {"as-is", "continue", "probe"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["as-is", "continue"])
def test_a_mapped_head_of_another_size_is_read_back_in_a_fresh_process(name: str, fit: Any, tmp_path: Path) -> None:
    first = write_images(tmp_path / "first", {"reddish": 9, "greenish": 9, "blueish": 9})
    assert fit(first, "--strategies", "finetune", "--epochs", 2, "--lr", "1e-3", "--out", tmp_path / "a").code == 0
    second = write_images(tmp_path / "second", {"reddish": 10, "greenish": 10}, seed=3)
    done: SimpleNamespace = fit(
        second,
        "--strategies",
        name,
        "--epochs",
        2,
        "--out",
        tmp_path / "b",
        model=f"run:{tmp_path / 'a'}",
        weights=None,
    )
    assert done.code == 0, done.err
    images = sorted((second / "reddish").glob("*.png"))[:3]
    said = json.loads(frostline("predict", tmp_path / "b", *images, "--json", "--trust-code", cwd=tmp_path).stdout)
    here = library.load(tmp_path / "b", trust_code=True).predict_proba(images)
    assert np.array([[p["probabilities"][c] for c in ("greenish", "reddish")] for p in said]) == pytest.approx(here)
