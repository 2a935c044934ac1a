"""Calibrated probabilities and a threshold, from fit to predict: one path, the same figures everywhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import frostline as library
from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import RunResult
from frostline.cli.main import main
from frostline.stats.metrics import ece, log_loss

Fit = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tints that overlap: some answers are wrong, most of them unsure."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for channel, name in enumerate(("reddish", "greenish")):
        (root / name).mkdir()
        for index in range(60):
            values = rng.normal(110, 20, (18, 20, 3))
            values[..., channel] += rng.normal(9, 6)
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def run(fit: Fit, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "run"
    few = ("--threads", "1", "--blocks", "5", "--epochs", "1")
    done = fit(data, "--strategies", "probe,probe@2", "--abstain", "0.85", *few, "--out", out)
    assert done.code == 0, done.err
    assert "Probabilities: temperature" in done.out
    assert "Abstaining (0.85 wanted)" in done.out
    return out


@pytest.fixture(scope="module")
def result(run: Path) -> RunResult:
    return read_result(run)


@pytest.fixture(scope="module")
def sealed(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_way_to_a_prediction_gives_the_calibrated_ones(
    run: Path, data: Path, result: RunResult, sealed: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = library.load(run, trust_code=True)
    assert result.calibration is not None
    assert bundle.temperature == result.calibration.temperature != 1
    files = [data / row["id"] for row in sealed]
    wanted = np.array([[float(row[f"p:{name}"]) for name in bundle.classes] for row in sealed])
    assert bundle.predict_proba(files) == pytest.approx(wanted, abs=1e-8)
    assert main(["predict", str(run), *map(str, files), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert np.array([list(row["probabilities"].values()) for row in told]) == pytest.approx(wanted, abs=1e-8)
    labels = np.array([bundle.classes.index(row["label"]) for row in sealed])
    assert result.test.log_loss == pytest.approx(log_loss(wanted, labels), abs=1e-6)
    assert result.test.ece == pytest.approx(ece(wanted, labels), abs=1e-6)
    assert result.calibration.sealed_after.log_loss == result.test.log_loss
    assert result.calibration.sealed_after.ece == result.test.ece


def test_before_is_what_the_same_model_says_at_temperature_one(
    run: Path, data: Path, result: RunResult, sealed: list[dict[str, str]], tmp_path: Path
) -> None:
    bundle = library.load(run, trust_code=True)
    note = json.loads((run / "model" / "recipe.json").read_text(encoding="utf-8"))
    for file in (run / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "recipe.json").write_text(json.dumps({**note, "temperature": None}), encoding="utf-8")
    plain = library.load(tmp_path, trust_code=True).predict_proba([data / row["id"] for row in sealed])
    labels = np.array([bundle.classes.index(row["label"]) for row in sealed])
    assert result.calibration is not None
    assert result.calibration.sealed_before.log_loss == pytest.approx(log_loss(plain, labels), rel=1e-6)
    assert result.calibration.sealed_before.ece == pytest.approx(ece(plain, labels), abs=1e-6)


def test_the_threshold_marks_the_answers_that_the_record_counted(
    run: Path, data: Path, result: RunResult, sealed: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert result.abstain is not None
    assert result.abstain.threshold is not None
    assert result.abstain.sealed is not None
    assert main(["predict", str(run), *(str(data / row["id"]) for row in sealed), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    answered = [row for row in told if row["sure"]]
    assert 0 < len(answered) < len(told)
    assert len(answered) == result.abstain.sealed.answered
    assert all(max(row["probabilities"].values()) >= result.abstain.threshold for row in answered)
    right = [Path(row["file"]).parent.name == row["predicted"] for row in answered]
    assert result.abstain.sealed.accuracy == pytest.approx(np.mean(right))


def test_a_strategy_alone_keeps_its_probabilities_and_says_why(fit: Fit, data: Path, tmp_path: Path) -> None:
    done = fit(data, "--strategies", "probe", "--abstain", "0.9", "--out", tmp_path / "alone")
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    assert "not calibrated (probe was not judged on held-out folds" in told
    assert "Abstaining (0.9 wanted): no prediction is marked." in told
    found = read_result(tmp_path / "alone").calibration
    assert found is not None
    assert found.temperature is None
    assert library.load(tmp_path / "alone", trust_code=True).threshold is None


def test_an_impossible_share_is_refused(fit: Fit, data: Path) -> None:
    refused = fit(data, "--abstain", "95")
    assert refused.code == 2
    assert "--abstain 95.0 is not between 0 and 1." in refused.err
