"""Runs trials one after another on this machine's device; each outcome is on disk before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from frostline.base.events import Emit, Event, ProgressEvent
from frostline.base.memory import give_back_memory
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
    """Progress in counted operations, with the time left at the speed so far (trials taken from disk don't count).

    `withheld`: work that isn't counted yet, until it is known which strategies wait.
    """

    emit: Emit
    total: float
    done: float = 0.0
    measured: float = 0.0
    withheld: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, operations: float, *, text: str, measured: bool = True) -> None:
        self.done += operations
        if measured:
            self.measured += operations
        self._tell(text, {})

    def begin(self, trial: Trial) -> None:
        """Say which trial is run now; it counts once it is added."""
        names = ("purpose", "block", "rate", "steps")
        data = {name: getattr(trial, name) for name in names}
        self._tell(trial.recipe.name, {"state": "begin", "strategy": trial.recipe.name, **data})

    def _tell(self, text: str, data: dict[str, object]) -> None:
        left = self._seconds_left()
        self.emit(
            ProgressEvent(kind="progress", text=text, done=self.done, total=self.total, seconds_left=left, data=data)
        )

    def _seconds_left(self) -> float | None:
        if not self.measured:
            return None
        elapsed = time.perf_counter() - self.started
        return elapsed / self.measured * max(0.0, self.total - self.done)

    def expect(self, operations: float) -> None:
        """Add work that the plan didn't count."""
        self.total += operations

    def watch(self, event: Event) -> None:
        """Pass an event on; the work of a strategy that was dropped or waits is taken off the total, and put back if it
        runs after all."""
        if event.kind == "waiting":
            self.expect(self.withheld)
            self.withheld = 0.0
        if event.kind in ("eliminated", "waiting", "ended"):
            self.total = max(self.done, self.total - float(event.data["operations"]))
        elif event.kind == "resumed":
            self.expect(float(event.data["operations"]))
        self.emit(event)


def start_meter(plan: Plan, emit: Emit, *, short: bool) -> Meter:
    """Return the meter of a plan; `short` withholds what a short race will hardly run."""
    withheld = 0.0
    if short:
        withheld = plan.doubtful_operations
    return Meter(emit, plan.operations - withheld, withheld=withheld)


@dataclass(frozen=True)
class LocalEngine:
    """Runs trials; `operations` counts what one costs. A `guard` may stop a round of trials early."""

    study: Study
    folder: RunFolder
    emit: Emit
    meter: Meter
    operations: Callable[[Trial], float]
    guard: Guard | None = None

    def run(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        give_back_memory()  # strategies of one kind need memory of one size, the next kind of another
        for trial in trials:
            cost = self.operations(trial)
            outcome = self.folder.load_outcome(trial.key)
            known = outcome is not None
            if outcome is None:
                if self.guard and not self.guard.allows(trial):
                    return
                self.meter.begin(trial)
                outcome = self._run_and_save(trial)
            self.emit(Event(kind="trial", text=_trial_line(trial, outcome), data=_event_data(outcome)))
            self.meter.add(cost, text=trial.recipe.name, measured=not known)
            yield outcome

    def known(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yield the outcomes that are on disk already; the others are not run."""
        for trial in trials:
            outcome = self.folder.load_outcome(trial.key)
            if outcome is not None:
                self.meter.add(self.operations(trial), text=trial.recipe.name, measured=False)
                yield outcome

    def _run_and_save(self, trial: Trial) -> Outcome:
        outcome = run_trial(self.study, trial)
        steps = replace(trial, steps=outcome.steps or trial.steps)
        outcome = replace(outcome, operations=self.operations(steps))
        self.folder.save_outcome(outcome)
        if self.guard and outcome.steps:
            self.guard.learn(self.guard.forecast.trial(trial, outcome.steps), outcome.seconds)
        return outcome

    def run_more(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Run trials that the plan didn't count."""
        self.meter.expect(sum(self.operations(trial) for trial in trials))
        return self.run(trials)


def _trial_line(trial: Trial, outcome: Outcome) -> str:
    subject = outcome.strategy
    if outcome.rate is not None:
        subject += f" at {outcome.rate:g}"
    where = f"block {outcome.block + 1}"
    if outcome.purpose == "tune":
        where = "tuning"
    if trial.purpose == "curve":
        where += f", {len(trial.train)} labels"
    result = f"accuracy {outcome.accuracy:.3f}, log loss {outcome.log_loss:.3f}"
    if not outcome.ok:
        result = f"failed: {outcome.error}"
    return f"{subject}, {where}: {result}"


def _event_data(outcome: Outcome) -> dict[str, object]:
    names = ("key", "strategy", "purpose", "block", "rate", "accuracy", "log_loss", "steps", "seconds", "error")
    data: dict[str, object] = {name: getattr(outcome, name) for name in names}
    data["curve"] = [asdict(point) for point in outcome.curve]
    return data


def compute_features(study: Study, plan: Plan, meter: Meter, *, stepped: bool = True) -> None:
    """Compute the views and activations that all trials share, each once (or read them from the store).

    Without `stepped` only those for what takes no steps: the others are made when the first trial asks for them.
    """
    recipes = [row.recipe for row in plan.rows if stepped or not row.recipe.takes_steps]
    wanted = [(one, view) for one in study.every() for view in all_views(one, study.recipes_of(one, recipes))]
    for count, (one, view) in enumerate(wanted, 1):
        before = one.features.prefix_images
        one.features.prepare(view)
        fresh = one.features.prefix_images > before
        meter.add(plan.shared_operations / len(wanted), text=f"view {count} of {len(wanted)}", measured=fresh)
