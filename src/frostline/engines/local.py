"""Trials one after the other on this machine's device; each is on disk before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from frostline.base.events import Emit, Event, ProgressEvent
from frostline.base.records import Outcome
from frostline.bundle.runfolder import RunFolder
from frostline.planning.plan_race import all_views
from frostline.race.budget import Guard
from frostline.race.plan import Plan
from frostline.recipe.recipe import Trial
from frostline.train.study import Study
from frostline.train.trial import run_trial


@dataclass
class Meter:
    """Progress in counted operations, with the time left at the speed so far (trials taken from disk don't count)."""

    emit: Emit
    total: float
    done: float = 0.0
    measured: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, operations: float, *, text: str, measured: bool = True) -> None:
        self.done += operations
        self.measured += operations if measured else 0.0
        elapsed = time.perf_counter() - self.started
        left = elapsed / self.measured * max(0.0, self.total - self.done) if self.measured else None
        self.emit(ProgressEvent(kind="progress", text=text, done=self.done, total=self.total, seconds_left=left))

    def expect(self, operations: float) -> None:
        """More is to be done than was planned at first."""
        self.total += operations

    def watch(self, event: Event) -> None:
        """Pass an event on; what an eliminated strategy would have cost is no longer to be done."""
        if event.kind == "eliminated":
            self.total = max(self.done, self.total - float(event.data["operations"]))
        self.emit(event)


@dataclass(frozen=True)
class LocalEngine:
    """`operations` tells what a trial costs by count. A `guard` may end a round of trials before its end."""

    study: Study
    folder: RunFolder
    emit: Emit
    meter: Meter
    operations: Callable[[Trial], float]
    guard: Guard | None = None

    def run(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            cost = self.operations(trial)
            outcome = self.folder.load_outcome(trial.key)
            known = outcome is not None
            if outcome is None:
                if self.guard and not self.guard.allows(trial):
                    return
                outcome = run_trial(self.study, trial)
                steps = replace(trial, steps=outcome.steps or trial.steps)
                outcome = replace(outcome, operations=self.operations(steps))
                self.folder.save_outcome(outcome)
                if self.guard and outcome.steps:
                    self.guard.learn(self.guard.forecast.trial(trial, outcome.steps), outcome.seconds)
            self.emit(Event(kind="trial", text=_line(trial, outcome), data=_summary(outcome)))
            self.meter.add(cost, text=trial.recipe.name, measured=not known)
            yield outcome

    def run_more(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Run trials that the plan didn't count."""
        self.meter.expect(sum(self.operations(trial) for trial in trials))
        return self.run(trials)


def _line(trial: Trial, outcome: Outcome) -> str:
    where = "tuning" if outcome.purpose == "tune" else f"block {outcome.block + 1}"
    where += f", {len(trial.train)} labels" if trial.purpose == "curve" else ""
    rate = "" if outcome.rate is None else f" at {outcome.rate:g}"
    if not outcome.ok:
        return f"{outcome.strategy}{rate}, {where}: failed: {outcome.error}"
    return f"{outcome.strategy}{rate}, {where}: accuracy {outcome.accuracy:.3f}, log loss {outcome.log_loss:.3f}"


def _summary(outcome: Outcome) -> dict[str, object]:
    names = ("strategy", "purpose", "block", "rate", "accuracy", "log_loss", "steps", "seconds", "error")
    return {name: getattr(outcome, name) for name in names}


def compute_features(study: Study, plan: Plan, meter: Meter) -> None:
    """Views and activations that all trials share, each computed once (or found in the store)."""
    views = all_views(study, [row.recipe for row in plan.rows])
    for count, view in enumerate(views, 1):
        before = study.features.prefix_images
        study.features.prepare(view)
        fresh = study.features.prefix_images > before
        meter.add(plan.shared_operations / len(views), text=f"view {count} of {len(views)}", measured=fresh)
