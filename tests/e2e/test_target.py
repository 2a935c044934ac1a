"""`fit --target` and `fit --source-data`: the strategies on other data, and what the network still knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from frostline import load

Fit = Callable[..., SimpleNamespace]
COMMON = ("--blocks", "2", "--epochs", "2", "--threads", "1", "--strategies", "baseline,probe,finetune")


def inverted(source: Path, target: Path, *, rename: dict[str, str] | None = None) -> Path:
    """A copy of class folders whose images have dark and light exchanged."""
    for file in sorted(source.rglob("*.png")):
        name = (rename or {}).get(file.parent.name, file.parent.name)
        (target / name).mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            ImageOps.invert(image.convert("L")).save(target / name / file.name)
    return target


@pytest.fixture(scope="module")
def run(fit: Fit, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("target")
    target = inverted(squares, root / "dark")
    done = fit(squares, *COMMON, "--target", target, "--source-data", squares, "--out", root / "run")
    assert done.code == 0, done.err
    record = json.loads((root / "run" / "result.json").read_text())
    return SimpleNamespace(path=root / "run", target=target, record=record, out=done.out)


def test_every_strategy_is_tested_on_both(run: SimpleNamespace) -> None:
    tested = {s["name"]: s for s in run.record["strategies"]}
    assert all(tested[name]["test"] and tested[name]["target"] for name in ("baseline", "probe", "finetune"))
    assert "Accuracy here and on dark" in run.out


def test_the_target_accuracy_is_that_of_predict(run: SimpleNamespace) -> None:
    model = load(run.path)
    files = sorted(run.target.rglob("*.png"))
    right = np.mean([p == f.parent.name for p, f in zip(model.predict(files), files, strict=True)])
    verdict = next(s for s in run.record["strategies"] if s["name"] == run.record["verdict"]["strategy"])
    assert verdict["target"]["accuracy"] == pytest.approx(right)


def test_memory_is_recorded_for_every_strategy(run: SimpleNamespace) -> None:
    task = run.record["source_task"]
    assert task["before"]["probe"]
    kept = {memory["strategy"]: memory for memory in task["after"]}
    assert kept["probe"]["probe"] == task["before"]["probe"]
    assert "What the network still knows of its first task" in run.out


def test_the_comparison_itself_is_the_same_as_without(run: SimpleNamespace, fit: Fit, squares: Path) -> None:
    alone = run.path.parent / "alone"
    assert fit(squares, *COMMON, "--out", alone).code == 0
    for name in ("oof.parquet", "predictions.csv", "model/model.safetensors"):
        assert (alone / name).read_bytes() == (run.path / name).read_bytes(), name


def test_what_can_not_be_read_is_refused_before_anything_runs(fit: Fit, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "run"
    for option, folder, words in (
        ("--target", "empty", "holds no images"),
        ("--target", "nowhere", "does not exist"),
        ("--source-data", "empty", "holds no images"),
    ):
        done = fit(squares, *COMMON, option, tmp_path / folder, "--out", out)
        assert done.code == 2
        assert words in done.err
        assert not out.exists()
    flat = tmp_path / "flat"
    flat.mkdir()
    for k, file in enumerate(sorted(squares.rglob("*.png"))[:6]):
        (flat / f"{k}.png").write_bytes(file.read_bytes())
    done = fit(squares, *COMMON, "--source-data", flat, "--out", out)
    assert (done.code, "samples without a class" in done.err) == (2, True)
    done = fit(squares, *COMMON, "--target", flat, "--budget", "5m", "--out", out)
    assert (done.code, "--budget can't plan for --target" in done.err) == (2, True)
