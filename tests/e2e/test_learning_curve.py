"""The learning curve of a real run: kept out of the race, gone on with after a stop, told in the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from frostline.base.events import Event, silent
from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import RunResult, without_volatile
from frostline.pipeline import run
from frostline.recipe.settings import Settings

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def make(squares: Path, network: tuple[str, str]) -> Make:
    """Settings of a race whose cheapest strategies are solved."""
    given = {
        "data": squares,
        "model": network[0],
        "weights": Path(network[1]),
        "epochs": 4,
        "threads": 1,
        "blocks": 3,
        "strategies": ("baseline", "probe", "probe@2", "freeze@1"),
    }
    return lambda **changed: Settings(**{**given, **changed})


@pytest.fixture(scope="module")
def whole(make: Make, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out, events = tmp_path_factory.mktemp("out") / "whole", list[Event]()
    run(make(out=out), events.append)
    return SimpleNamespace(out=out, events=events, result=read_result(out))


def trials(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "trials.jsonl").read_text(encoding="utf-8").splitlines()]


def test_curves_are_in_the_record_and_their_full_size_is_the_races_own(whole: SimpleNamespace) -> None:
    result: RunResult = whole.result
    assert result.learning_curve is not None
    by_name = {c.name: c.points for c in result.learning_curve.curves}
    assert {result.verdict.strategy, result.verdict.best, "probe", "baseline"} <= set(by_name)
    assert [q.labels for q in by_name["probe"]] == [4, 8, 16]
    for s in result.strategies:
        if s.name in by_name:
            assert by_name[s.name][-1].accuracy == s.accuracy
            assert by_name[s.name][-1].ci == s.accuracy_ci


def test_trials_of_the_curve_are_kept_and_audited_but_take_no_part_in_the_race(
    whole: SimpleNamespace, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trials(whole.out)
    curve = [t for t in kept if t["purpose"] == "curve"]
    assert {t["block"] for t in curve} == {0, 1, 2}
    monkeypatch.setattr("frostline.pipeline.learning_curve", lambda *_, **__: None)
    run(make(out=tmp_path / "without"), silent)
    without = read_result(tmp_path / "without")
    assert without.learning_curve is None
    assert trials(tmp_path / "without") == [
        {**t, "seconds": u["seconds"]} for t, u in zip(kept, trials(tmp_path / "without"), strict=False)
    ]
    same = without_volatile(whole.result), without_volatile(without)
    for key in ("strategies", "pairs", "verdict", "test", "blocks"):
        assert same[0][key] == same[1][key]
    assert pq.read_table(whole.out / "oof.parquet").equals(pq.read_table(tmp_path / "without" / "oof.parquet"))
    assert whole.result.audit.frozen_tensors > without.audit.frozen_tensors
    assert whole.result.audit.frozen_unchanged == whole.result.audit.frozen_tensors


def test_progress_ends_at_its_total(whole: SimpleNamespace) -> None:
    last = [e for e in whole.events if e.kind == "progress"][-1]
    assert last.done == pytest.approx(last.total)
    told = [e.text for e in whole.events if e.kind == "trial" and e.data["purpose"] == "curve"]
    assert ", block 1, 8 labels: accuracy" in told[0]


def test_a_run_that_was_stopped_in_its_curve_goes_on_to_the_same_record(
    whole: SimpleNamespace, make: Make, tmp_path: Path
) -> None:
    seen: list[str] = []

    def interrupt(event: Event) -> None:
        if event.kind == "trial" and event.data["purpose"] == "curve":
            seen.append(event.text)
            if len(seen) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make(out=tmp_path / "stopped"), interrupt)
    run(make(out=tmp_path / "stopped", resume=True), silent)
    assert without_volatile(read_result(tmp_path / "stopped")) == without_volatile(whole.result)


def test_a_strategy_that_ran_alone_has_no_curve_unless_blocks_are_asked_for(make: Make, tmp_path: Path) -> None:
    run(make(out=tmp_path / "alone", strategies=("probe",), blocks=None), silent)
    assert read_result(tmp_path / "alone").learning_curve is None
    run(make(out=tmp_path / "asked", strategies=("probe",), blocks=2), silent)
    found = read_result(tmp_path / "asked").learning_curve
    assert found is not None
    assert [c.name for c in found.curves] == ["probe"]
