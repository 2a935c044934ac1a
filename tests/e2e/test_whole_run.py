"""The installed command on real images with the real MobileNet: fit, show, predict, each as a user runs it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import frostline as library
from cases.small_world import frostline
from frostline.bundle.schema import RunResult
from frostline.cli.main import main

RUN_FILES = {
    *("result.json", "ledger.json", "trials.jsonl", "oof.parquet", "predictions.csv", "moments.safetensors"),
    *("log.jsonl", "model/model.safetensors", "model/recipe.json", "model/preprocess.json", "model/classes.json"),
    *("model/README.md", "model/code.py", "samples.csv", "doubts.csv", "examples.json", "report.html"),
}
RACE = ("--strategies", "probe,probe@4,freeze@5", "--epochs", "1", "--blocks", "2", "--size", "96", "--threads", "1")


pytestmark = pytest.mark.slow  # all of them look at one run of the installed command


@pytest.fixture(scope="module")
def finished(
    few_images: Callable[[int], Path], mobilenet: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One run in a process of its own, with the default --out."""
    data, cwd = few_images(12), tmp_path_factory.mktemp("cwd")
    done = frostline("fit", data, "--model", mobilenet[0], "--weights", mobilenet[1], *RACE, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(data=data, cwd=cwd, run=cwd / "runs" / f"{data.name}-1", done=done)


@pytest.fixture(scope="module")
def sealed(finished: SimpleNamespace) -> list[dict[str, str]]:
    """The rows of predictions.csv."""
    with (finished.run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_folder_holds_exactly_what_the_design_names(finished: SimpleNamespace) -> None:
    assert {f.relative_to(finished.run).as_posix() for f in finished.run.rglob("*") if f.is_file()} == RUN_FILES
    assert [f.name for f in (finished.cwd / "runs").iterdir()] == [finished.run.name]


def test_the_record_is_valid_and_says_what_was_run(finished: SimpleNamespace, sealed: list[dict[str, str]]) -> None:
    result = RunResult.model_validate_json((finished.run / "result.json").read_bytes())
    assert [s.name for s in result.strategies] == ["probe", "probe@4", "freeze@5"]
    assert [len(s.blocks) for s in result.strategies] == [2, 2, 2]
    assert result.audit.frozen_tensors == result.audit.frozen_unchanged > 0
    assert result.data.n_development + result.data.n_test == 24
    assert result.test.n == result.data.n_test == len(sealed)
    right = sum(row["label"] == row["predicted"] for row in sealed)
    assert result.test.accuracy == pytest.approx(right / len(sealed))
    trials = [json.loads(line) for line in (finished.run / "trials.jsonl").read_text().splitlines()]
    raced = [t for t in trials if t["purpose"] != "curve"]
    assert len(raced) == 2 * 3 + 3  # two blocks of three strategies, and three rates of one of them


def test_progress_goes_to_stderr_and_the_answer_to_stdout(finished: SimpleNamespace) -> None:
    result = RunResult.model_validate_json((finished.run / "result.json").read_bytes())
    assert result.verdict.strategy in finished.done.stdout
    for told in ("read the images ...", "trials", "refit ..."):
        assert told in finished.done.stderr
        assert told not in finished.done.stdout
    assert "\x1b" not in finished.done.stdout + finished.done.stderr


def test_show_repeats_the_answer(finished: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(finished.run)]) == 0
    assert capsys.readouterr().out == finished.done.stdout
    assert main(["show", str(finished.run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((finished.run / "result.json").read_text(encoding="utf-8"))


def test_predict_in_a_fresh_process_equals_the_sealed_row(
    finished: SimpleNamespace, sealed: list[dict[str, str]], tmp_path: Path
) -> None:
    copy = tmp_path / "another name.jpg"
    shutil.copy(finished.data / sealed[0]["id"], copy)
    done = frostline("predict", finished.run, copy.name, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["file"], row["predicted"]) == (copy.name, sealed[0]["predicted"])
    for name, probability in row["probabilities"].items():
        assert probability == pytest.approx(float(sealed[0][f"p:{name}"]), abs=1e-5)


def test_the_loaded_bundle_gives_every_sealed_row(finished: SimpleNamespace, sealed: list[dict[str, str]]) -> None:
    bundle = library.load(finished.run)
    files = [finished.data / row["id"] for row in sealed]
    wanted = np.array([[float(row[f"p:{name}"]) for name in bundle.classes] for row in sealed])
    assert np.abs(bundle.predict_proba(files) - wanted).max() < 1e-5
    assert bundle.predict(files) == [row["predicted"] for row in sealed]


def test_code_that_this_user_never_named_is_not_run(
    finished: SimpleNamespace,
    sealed: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "someone else"))
    words = ["predict", str(finished.run), str(finished.data / sealed[0]["id"])]
    assert main(words) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "code.py is network code that you have not named yourself before." in refused.err
    assert "--trust-code" in refused.err
    assert main([*words, "--trust-code"]) == 0
    assert sealed[0]["predicted"] in capsys.readouterr().out
    assert main(words) == 2  # said once, for that command


def test_code_that_was_changed_after_the_run_is_not_run(
    finished: SimpleNamespace, sealed: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, mark = tmp_path / "run", tmp_path / "it ran"
    shutil.copytree(finished.run, copy)
    with (copy / "model" / "code.py").open("a", encoding="utf-8") as file:
        file.write(f"\nopen({str(mark)!r}, 'w').close()\n")
    assert main(["predict", str(copy), str(finished.data / sealed[0]["id"])]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not mark.exists()
