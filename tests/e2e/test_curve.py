"""`frostline curve`: both protocols from the command line, killed and resumed, with wrong input refused."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import frostline
from cases.small_world import FROSTLINE, write_images, write_network
from frostline.base.errors import RecipeError
from frostline.bundle.curve_record import CurveRowRecord, read_curve
from frostline.cli.main import main
from frostline.cli.session import Session
from helpers.killed_runs import killed_run

VOLATILE = ("created", "command", "cost")
QUICK = ("--epochs", "2", "--lr", "3e-3", "--threads", "1", "--augment", "none", "--plain")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {f"{part}/{name}": count for part, count in (("train", 6), ("test", 3)) for name in ("a", "b", "c", "d")}
    return write_images(tmp_path_factory.mktemp("animals"), counts)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_network(tmp_path_factory.mktemp("network"))


def curve(*words: object) -> SimpleNamespace:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["curve", *(str(word) for word in words)])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def full(data: Path, spec: str, out: Path, *words: object) -> list[object]:
    return [data, "--model", spec, "--split-classes", "auto", "--splits", 2, "--seeds", 1, *QUICK, *words, "--out", out]


def lasting(run: Path) -> dict[str, Any]:
    record = json.loads((run / "curve.json").read_text())
    return {key: value for key, value in record.items() if key not in VOLATILE}


def holds_its_mean(row: CurveRowRecord) -> bool:
    return row.ci is not None and row.mean is not None and row.ci[0] <= row.mean <= row.ci[1]


@pytest.fixture(scope="module")
def whole(animals: Path, net: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "whole"
    done = curve(*full(animals, net[0], out))
    assert done.code == 0, done.err
    assert "gap" in done.out.lower()
    return out


def test_the_record_holds_every_arm_at_every_stage_of_every_split(whole: Path) -> None:
    record = read_curve(whole)
    cuttable = [stage.index for stage in record.model.stages if stage.cuttable]
    places = {(row.arm, row.stage) for row in record.rows}
    assert places == {("base", 0), *((arm, k) for arm in ("BnB", "BnB+", "AnB", "AnB+") for k in cuttable)}
    for row in record.rows:
        assert [(a.split, a.direction, a.seed) for a in row.accuracies] == [
            *((1, "B->A", 1), (1, "A->B", 1)),
            *((2, "B->A", 1), (2, "A->B", 1)),
        ]
        assert holds_its_mean(row)
    assert {gap.name for gap in record.gaps} >= {"co-adaptation", "specificity", "gain"}
    assert record.settings.steps == 2  # two epochs of 12 samples in batches of 16
    assert record.settings.last_k.count == 2
    assert record.splits[0].train == {"A": 12, "B": 12}
    assert record.splits[0].held_out == {"A": 6, "B": 6}
    assert record.audit.frozen_unchanged == record.audit.frozen_tensors > 0
    assert (whole / "curve.html").stat().st_size > 1_000_000
    assert not (whole / ".work").exists()


def test_a_killed_run_goes_on_to_the_same_record(
    animals: Path, net: tuple[str, str], tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "killed"
    words = [FROSTLINE, "curve", *(str(word) for word in full(animals, net[0], out))]
    killed_run(words, out, after=9)
    assert not (out / "curve.json").exists()
    refused = curve(*full(animals, net[0], out))
    assert refused.code == 2
    assert "holds another run" in refused.err
    resumed = curve(*full(animals, net[0], out), "--resume")
    assert resumed.code == 0, resumed.err
    ours, theirs = lasting(out), lasting(whole)
    del ours["settings"]["given"], theirs["settings"]["given"]  # the folder
    assert ours == theirs


def test_a_finished_run_is_read_and_other_settings_are_refused(
    animals: Path, net: tuple[str, str], whole: Path
) -> None:
    again = curve(*full(animals, net[0], whole), "--resume", "--json")
    assert json.loads(again.out) == json.loads((whole / "curve.json").read_text())
    other = curve(*full(animals, net[0], whole, "--seed", 1), "--resume")
    assert other.code == 2
    assert "made with other settings (seed)" in other.err


def test_the_applied_curve_meets_scratch_on_every_fold(animals: Path, net: tuple[str, str], tmp_path: Path) -> None:
    spec, weights = net
    words = [animals, "--model", spec, "--weights", weights, "--blocks", 2, "--epochs", 1, "--augment", "none"]
    done = curve(*words, "--threads", 1, "--out", tmp_path / "run", "--plain")
    assert done.code == 0, done.err
    record = read_curve(tmp_path / "run")
    assert {row.arm for row in record.rows} == {"base", "AnB", "AnB+"}
    assert all(holds_its_mean(row) for row in record.rows)
    assert {gap.name for gap in record.gaps} == {"loss", "gain", "freezing"}
    assert [fold.train + fold.held_out for fold in record.folds] == [24, 24]
    assert record.intervals.of == "folds"
    assert [tried.rate for tried in record.settings.rates_tried] == [3e-4, 1e-3, 3e-3, 1e-2]
    assert record.settings.rate in (3e-4, 1e-3, 3e-3, 1e-2)


def test_python_gives_the_same_record(animals: Path, net: tuple[str, str], tmp_path: Path, whole: Path) -> None:
    options: dict[str, Any] = {"split_classes": "auto", "splits": 2, "seeds": 1, "epochs": 2, "lr": 3e-3, "threads": 1}
    made = frostline.transferability_curve(animals, net[0], augment="none", out=tmp_path / "run", **options)
    assert made.path == tmp_path / "run"
    assert made.record.rows == read_curve(whole).rows
    with pytest.raises(RecipeError, match="no option 'strategies'"):
        frostline.transferability_curve(animals, net[0], strategies="probe")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weights", "random"), "random ones hold nothing"),
        (("--splits", "3"), "--splits doesn't apply"),
        (("--split-classes", "auto", "--weights", "w.safetensors"), "both base networks are trained here"),
        (("--split-classes", "auto", "--blocks", "3"), "--blocks doesn't apply"),
        (("--split-classes", "auto", "--pool-validation"), "--pool-validation doesn't apply"),
        (("--split-classes", "auto", "--splits", "9"), "only 3 different halves"),
        (("--split-classes", "auto", "--seeds", "0"), "--seeds 0 is not a number of seeds"),
        (("--split-classes", "none.json"), "none.json can't be read"),
        (("--split-classes", "auto", "--resume"), "--resume without --out"),
    ],
)
def test_wrong_options_get_one_sentence(
    words: tuple[str, ...], said: str, animals: Path, net: tuple[str, str], tmp_path: Path
) -> None:
    place = () if "--resume" in words else ("--out", tmp_path / "run")
    done = curve(animals, "--model", net[0], *words, *place, "--plain")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_diverging_base_says_what_to_do(animals: Path, net: tuple[str, str], tmp_path: Path) -> None:
    words = [*full(animals, net[0], tmp_path / "run", "--lr", "1e30")]
    done = curve(*words)
    assert done.code == 2
    assert "failed" in done.err
    assert "lower --lr" in done.err


def test_an_interrupted_command_says_how_to_go_on() -> None:
    session = Session(argv=["curve", "DATA", "--model", "glyphs"], run="runs/DATA-1")
    assert session.resume_command() == "frostline curve DATA --model glyphs --out runs/DATA-1 --resume"


def test_show_prints_a_finished_curve_again(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(whole)]) == 0
    assert "AnB+" in capsys.readouterr().out
    assert main(["show", str(whole), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((whole / "curve.json").read_text())
