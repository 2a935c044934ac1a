"""The engine of this machine: a trial is on disk before it counts, and what is there isn't run again."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frostline.base.events import Event, ProgressEvent
from frostline.base.records import CurvePoint, Outcome
from frostline.bundle.runfolder import RunFolder
from frostline.engines import local
from frostline.engines.local import LocalEngine, Meter
from frostline.recipe.recipe import Trial


def trial(name: str, block: int = 0) -> Trial:
    recipe: Any = SimpleNamespace(name=name)
    return Trial(recipe=recipe, purpose="block", block=block, rate=0.1, train=(0, 1), validation=(2,))


def outcome(of: Trial, error: str | None = None) -> Outcome:
    return Outcome(
        key=of.key,
        strategy=of.recipe.name,
        purpose=of.purpose,
        block=of.block,
        rate=of.rate,
        rows=(2,),
        probabilities=((0.5, 0.5),),
        accuracy=0.5,
        log_loss=0.7,
        steps=1,
        epochs=1.0,
        undertrained=False,
        l2=None,
        seconds=0.1,
        operations=1.0,
        error=error,
    )


class Case:
    """An engine whose trials are made up; `ran` names those that really ran."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.events, self.ran = RunFolder(path), cast(list[Event], []), cast(list[str], [])
        monkeypatch.setattr(local, "run_trial", self._run)

    def _run(self, _study: Any, of: Trial, _operations: float = 0.0) -> Outcome:
        self.ran.append(of.key)
        return outcome(of, "diverged" if of.recipe.name == "bad" else None)

    def engine(self) -> LocalEngine:
        meter = Meter(self.events.append, 40.0)
        study: Any = None
        return LocalEngine(study, self.folder, self.events.append, meter, lambda _trial: 10.0)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


RATE_AND_STEPS = {"rate": 0.1, "steps": None}


def keys(trials: Sequence[Trial]) -> list[str]:
    return [t.key for t in trials]


def test_outcomes_are_on_disk_before_they_are_handed_over(case: Case) -> None:
    trials = [trial("probe", 0), trial("probe", 1)]
    for done, _ in zip(trials, case.engine().run(trials), strict=False):
        assert case.folder.load_outcome(done.key) is not None
    assert case.ran == keys(trials)


