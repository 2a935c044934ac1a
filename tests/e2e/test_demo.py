"""`frostline demo` and `frostline pretrain` as a user runs them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from frostline.cli.main import main
from frostline.demo import BATCH_SIZE, STRATEGIES, digits

QUICK = ("--strategies", "baseline,as-is,probe,probe@4,freeze@4", "--epochs", "2")


def run(*words: object) -> SimpleNamespace:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def test_the_sealed_scans_are_always_the_same_hundred_of_each_digit() -> None:
    data = digits()
    sealed = [label for label, part in zip(data["label"], data["split"], strict=True) if part == "test"]
    assert Counter(sealed) == {str(d): 100 for d in range(10)}
    assert data["image"].shape == (1797, 8, 8)
    assert data["image"].dtype == np.uint8
    assert data["image"].max() == 255
    assert data["split"] == digits()["split"]


def test_it_offers_every_kind_of_answer() -> None:
    assert len(STRATEGIES) >= 12
    kinds = {name.partition("@")[0] for name in STRATEGIES}
    assert kinds >= {"baseline", "as-is", "probe", "freeze", "finetune", "lp-ft", "continue", "scratch"}
    rests = [rows % BATCH_SIZE for rows in (30, 40, 50)]
    assert all(rest == 0 or rest > 2 for rest in rests)  # BatchNorm needs more than two


@pytest.mark.slow
def test_the_command_answers_with_figures_of_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "frostline", "demo", *QUICK, "--store", "off", "--out", "r", "--plain"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r" / "result.json").read_text(encoding="utf-8"))
    assert result["data"]["n_development"] == 50
    assert result["test"]["n"] == 1000
    tested = {s["name"]: s["test"]["accuracy"] for s in result["strategies"]}
    for name in ("baseline", "as-is", "probe", "probe@4", "freeze@4"):
        assert re.search(rf"^  {tested[name]:.3f}  {name} ", done.stdout, flags=re.MULTILINE), name
    verdict = result["verdict"]["strategy"]
    assert f"The verdict, {verdict}, was chosen by the labelled scans alone" in done.stdout
    assert done.stdout.rstrip().endswith("frostline fit FOLDER --model torchvision:resnet18")
    assert tested["probe"] > 0.85  # five labels per class; guessing gives 0.1
    assert tested["as-is"] > 0.6


def test_equal_seeds_give_equal_runs(tmp_path: Path) -> None:
    for name in "ab":
        made = run("demo", "--strategies", "probe@4", "--epochs", 1, "--store", "off", "--out", tmp_path / name)
        assert made.code == 0, made.err
    for file in ("predictions.csv", "model/model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.slow
def test_pretraining_is_reproducible_and_its_weights_go_on(squares: Path, tmp_path: Path) -> None:
    words = ("--epochs", 6, "--lr", 0.001, "--batch-size", 8, "--store", "off", "--plain")
    for name in "ab":
        made = run("pretrain", squares, "--model", "glyphs", "--method", "supervised", *words, "--out", tmp_path / name)
        assert made.code == 0, made.err
    weights = [tmp_path / name / "model" / "model.safetensors" for name in "ab"]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert f"--model glyphs --weights {weights[1]}" in made.out
    start = ("--model", "glyphs", "--weights", weights[0])
    onward = run("fit", squares, *start, "--strategies", "probe", "--store", "off", "--out", tmp_path / "c")
    assert onward.code == 0, onward.err
    again = run(
        "fit",
        squares,
        "--model",
        f"run:{tmp_path / 'a'}",
        "--strategies",
        "as-is,probe",
        "--store",
        "off",
        "--plain",
        "--out",
        tmp_path / "d",
    )
    assert again.code == 0, again.err
    assert "as-is" in again.out


def test_another_method_is_refused_with_the_nearest(squares: Path) -> None:
    refused = run("pretrain", squares, "--model", "glyphs", "--method", "supervize")
    assert refused.code == 2
    assert "--method 'supervize' doesn't exist" in refused.err
    assert "'supervised'" in refused.err


def test_an_interrupted_pretraining_says_how_to_go_on() -> None:
    from frostline.cli.session import Session

    session = Session(argv=["pretrain", "DATA", "--model", "glyphs"], run="runs/DATA-1")
    assert session.resume_command() == "frostline pretrain DATA --model glyphs --out runs/DATA-1 --resume"
