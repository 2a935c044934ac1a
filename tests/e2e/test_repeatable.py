"""Same seed, same bits; a run that was killed goes on to the same result; every strategy is tested on request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from cases.small_world import FROSTLINE, NETWORK, write_images, write_network
from frostline.base.events import Event
from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import RunResult, without_volatile
from frostline.pipeline import run
from frostline.recipe.settings import Settings
from helpers.killed_runs import KILL_AFTER, bits, killed_run

Fit = Callable[..., SimpleNamespace]
RACE = ("--strategies", "baseline,probe,freeze@1,finetune,scratch", "--blocks", "3", "--epochs", "6", "--threads", "1")


@pytest.fixture(scope="module")
def whole(fit: Fit, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("out") / "whole"
    done = fit(squares, *RACE, "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    fit: Fit, squares: Path, tmp_path: Path, whole: Path
) -> None:
    for name, words in (("again", ()), ("other", ("--seed", "1"))):
        assert fit(squares, *RACE, *words, "--out", tmp_path / name).code == 0
    assert bits(tmp_path / "again") == bits(whole)
    record = without_volatile(read_result(whole))
    assert without_volatile(read_result(tmp_path / "again")) == record
    other = without_volatile(read_result(tmp_path / "other"))
    assert other["blocks"] == record["blocks"]  # as many samples, but others
    assert [s["log_loss"] for s in other["strategies"]] != [s["log_loss"] for s in record["strategies"]]
    assert bits(tmp_path / "other")["model/model.safetensors"] != bits(whole)["model/model.safetensors"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(
    fit: Fit, squares: Path, network: tuple[str, str], tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "killed"
    command = [FROSTLINE, "fit", str(squares), "--model", network[0], "--weights", network[1], *RACE, "--out", str(out)]
    finished = killed_run(command, out)
    assert not (out / "result.json").exists()

    refused = fit(squares, *RACE, "--out", out)
    assert refused.code == 2
    assert "holds another run" in refused.err
    refused = fit(squares, *RACE, "--out", out, "--resume", "--seed", "7")
    assert refused.code == 2
    assert "begun with other settings (seed)" in refused.err

    done = fit(squares, *RACE, "--out", out, "--resume")
    assert done.code == 0, done.err
    assert bits(out) == bits(whole)
    assert without_volatile(read_result(out)) == without_volatile(read_result(whole))
    trials = {t["key"]: t for t in map(json.loads, (out / "trials.jsonl").read_text().splitlines())}
    assert len(trials) > len(finished) >= KILL_AFTER
    assert {key: trials[key]["seconds"] for key in finished} == finished  # taken from disk, not run again
    assert {f.name for f in out.iterdir()} == {f.name for f in whole.iterdir()}


@pytest.mark.slow
def test_a_killed_run_is_concluded_with_what_it_has_measured(
    fit: Fit, squares: Path, network: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    words = ("--strategies", "baseline,probe,probe@1,finetune", "--blocks", "3", "--threads", "1", "--out", out)
    refused = fit(squares, *words, "--conclude")
    assert refused.code == 2
    assert "holds no interrupted run" in refused.err
    command = [FROSTLINE, "fit", str(squares), "--model", network[0], "--weights", network[1], *map(str, words)]
    killed_run(command, out, after=10)  # nine trials take no steps
    done = fit(squares, *words, "--conclude")
    assert done.code == 0, done.err
    result = read_result(out)
    assert result.concluded
    assert "Concluded before its end" in done.out
    measured = {s.name for s in result.strategies if s.status == "raced"}
    assert {"baseline", "probe", "probe@1"} <= measured
    assert result.verdict.strategy in measured
    assert (out / "model" / "model.safetensors").exists()
    assert "ended before all of it was run" in (result.methods.paragraph if result.methods else "")


def test_conclude_names_what_is_missing(fit: Fit, squares: Path, tmp_path: Path) -> None:
    refused = fit(squares, "--conclude")
    assert refused.code == 2
    assert "--conclude without --out" in refused.err


def test_resuming_a_finished_run_changes_nothing(fit: Fit, squares: Path, whole: Path) -> None:
    before = {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in whole.rglob("*") if f.is_file()}
    done = fit(squares, *RACE, "--out", whole, "--resume")
    assert done.code == 0, done.err
    assert read_result(whole).verdict.strategy in done.out
    refused = fit(squares, *RACE, "--out", whole, "--resume", "--epochs", "7")
    assert refused.code == 2
    assert "begun with other settings (epochs)" in refused.err
    assert {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in whole.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize("changed", ["code", "weights", "data"])
def test_resuming_over_other_files_is_refused(fit: Fit, tmp_path: Path, changed: str) -> None:
    """Trials of one network or data set can't be counted for another under the same path."""
    data, out = write_images(tmp_path / "data", {"a": 8, "b": 8}), tmp_path / "out"
    spec, weights = write_network(tmp_path / "own")
    words = ("--strategies", "probe,finetune", "--epochs", "2", "--blocks", "2", "--out", out)

    def interrupt(event: Event) -> None:
        if event.kind == "trial" and len(list(out.glob(".work/outcomes/*.json"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            Settings(
                data=data, model=spec, weights=weights, strategies=("probe", "finetune"), epochs=2, blocks=2, out=out
            ),
            interrupt,
        )
    if changed == "data":
        write_images(data, {"a": 8, "b": 8}, seed=9)
    elif changed == "code":
        write_network(tmp_path / "own", NETWORK.replace("nn.ReLU()", "nn.GELU()"))
    else:
        save_file({k: -v for k, v in load_file(weights).items()}, weights)
    done = fit(data, *words, "--resume", model=spec, weights=weights)
    assert done.code == 2
    assert "--resume" in done.err


def test_evaluate_all_tests_every_strategy_once_asked(fit: Fit, squares: Path, tmp_path: Path) -> None:
    assert fit(squares, *RACE, "--evaluate-all", "--out", tmp_path / "all").code == 0
    result = RunResult.model_validate_json((tmp_path / "all" / "result.json").read_bytes())
    assert {s.name for s in result.strategies if s.test} == {"baseline", "probe", "freeze@1", "finetune", "scratch"}
    by_name = {s.name: s.test for s in result.strategies}
    chosen = by_name[result.verdict.strategy]
    assert chosen is not None
    assert (chosen.accuracy, chosen.ci) == (result.test.accuracy, result.test.ci)


def test_evaluate_all_tests_the_baseline_beside_a_single_network_strategy(
    fit: Fit, squares: Path, tmp_path: Path
) -> None:
    words = ("--strategies", "baseline,probe", "--blocks", "2", "--evaluate-all", "--out", tmp_path / "two")
    assert fit(squares, *words).code == 0
    assert {s.name for s in read_result(tmp_path / "two").strategies if s.test} == {"baseline", "probe"}


def test_only_the_verdict_is_tested_otherwise(whole: Path) -> None:
    result = read_result(whole)
    assert [s.name for s in result.strategies if s.test] == [result.verdict.strategy]
