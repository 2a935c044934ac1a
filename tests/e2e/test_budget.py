"""`--budget`: a run ends in time with what fits, says what was left out, and goes on with the same plan."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cases.small_world import frostline
from frostline.base.clock import Clock
from frostline.bundle.runfolder import read_result
from frostline.planning import afford as afford_module
from frostline.planning.gauge import Gauge
from frostline.race.timing import Speeds

Fit = Callable[..., SimpleNamespace]
RACE = ("--strategies", "baseline,probe,freeze@1,finetune,scratch", "--threads", "1")


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training steps are measured as if each took a tenth of a second more; the run itself stays as fast as it is."""
    measure = Gauge.speeds

    def speeds(self: Gauge, clock: Callable[[], float]) -> Speeds:
        return replace(measure(self, clock), step=0.1)

    monkeypatch.setattr(Gauge, "speeds", speeds)


def test_enough_time_gives_the_very_bits_of_a_run_without_a_budget(fit: Fit, squares: Path, tmp_path: Path) -> None:
    for name, words in (("plain", ()), ("limited", ("--budget", "1h"))):
        done = fit(squares, *RACE, "--epochs", "1", "--blocks", "2", *words, "--out", tmp_path / name)
        assert done.code == 0, done.err
    for file in ("model/model.safetensors", "predictions.csv", "oof.parquet"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "limited" / file).read_bytes()
    assert read_result(tmp_path / "plain").budget is None
    budget = read_result(tmp_path / "limited").budget
    assert budget is not None
    assert (budget.seconds, budget.left_out) == (3600.0, [])
    assert "Nothing is left out." in done.err


@pytest.mark.slow
@pytest.mark.usefixtures("slow_steps")
def test_what_does_not_fit_is_left_out_and_said(fit: Fit, squares: Path, tmp_path: Path) -> None:
    done = fit(squares, *RACE, "--budget", "2m", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    budget = read_result(tmp_path / "run").budget
    assert budget is not None
    assert budget.seconds == 120.0
    assert budget.forecast_seconds <= 120.0
    assert "scratch" in budget.left_out
    assert "Budget 2 min: at the speeds just measured, this plan takes at most" in done.err
    assert "Left out: scratch" in done.err
    assert "Budget of 120 s" in done.out
    names = [s.name for s in read_result(tmp_path / "run").strategies]
    assert {"baseline", "probe"} <= set(names)
    assert "scratch" not in names


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("name", ["probe", "finetune"])
def test_a_strategy_alone_takes_a_budget_too(fit: Fit, squares: Path, tmp_path: Path, name: str) -> None:
    done = fit(squares, "--strategies", name, "--budget", "35s", "--threads", "1", "--out", tmp_path / name)
    assert done.code == 0, done.err
    budget = read_result(tmp_path / name).budget
    assert budget is not None
    assert bool(budget.left_out) == (name == "finetune")


def test_time_that_runs_short_ends_the_race_with_the_best_answer_so_far(
    fit: Fit, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Speeds(spent=0, image=0, forward=0, step=0, train=0, setup=0, solve=0, baseline=0, close=0)
    monkeypatch.setattr(Gauge, "speeds", lambda _self, _clock: nothing)
    ticks = itertools.count()
    monkeypatch.setattr(
        Clock, "__call__", lambda _self: float(next(ticks))
    )  # a second passes with each trial that isn't vital
    words = ("--strategies", "baseline,probe,freeze@1,finetune", "--blocks", "3", "--lr", "1e-3", "--epochs", "1")
    done = fit(squares, *words, "--budget", "3s", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    found = read_result(tmp_path / "run")
    assert found.budget is not None
    assert found.budget.left_out == ["2 of 3 planned blocks (not run)"]
    assert [b.index for b in found.blocks] == [0]
    assert {len(s.blocks) for s in found.strategies} == {1}
    assert "not run" in done.out


def test_a_budget_below_the_least_is_refused_with_what_is_needed(fit: Fit, squares: Path, tmp_path: Path) -> None:
    done = fit(squares, *RACE, "--budget", "1s", "--out", tmp_path / "run")
    assert done.code == 2
    assert "--budget 1 s is too short: baseline and probe on 2 blocks, with refit and test, need about" in done.err
    assert "or more." in done.err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_the_plan_that_it_was_begun_with(
    fit: Fit, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*RACE, "--epochs", "1", "--blocks", "2", "--budget", "1h", "--out", tmp_path / "run")
    with monkeypatch.context() as broken:
        broken.setattr("frostline.pipeline.run_race", interrupt)
        assert fit(squares, *words).code == 130
    note = tmp_path / "run" / ".work" / afford_module.REDUCTION_FILE
    cut = json.loads(note.read_text(encoding="utf-8"))
    note.write_text(json.dumps({**cut, "dropped": ["scratch"]}), encoding="utf-8")
    done = fit(squares, *words, "--resume")
    assert done.code == 0, done.err
    budget = read_result(tmp_path / "run").budget
    assert budget is not None
    assert budget.left_out == ["scratch"]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_installed_command_counts_from_its_start_and_ends_in_time(
    network: tuple[str, str], squares: Path, tmp_path: Path
) -> None:
    begun = time.perf_counter()
    words = ("--strategies", "probe,finetune", "--blocks", "2", "--epochs", "2", "--budget", "60s", "--out", "run")
    done = frostline(
        "fit",
        squares,
        "--model",
        network[0],
        "--weights",
        network[1],
        *words,
        "--plain",
        cwd=tmp_path,
        cache=tmp_path / "cache",
    )
    seconds = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    assert seconds <= 1.1 * 60
    assert read_result(tmp_path / "run").verdict.strategy
