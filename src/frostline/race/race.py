"""The race: every stepped strategy is tuned, then all run block by block, and those beyond doubt are dropped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from frostline.base.events import Emit, Event
from frostline.base.records import Block, IntArray, Outcome
from frostline.race.course import NO_STEPS, Course, RunTrials
from frostline.race.eliminate import FEWEST_BLOCKS, beyond_doubt
from frostline.race.plan import Plan, PlanRow, block_trial
from frostline.race.result import RaceResult, standings
from frostline.race.short import (
    CHANCE,
    EARLY_CHANCE,
    END_CHANCE,
    PROBE,
    STOP_CHANCE,
    Foresight,
    chance_early,
    chance_left,
    chance_to_lose,
    chance_to_matter,
    early_reason,
    ended_text,
    provisional_text,
    refutes,
    runs_first,
    settled_reason,
    spared_reason,
    tested_text,
)
from frostline.race.standing import complete, standing_from
from frostline.race.tuning import first_candidates, lengthen, read_shortlist, settle_candidates, tune
from frostline.race.verdict import decide
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import named_for
from frostline.recipe.schedule import MIN_STEPS
from frostline.stats.paired import sample_variance


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

    With `foresight` all that takes no steps is run first, and a provisional verdict is emitted. Of the rest the
    favourite of the forecast and those without a forecast run on; the others follow only where they can still change
    the verdict.
    """
    course = Course(
        plan=plan, run=run, labels=labels, margin=margin, emit=emit, result=RaceResult(), foresight=foresight
    )
    if foresight is None or plan.alone:
        _run_rows(course, plan.rows)
        return course.result
    cheap = [row for row in plan.rows if not row.recipe.takes_steps]
    for block in plan.race_blocks():
        course.read(course.on_blocks, block, [(row, NO_STEPS) for row in cheap], "block")
    course.report()
    _tell_provisional(course, foresight)
    stepped = [row for row in plan.rows if row.recipe.takes_steps]
    measured = course.standings()
    terms = course.terms
    first = [row for row in stepped if runs_first(row.recipe.name, foresight, measured, terms)]
    if foresight.choose:
        first = [row for row in first if _is_promising(course, row, foresight)]
        if not any(_tests_forecast(course, row, foresight) for row in first):
            first += [row for row in stepped if row not in first and _refutes_forecast(course, row, foresight)]
    waiting = [r for r in stepped if r not in first and r.recipe.name not in course.result.eliminated]
    if foresight.choose:
        _tell_waiting(course, waiting)
    if _run_rows(course, [*cheap, *first]):
        _run_rows(course, _still_worth(course, waiting, foresight), keep_blocks=True)
    else:
        _leave_out(course.result, [row.recipe.name for row in waiting])
    return course.result


def _tell_provisional(course: Course, foresight: Foresight) -> None:
    """Emit the verdict among what takes no steps, with what the forecast says of the rest."""
    measured = course.standings()
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


def _tell_waiting(course: Course, waiting: Sequence[PlanRow]) -> None:
    """Emit which strategies wait until others have shown whether they can still matter."""
    names = ", ".join(row.recipe.name for row in waiting)
    text = "No strategy has to wait."
    if waiting:
        text = f"{names}: trained only if they can still change the verdict."
    data = {"strategies": [row.recipe.name for row in waiting], "operations": sum(row.operations for row in waiting)}
    course.emit(Event(kind="waiting", text=text, data=data))


def _is_promising(course: Course, row: PlanRow, foresight: Foresight) -> bool:
    """Judge a strategy that can't be forecast by an early reading against `probe`. False, and it is dropped, where it
    is beyond hope."""
    name = row.recipe.name
    if name in foresight.standings or not row.rates or is_anchor(row.recipe):
        return True
    probe_name = named_for(row.recipe.source, PROBE)
    probe = course.on_blocks.get(probe_name, {}).get(NO_STEPS, {}).get(course.plan.race_blocks()[0].index)
    if probe is None:
        return True
    early = _early_reading(course, row)
    if early is None or not (early.ok and probe.ok):
        return True
    labels = course.labels[np.asarray(early.rows, dtype=np.int64)]
    right = [np.asarray(o.probabilities).argmax(1) == labels for o in (early, probe)]
    variance = sample_variance(*(r.astype(np.float64) for r in right))
    chance = chance_early(early.accuracy, probe.accuracy, variance, len(labels), course.margin)
    if chance >= EARLY_CHANCE:
        return True
    _drop(course, row, (), early_reason(name, early.accuracy, probe.accuracy))
    return False


