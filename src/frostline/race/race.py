"""The race: tune every stepped strategy's rate, then run all strategies block by block, dropping those beyond doubt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frostline.base.events import Emit, Event
from frostline.base.records import IntArray, Outcome
from frostline.race.eliminate import FEWEST_BLOCKS, beyond_doubt
from frostline.race.plan import Plan, PlanRow, block_trial, tune_trial
from frostline.race.short import (
    CHANCE,
    EARLY_CHANCE,
    PROBE,
    Foresight,
    Terms,
    chance_early,
    chance_left,
    chance_to_matter,
    early_reason,
    provisional_text,
    runs_first,
    settled_reason,
    spared_reason,
)
from frostline.race.standing import Standing, complete, standing_from
from frostline.race.verdict import decide
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import Trial
from frostline.stats.contributions import Metric
from frostline.stats.paired import sample_variance

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
    spared: dict[str, str] = field(default_factory=dict)  # forecast and not trained, with the reason
    provisional: str | None = None  # the verdict that was told before any stage was trained
    known: dict[str, Outcome] = field(default_factory=dict)  # outcomes that were run ahead, by key

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


@dataclass(frozen=True, kw_only=True)
class _Course:
    """One race while it is run: `result` grows."""

    plan: Plan
    run: RunTrials
    labels: IntArray
    margin: float
    emit: Emit
    result: RaceResult
    foresight: Foresight | None = None

    def standings(self, result: RaceResult | None = None) -> list[Standing]:
        return standings(self.plan, result or self.result, self.labels)

    @property
    def terms(self) -> Terms:
        n_train, n_test = block_sizes(self.plan)
        return Terms(n_train=n_train, n_test=n_test, margin=self.margin, blocks=len(self.plan.race_blocks()))


def run_race(
    plan: Plan,
    run: RunTrials,
    *,
    labels: IntArray,
    margin: float,
    emit: Emit,
    foresight: Foresight | None = None,
) -> RaceResult:
    """Run the plan. `run` may yield outcomes in any order; the result doesn't depend on it.

    It may also yield fewer than asked for, where time runs out. Rates that weren't tried are not chosen. A strategy
    that misses the first block leaves the race; any later block that isn't complete is dropped, and the race ends.

    With `foresight` all that takes no steps is run first, and a provisional verdict is emitted. Of the rest those run
    on that are measured in any case; the others follow only where they can still change the verdict.
    """
    course = _Course(
        plan=plan, run=run, labels=labels, margin=margin, emit=emit, result=RaceResult(), foresight=foresight
    )
    if foresight is None or plan.alone:
        _run_rows(course, plan.rows)
        return course.result
    cheap = [row for row in plan.rows if not row.recipe.takes_steps]
    ahead = [block_trial(row.recipe, block, None) for block in plan.race_blocks() for row in cheap]
    course.result.known.update((o.key, o) for o in run(ahead))
    _tell_provisional(course, foresight)
    stepped = [row for row in plan.rows if row.recipe.takes_steps]
    first = [row for row in stepped if runs_first(row.recipe.name, foresight, is_anchor=is_anchor(row.recipe))]
    if foresight.choose:
        first = [row for row in first if _is_promising(course, row, foresight)]
    _run_rows(course, [*cheap, *first])
    waiting = [r for r in stepped if r not in first and r.recipe.name not in course.result.eliminated]
    _run_rows(course, _still_worth(course, waiting, foresight))
    return course.result


def _tell_provisional(course: _Course, foresight: Foresight) -> None:
    """Emit the verdict among what takes no steps, with what the forecast says of the rest."""
    measured = course.standings(RaceResult(outcomes=list(course.result.known.values())))
    if all(s.is_baseline for s in complete(measured)):
        return
    terms = course.terms
    verdict = decide(measured, n_train=terms.n_train, n_test=terms.n_test, margin=terms.margin)
    data = {
        "strategy": verdict.strategy,
        "measured": {s.name: s.score for s in complete(measured)},
        "forecast": {name: s.score for name, s in foresight.standings.items()},
    }
    course.result.provisional = verdict.strategy
    text = provisional_text(verdict.strategy, measured, foresight)
    course.emit(Event(kind="provisional", text=text, data=data))


def _is_promising(course: _Course, row: PlanRow, foresight: Foresight) -> bool:
    """Judge a strategy that can't be forecast by an early reading: its middle rate, against `probe` on the same inner
    samples. False, and it is dropped, where it is beyond hope."""
    probes = [r for r in course.plan.rows if r.recipe.name == PROBE and r.recipe.is_solved]
    if row.recipe.name in foresight.standings or not row.rates or not probes or is_anchor(row.recipe):
        return True
    result = course.result
    trials = [
        tune_trial(course.plan, probes[0].recipe, None),
        tune_trial(course.plan, row.recipe, row.rates[len(row.rates) // 2]),
    ]
    result.known.update((o.key, o) for o in course.run([t for t in trials if t.key not in result.known]))
    found = [result.known[t.key] for t in trials if t.key in result.known and result.known[t.key].ok]
    if len(found) < len(trials):
        return True
    probe, early = found
    labels = course.labels[np.asarray(early.rows, dtype=np.int64)]
    right = [np.asarray(o.probabilities).argmax(1) == labels for o in (early, probe)]
    variance = sample_variance(*(r.astype(np.float64) for r in right))
    chance = chance_early(early.accuracy, probe.accuracy, variance, len(labels), course.margin)
    if chance >= EARLY_CHANCE:
        return True
    result.outcomes.append(early)
    _drop(course, row, (), early_reason(row.recipe.name, early.accuracy, probe.accuracy))
    return False


def _still_worth(course: _Course, waiting: Sequence[PlanRow], foresight: Foresight) -> list[PlanRow]:
    """Return the rows that can still change the verdict; the others are spared, with the reason."""
    measured = course.standings()
    worth = []
    for row in waiting:
        name = row.recipe.name
        chance = chance_to_matter(name, foresight, measured, course.terms)
        if chance >= CHANCE:
            worth.append(row)
            continue
        reason = spared_reason(name, foresight, chance)
        course.result.spared[name] = reason
        data = {"strategy": name, "operations": row.operations, "probability": chance}
        course.emit(Event(kind="spared", text=reason, data=data))
    return worth


def _run_rows(course: _Course, rows: Sequence[PlanRow]) -> None:
    """Tune these rows and run them block by block, dropping those beyond doubt."""
    if not rows:
        return
    result = course.result
    _tune(course, rows)
    blocks = course.plan.race_blocks()
    for position, block in enumerate(blocks):
        running = [row for row in rows if row.recipe.name not in {**result.eliminated, **result.failed}]
        trials = [block_trial(row.recipe, block, result.rates.get(row.recipe.name)) for row in running]
        known = [result.known[t.key] for t in trials if t.key in result.known]
        done = _in_order(trials, [*known, *course.run([t for t in trials if t.key not in result.known])])
        if position and len(done) < len(trials):
            result.left_out.append(_blocks_missing(len(blocks) - position, len(blocks)))
            break
        result.outcomes += done
        result.blocks = position + 1
        _leave_out(result, [t.recipe.name for t in trials if t.key not in {o.key for o in done}])
        _note_failures(result)
        if position + 1 < len(blocks):
            so_far = {b.index for b in blocks[: position + 1]}
            _eliminate(course, rows, so_far)
            _settle(course, rows, so_far)


def _tune(course: _Course, rows: Sequence[PlanRow]) -> None:
    """Each stepped strategy gets the rate with the lowest log loss on the inner rows; ties go to the lower rate."""
    result = course.result
    trials = [tune_trial(course.plan, row.recipe, rate) for row in rows for rate in row.rates]
    known = [result.known[t.key] for t in trials if t.key in result.known]
    done = _in_order(trials, [*known, *course.run([t for t in trials if t.key not in result.known])])
    result.outcomes += done
    if len(done) < len(trials):
        result.left_out.append(f"{len(trials) - len(done)} of {len(trials)} tuning runs (time ran short)")
    for row in rows:
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


def _eliminate(course: _Course, rows: Sequence[PlanRow], blocks: Collection[int]) -> None:
    """Drop those of `rows` whose loss is beyond doubt on the blocks so far."""
    plan = course.plan
    result = course.result
    so_far = replace(result, outcomes=[o for o in result.outcomes if o.purpose != "block" or o.block in blocks])
    terms = course.terms
    dropped = beyond_doubt(
        course.standings(so_far),
        looks=len(plan.blocks) - 1,
        n_train=terms.n_train,
        n_test=terms.n_test,
        margin=terms.margin,
    )
    for row in rows:
        if row.recipe.name in dropped:
            _drop(course, row, blocks, dropped[row.recipe.name])


def _settle(course: _Course, rows: Sequence[PlanRow], blocks: Collection[int]) -> None:
    """Stop those stepped rows whose further blocks can't change the verdict, where we may choose what is run."""
    foresight = course.foresight
    if foresight is None or not foresight.choose or len(blocks) < FEWEST_BLOCKS:
        return
    result = course.result
    running = [row for row in rows if row.recipe.takes_steps]
    running = [row for row in running if row.recipe.name not in {**result.eliminated, **result.failed}]
    by_name = {s.name: s for s in course.standings()}
    for row in running:
        name = row.recipe.name
        chance = chance_left(by_name[name], foresight, list(by_name.values()), course.terms)
        if chance < CHANCE:
            _drop(course, row, blocks, settled_reason(name, len(blocks), chance))


def _drop(course: _Course, row: PlanRow, blocks: Collection[int], reason: str) -> None:
    """Take a row out of the race; `blocks` are those it has run."""
    plan = course.plan
    name = row.recipe.name
    course.result.eliminated[name] = reason
    left = [b for b in plan.blocks if b.index not in blocks]
    saved = sum(plan.trial_operations(block_trial(row.recipe, b, None)) for b in left)
    course.emit(Event(kind="eliminated", text=reason, data={"strategy": name, "operations": saved}))
