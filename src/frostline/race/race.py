"""The race: tune every stepped strategy's rate, then run all strategies block by block, dropping those beyond doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frostline.base.events import Emit, Event
from frostline.base.records import IntArray, Outcome
from frostline.race.eliminate import beyond_doubt
from frostline.race.plan import Plan, PlanRow, block_trial, tune_trial
from frostline.race.standing import Standing, standing_from
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import Trial
from frostline.stats.contributions import Metric

RunTrials = Callable[[Sequence[Trial]], Iterable[Outcome]]


@dataclass
class RaceResult:
    """All outcomes, the rate each stepped strategy got, and why some did not go on."""

    outcomes: list[Outcome] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    eliminated: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # for want of time, in words
    blocks: int = 0  # that all running strategies finished

    def of(self, name: str, purpose: str = "block") -> list[Outcome]:
        return [o for o in self.outcomes if o.strategy == name and o.purpose == purpose]

    def steps(self, name: str) -> int | None:
        """Median steps over the blocks (over the chosen tuning run for a strategy that did not race)."""
        done = [o for o in self.of(name) if o.ok] or [
            o for o in self.of(name, "tune") if o.ok and o.rate == self.rates.get(name)
        ]
        if done and done[0].steps:
            return int(np.median([o.steps for o in done]))
        return None

    def mix(self, name: str) -> float | None:
        """Median mix over the blocks of an interpolated strategy."""
        found = [o.mix for o in self.of(name) if o.ok and o.mix is not None]
        if found:
            return float(np.median(found))
        return None


def run_race(plan: Plan, run: RunTrials, *, labels: IntArray, margin: float, emit: Emit) -> RaceResult:
    """Run the plan. `run` may yield outcomes in any order; the result doesn't depend on it.

    It may also yield fewer than asked for, where time runs out. Rates that weren't tried are not chosen. A strategy
    that misses the first block leaves the race; any later block that isn't complete is dropped, and the race ends.
    """
    result = RaceResult()
    _tune(plan, run, result)
    blocks = plan.race_blocks()
    for position, block in enumerate(blocks):
        running = [row for row in plan.rows if row.recipe.name not in {**result.eliminated, **result.failed}]
        trials = [block_trial(row.recipe, block, result.rates.get(row.recipe.name)) for row in running]
        done = _in_order(trials, run(trials))
        if position and len(done) < len(trials):
            result.left_out.append(_blocks_missing(len(blocks) - position, len(blocks)))
            break
        result.outcomes += done
        result.blocks = position + 1
        _leave_out(result, [t.recipe.name for t in trials if t.key not in {o.key for o in done}])
        _note_failures(result)
        if position + 1 < len(blocks):
            _eliminate(plan, result, labels=labels, margin=margin, emit=emit)
    return result


def _tune(plan: Plan, run: RunTrials, result: RaceResult) -> None:
    """Each stepped strategy gets the rate with the lowest log loss on the inner rows; ties go to the lower rate."""
    trials = [tune_trial(plan, row.recipe, rate) for row in plan.rows for rate in row.rates]
    result.outcomes += (done := _in_order(trials, run(trials)))
    if len(done) < len(trials):
        result.left_out.append(f"{len(trials) - len(done)} of {len(trials)} tuning runs (time ran short)")
    for row in plan.rows:
        name, tried = row.recipe.name, result.of(row.recipe.name, "tune")
        good = [o for o in tried if o.ok]
        if tried and not good:
            result.failed[name] = tried[0].error or "no rate worked"
        elif good:
            result.rates[name] = min(good, key=lambda o: (o.log_loss, o.rate or 0.0)).rate or 0.0
        elif row.recipe.rates:  # nothing could be tuned: the user's rate, or the middle one
            result.rates[name] = row.recipe.rates[len(row.recipe.rates) // 2]


def _in_order(trials: Sequence[Trial], outcomes: Iterable[Outcome]) -> list[Outcome]:
    found = {o.key: o for o in outcomes}
    return [found[t.key] for t in trials if t.key in found]


def _blocks_missing(missing: int, of: int) -> str:
    return f"{missing} of {of} planned blocks (time ran short)"


def _leave_out(result: RaceResult, names: Sequence[str]) -> None:
    for name in names:
        result.left_out.append(f"{name} (time ran short)")
        result.eliminated[name] = f"{name} is left out: the budget left no time for it."


def raced(plan: Plan, result: RaceResult) -> Plan:
    """The plan as far as it was run: blocks that were dropped for want of time are gone."""
    if plan.alone:
        return plan
    return replace(plan, blocks=plan.blocks[: result.blocks])


def _note_failures(result: RaceResult) -> None:
    for outcome in result.outcomes:
        if outcome.purpose == "block" and not outcome.ok:
            result.failed.setdefault(outcome.strategy, outcome.error or "failed")


def block_sizes(plan: Plan) -> tuple[float, float]:
    """Mean training and validation samples of a block."""
    return (
        float(np.mean([len(b.train) for b in plan.blocks])),
        float(np.mean([len(b.validation) for b in plan.blocks])),
    )


def standings(plan: Plan, result: RaceResult, labels: IntArray, metric: Metric | None = None) -> list[Standing]:
    """Where every strategy that has run stands, by the plan's metric or another; costs count the steps really taken."""
    by = metric or plan.metric
    return [_standing(plan, row, result, labels, by) for row in plan.rows if result.of(row.recipe.name)]


def _standing(plan: Plan, row: PlanRow, result: RaceResult, labels: IntArray, metric: Metric) -> Standing:
    name = row.recipe.name
    return standing_from(
        result.of(name),
        labels,
        cost=plan.use_cost(row.recipe, result.steps(name)),
        trained_parameters=row.trained_parameters,
        metric=metric,
        eliminated=name in result.eliminated or name in result.failed,
        is_baseline=not row.recipe.needs_network,
        is_anchor=is_anchor(row.recipe),
    )


def _eliminate(plan: Plan, result: RaceResult, *, labels: IntArray, margin: float, emit: Emit) -> None:
    n_train, n_test = block_sizes(plan)
    dropped = beyond_doubt(
        standings(plan, result, labels), looks=len(plan.blocks) - 1, n_train=n_train, n_test=n_test, margin=margin
    )
    left = [b for b in plan.blocks if b.index not in {o.block for o in result.outcomes if o.purpose == "block"}]
    for name, reason in dropped.items():
        result.eliminated[name] = reason
        saved = sum(plan.trial_operations(block_trial(plan.row(name).recipe, b, None)) for b in left)
        emit(Event(kind="eliminated", text=reason, data={"strategy": name, "operations": saved}))