def _tests_forecast(course: Course, row: PlanRow, foresight: Foresight) -> bool:
    """True for a forecast strategy that trains most of the stages: a forecast that is too low shows in its score."""
    stages = len(course.plan.scale_of(row.recipe).stages)
    return row.recipe.name in foresight.standings and 2 * row.recipe.frozen_stages < stages


def _refutes_forecast(course: Course, row: PlanRow, foresight: Foresight) -> bool:
    """Where nothing else does, test the forecast by an early reading of the strategy that trains most. True, and it is
    trained in full, where the reading is far better than its forecast."""
    name = row.recipe.name
    if name not in foresight.standings or not is_anchor(row.recipe):
        return False
    early = _early_reading(course, row)
    if early is None or not early.ok:
        return False
    found = standing_from([early], course.labels, trained_parameters=row.trained_parameters, metric=course.plan.metric)
    refuted = refutes(found, foresight)
    text = tested_text(found, foresight, refuted=refuted)
    course.emit(Event(kind="note", text=text, data={"strategy": name, "refuted": refuted}))
    return refuted


def _early_reading(course: Course, row: PlanRow) -> Outcome | None:
    """Train a strategy at its middle rate and the shortest length, and read it on the first block.

    Where --epochs gives the length that is the first candidate itself; else it is none. None where it wasn't run.
    """
    block = course.plan.race_blocks()[0]
    candidate = first_candidates(course, row)[0]
    found = course.on_blocks
    if candidate.steps is not None:
        candidate = replace(candidate, steps=MIN_STEPS)
        found = course.early
    course.read(found, block, [(row, candidate)], "block")
    return found.get(row.recipe.name, {}).get(candidate, {}).get(block.index)


def _still_worth(course: Course, waiting: Sequence[PlanRow], foresight: Foresight) -> list[PlanRow]:
    """Return the rows that can still change the verdict; the others are spared, with the reason."""
    measured = course.standings()
    worth = []
    for row in waiting:
        name = row.recipe.name
        chance = chance_to_matter(name, foresight, measured, course.terms)
        data = {"strategy": name, "operations": row.operations, "probability": chance}
        if chance >= CHANCE:
            worth.append(row)
            text = f"{name} is trained: it may change the verdict with a probability of {chance:.0%}."
            course.emit(Event(kind="resumed", text=text, data=data))
            continue
        reason = spared_reason(name, foresight, chance)
        course.result.spared[name] = reason
        course.emit(Event(kind="spared", text=reason, data=data))
    return worth


def _run_rows(course: Course, rows: Sequence[PlanRow], *, keep_blocks: bool = False) -> bool:
    """Tune these rows and run them block by block, dropping those beyond doubt.

    Where a block isn't complete, it ends the race for all (False then); or, with `keep_blocks`, and where fewer than
    FEWEST_BLOCKS would be left to strategies that finished more, those that miss it are left out.
    """
    if not rows:
        return True
    plan = course.plan
    result = course.result
    tune(course, rows)
    blocks = plan.race_blocks()[: result.ended]
    for position, block in enumerate(blocks):
        running = course.running(rows)
        cheap = [(row, NO_STEPS) for row in running if not row.recipe.takes_steps]
        course.read(course.on_blocks, block, cheap, "block")
        read_shortlist(course, block, running)
        missing = [row.recipe.name for row in running if not course.has(row, block)]
        if position and missing and not keep_blocks and not (position < FEWEST_BLOCKS and _anything_finished(course)):
            result.left_out.append(_blocks_missing(len(blocks) - position, len(blocks)))
            for later in blocks[position:]:
                course.forget(later)
            course.report()
            return False
        if position + 1 == len(plan.judges) and not plan.inner:
            tuned = [row for row in running if row.rates]
            settle_candidates(course, tuned, plan.judges)
            lengthen(course, [row for row in tuned if row.recipe.name in course.shortlist])
        result.blocks = position + 1
        _leave_out(result, missing)
        course.report()
        _note_failures(result)
        if position + 1 < len(blocks):
            so_far = {b.index for b in blocks[: position + 1]}
            _eliminate(course, rows, so_far)
            _settle(course, rows, so_far)
            if not keep_blocks and _ends(course, blocks[position + 1 :]):
                break
    course.report()
    return True