def test_a_second_run_repeats_only_what_is_missing_or_damaged(case: Case) -> None:
    trials = [trial("probe", block) for block in range(3)]
    first = list(case.engine().run(trials))
    case.ran.clear()
    damaged = case.folder._outcome_path(trials[1].key)
    damaged.write_text(damaged.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert list(case.engine().run(trials)) == first
    assert case.ran == [trials[1].key]


def test_a_failed_trial_is_kept_and_reported(case: Case) -> None:
    (result,) = case.engine().run([trial("bad")])
    assert result.error == "diverged"
    case.ran.clear()
    assert list(case.engine().run([trial("bad")])) == [result]
    assert case.ran == []
    events = [e for e in case.events if e.kind == "trial"]
    assert "failed: diverged" in events[0].text
    assert events[0].data["error"] == "diverged"


def test_the_event_of_a_trial_names_it_and_brings_its_curve(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    points = (CurvePoint(step=10, train_loss=0.9), CurvePoint(step=20, train_loss=0.4, validation_loss=0.6))
    monkeypatch.setattr(local, "run_trial", lambda _study, of: replace(outcome(of), curve=points))
    list(case.engine().run([trial("finetune")]))
    list(case.engine().run([trial("finetune")]))  # from disk
    for event in (e for e in case.events if e.kind == "trial"):
        assert event.data["key"] == "block/finetune/0/0.1"
        assert json.loads(json.dumps(event.data))["curve"] == [
            {"step": 10, "train_loss": 0.9, "validation_loss": None},
            {"step": 20, "train_loss": 0.4, "validation_loss": 0.6},
        ]


def test_progress_counts_operations_and_known_trials_do_not_speed_up_the_forecast(case: Case) -> None:
    trials = [trial("probe", block) for block in range(2)]
    list(case.engine().run(trials))
    case.events.clear()
    list(case.engine().run([*trials, trial("probe", 2)]))
    progress = [e for e in case.events if isinstance(e, ProgressEvent) and not e.data]
    assert [e.done for e in progress] == [10.0, 20.0, 30.0]
    assert {e.total for e in progress} == {40.0}
    assert [e.seconds_left for e in progress[:2]] == [None, None]
    assert progress[2].seconds_left is not None


def test_it_is_told_which_trial_begins_and_known_ones_begin_none(case: Case) -> None:
    trials = [trial("probe", block) for block in range(3)]
    list(case.engine().run(trials[:1]))
    case.events.clear()
    list(case.engine().run(trials))
    begun = [e for e in case.events if isinstance(e, ProgressEvent) and e.data]
    assert [(e.data["state"], e.data["strategy"], e.data["block"]) for e in begun] == [
        ("begin", "probe", 1),
        ("begin", "probe", 2),
    ]
    assert [e.done for e in begun] == [10.0, 20.0]  # it counts once it is done
    assert begun[0].data == {"state": "begin", "strategy": "probe", "purpose": "block", "block": 1, **RATE_AND_STEPS}


def test_forecast_is_the_time_so_far_scaled_to_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 108.0)
    events: list[Any] = []
    Meter(events.append, 50.0, started=100.0).add(20.0, text="probe")
    assert events[0].seconds_left == pytest.approx(8.0 / 20 * 30)


def test_doubtful_work_is_counted_once_it_is_known_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 110.0)
    events: list[Any] = []
    meter = Meter(events.append, 30.0, withheld=70.0, started=100.0)
    meter.add(10.0, text="probe")
    assert events[-1].seconds_left == pytest.approx(20.0)
    meter.watch(Event(kind="waiting", text="", data={"operations": 50.0}))
    meter.add(0.0, text="finetune")
    assert events[-1].seconds_left == pytest.approx(40.0)  # 100 in all, 50 wait, 10 are done
    meter.watch(Event(kind="waiting", text="", data={"operations": 0.0}))
    assert meter.total == 50.0  # put back once only


def test_what_is_known_is_read_and_nothing_is_run(case: Case) -> None:
    trials = [trial("probe", block) for block in range(3)]
    list(case.engine().run(trials[1:2]))
    case.ran.clear()
    assert [o.key for o in case.engine().known(trials)] == keys(trials[1:2])
    assert not case.ran


class Stopping:
    """A guard that allows a number of trials and notes what it learns."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self.asked, self.learnt = allowed, cast(list[str], []), cast(list[tuple[float, float]], [])
        self.forecast = SimpleNamespace(trial=lambda _trial, steps: 7.0 * steps)

    def allows(self, of: Trial) -> bool:
        self.asked.append(of.key)
        return len(self.asked) <= self.allowed

    def learn(self, expected: float, taken: float) -> None:
        self.learnt.append((expected, taken))


def test_a_guard_ends_a_round_and_learns_what_trials_took(case: Case) -> None:
    trials = [trial("probe", block) for block in range(3)]
    guard: Any = Stopping(2)
    done = list(replace(case.engine(), guard=guard).run(trials))
    assert [o.key for o in done] == keys(trials[:2])
    assert case.ran == keys(trials[:2])
    assert guard.learnt == [(7.0, 0.1)] * 2


def test_trials_that_are_on_disk_need_no_time(case: Case) -> None:
    trials = [trial("probe", block) for block in range(3)]
    list(case.engine().run(trials[:2]))
    guard: Any = Stopping(0)
    assert len(list(replace(case.engine(), guard=guard).run(trials))) == 2
    assert guard.asked == [trials[2].key]


def test_trials_that_the_plan_did_not_count_are_added_to_what_is_to_be_done(case: Case) -> None:
    engine = case.engine()
    done = list(engine.run_more([trial("probe", block) for block in range(3)]))
    assert len(done) == 3
    assert (engine.meter.total, engine.meter.done) == (40.0 + 30.0, 30.0)