def _anything_finished(course: Course) -> bool:
    """True where some strategy has run on all blocks, as what takes no steps does before anything is trained."""
    rows = [row for row in course.plan.rows if row.recipe.needs_network]
    return any(all(course.has(row, block) for block in course.plan.race_blocks()) for row in rows)


def _blocks_missing(missing: int, of: int) -> str:
    return f"{missing} of {of} planned blocks (not run)"


def _leave_out(result: RaceResult, names: Sequence[str]) -> None:
    for name in names:
        result.left_out.append(f"{name} (not run)")
        result.eliminated[name] = f"{name} is left out: the race ended before it had run."


def _note_failures(result: RaceResult) -> None:
    for outcome in result.outcomes:
        if outcome.purpose == "block" and not outcome.ok:
            result.failed.setdefault(outcome.strategy, outcome.error or "failed")


def _eliminate(course: Course, rows: Sequence[PlanRow], blocks: Collection[int]) -> None:
    """Drop those of `rows` whose loss is beyond doubt on the blocks so far."""
    plan = course.plan
    result = course.result
    terms = course.terms
    so_far = replace(result, outcomes=[o for o in result.outcomes if o.purpose != "block" or o.block in blocks])
    dropped = beyond_doubt(
        standings(plan, so_far, course.labels),
        looks=len(plan.blocks) - 1,
        n_train=terms.n_train,
        n_test=terms.n_test,
        margin=terms.margin,
    )
    for row in rows:
        if row.recipe.name in dropped:
            _drop(course, row, blocks, dropped[row.recipe.name])


def _settle(course: Course, rows: Sequence[PlanRow], blocks: Collection[int]) -> None:
    """Stop those stepped rows whose further blocks can't change the verdict, where we may choose what is run."""
    foresight = course.foresight
    if foresight is None or not foresight.choose or len(blocks) < FEWEST_BLOCKS:
        return
    running = [row for row in course.running(rows) if row.recipe.takes_steps]
    by_name = {s.name: s for s in course.standings()}
    for row in running:
        name = row.recipe.name
        chance = chance_left(by_name[name], foresight, list(by_name.values()), course.terms)
        if chance < STOP_CHANCE:
            _drop(course, row, blocks, settled_reason(name, len(blocks), chance))


def _ends(course: Course, left: Sequence[Block]) -> bool:
    """End the race, for all strategies, where the blocks that are left would hardly change the verdict."""
    foresight = course.foresight
    result = course.result
    if foresight is None or not foresight.may_end or result.blocks < FEWEST_BLOCKS:
        return False
    stepped = [row for row in course.plan.rows if row.recipe.takes_steps]
    leader, chance = chance_to_lose(course.standings(), [row.recipe.name for row in stepped], course.terms)
    if leader is None or chance >= END_CHANCE:
        return False
    for block in left:
        course.forget(block)
    course.report()
    result.ended = result.blocks
    running = course.running([row for row in stepped if result.of(row.recipe.name)])
    saved = sum(course.plan.trial_operations(block_trial(row.recipe, b, None)) for row in running for b in left)
    text = ended_text(leader, result.blocks, chance)
    course.emit(Event(kind="ended", text=text, data={"strategy": leader, "operations": saved, "probability": chance}))
    return True


def _drop(course: Course, row: PlanRow, blocks: Collection[int], reason: str) -> None:
    """Take a row out of the race; `blocks` are those it has run."""
    plan = course.plan
    name = row.recipe.name
    course.result.eliminated[name] = reason
    left = [b for b in plan.blocks if b.index not in blocks]
    saved = sum(plan.trial_operations(block_trial(row.recipe, b, None)) for b in left)
    course.emit(Event(kind="eliminated", text=reason, data={"strategy": name, "operations": saved}))
