"""Gives every stepped strategy its learning rate and length (docs/decisions/0018).

The first judge meets all rates, and longer trainings where the chosen one was cut short; the second meets the
candidates that are still in question, and one is left. Strategies come from the shallowest to the deepest; one that
trains in the same way as another before it begins at the rate and length that its neighbour needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from frostline.base.records import Block
from frostline.race.candidates import Candidate, in_question, longer, next_rate, ranked, second_look, wants_higher
from frostline.race.course import Course
from frostline.race.plan import PlanRow
from frostline.race.short import BELOW
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import FIRST_STEPS


def tune(course: Course, rows: Sequence[PlanRow]) -> None:
    """Shortlist the candidates of these rows; where inner folds judge, choose among them as well."""
    stepped = [row for row in rows if row.recipe.takes_steps]
    for row in sorted(stepped, key=lambda row: -row.recipe.frozen_stages):
        if row.rates:
            _look(course, row)
        else:  # nothing can be tuned: the user's rate, or the middle one
            _shortlist(course, row, first_candidates(course, row)[:1])
    if len(course.plan.inner) > 1:
        for row in course.running(stepped):
            read_shortlist(course, course.plan.inner[1], [row], inner=True)
            settle_candidates(course, [row], course.plan.inner[:2])


def read_shortlist(course: Course, split: Block, rows: Sequence[PlanRow], *, inner: bool = False) -> None:
    """Run the candidates still in question on a block (or an `inner` fold), the first choice of every strategy before
    all second ones."""
    firsts = [(row, course.shortlist[row.recipe.name][0]) for row in rows if row.recipe.name in course.shortlist]
    others = [(row, c) for row, _ in firsts for c in course.shortlist[row.recipe.name][1:]]
    if inner:
        course.read(course.on_inner, split, [*firsts, *others], "tune")
        return
    course.read(course.on_blocks, split, firsts, "block")
    course.read(course.on_blocks, split, others, "tune")


def settle_candidates(course: Course, rows: Sequence[PlanRow], judges: Sequence[Block]) -> None:
    """Leave one candidate of each strategy, chosen by all judges."""
    for row in rows:
        readings = course.judged.get(row.recipe.name, {})
        order = ranked(readings, [judge.index for judge in judges], course.labels)
        order = order or course.shortlist[row.recipe.name]
        _shortlist(course, row, order[:1])


def lengthen(course: Course, rows: Sequence[PlanRow]) -> None:
    """Try the next length on both judges, for strategies that the second one cut short; settle again after each.

    What is fitted after a few steps on the samples of one judge may need more on those of the other.
    """
    judges = course.plan.judges
    most = course.plan.scale.max_steps
    for row in rows:
        name = row.recipe.name
        while True:
            chosen = course.shortlist[name][0]
            found = course.judged.get(name, {}).get(chosen, {}).get(judges[-1].index)
            if found is None or not found.ok or _is_good_enough(course, row, chosen, judges[-1]):
                break
            more = longer(chosen, found, course.judged[name], most)[:1]
            if not more or judges[0].index in course.judged[name].get(more[0], {}):
                break
            for judge in judges:
                course.read(course.judged, judge, [(row, more[0])], "tune")
            settle_candidates(course, [row], judges)


def first_candidates(course: Course, row: PlanRow) -> list[Candidate]:
    """Return what is tried first: the middle rate before the others, at the first length; or the rate and length of the
    nearest neighbour, and the next rate in the direction in which it differs: deeper training wants lower rates."""
    neighbour = _neighbour(course, row)
    if neighbour is not None and len(row.rates) > 1:
        start = course.shortlist[neighbour.recipe.name][0]
        deeper = neighbour.recipe.frozen_stages > row.recipe.frozen_stages
        return [start, replace(start, rate=next_rate(start.rate, -1 if deeper else 1))]
    steps = None
    if not course.plan.scale.epochs:
        steps = min(FIRST_STEPS, course.plan.scale.max_steps)
    rates = row.rates or row.recipe.rates
    middle = rates[len(rates) // 2]
    return [Candidate(middle, steps), *(Candidate(rate, steps) for rate in rates if rate != middle)]


def _look(course: Course, row: PlanRow) -> None:
    """Try the rates of a strategy on the first judge, and what their readings call for."""
    name = row.recipe.name
    judge = course.plan.judges[0]
    wanted = first_candidates(course, row)
    _try(course, row, wanted[:2])
    hurried = _is_hurried(course, row)
    if len(wanted) == 3 and not wants_higher(course.judged.get(name, {}), wanted, judge.index, hurried=hurried):
        wanted = wanted[:2]
    _try(course, row, wanted)
    readings = course.judged.get(name, {})
    missing = [c for c in wanted if c not in readings]
    if missing:
        course.result.left_out.append(f"{len(missing)} of {len(wanted)} tuning runs of {name} (not run)")
    elif ranked(readings, [judge.index], course.labels):
        _look_further(course, row, wanted)
    order = ranked(readings, [judge.index], course.labels)
    if order:
        _shortlist(course, row, in_question(order, readings, judge.index, course.labels))
    elif not readings:  # time ran short: untuned, should there be time for that at least
        _shortlist(course, row, wanted[:1])
    else:
        errors = [o.error for by_split in readings.values() for o in by_split.values()]
        course.result.failed[name] = errors[0] or "no rate worked"


def _try(course: Course, row: PlanRow, wanted: Sequence[Candidate]) -> bool:
    """Run these on the first judge; the first candidate of all is the one that a race can't do without. False where
    time ran short, or nothing was new."""
    readings = course.judged.get(row.recipe.name, {})
    fresh = [(row, candidate) for candidate in wanted if candidate not in readings]
    judge = course.plan.judges[0]
    if not readings and not course.plan.inner:
        course.read(course.judged, judge, fresh[:1], "block")
        if row.recipe.name not in course.judged:
            return False
    course.read(course.judged, judge, fresh, "tune")
    known = course.judged.get(row.recipe.name, {})
    return bool(fresh) and all(candidate in known for candidate in wanted)


def _look_further(course: Course, row: PlanRow, first: Sequence[Candidate]) -> None:
    """Try longer trainings, as long as the chosen one was cut short; then once something else, where it stays well
    below its forecast, or took the one rate that was tried beside its neighbour's."""
    readings = course.judged[row.recipe.name]
    judge = course.plan.judges[0]
    most = course.plan.scale.max_steps
    chosen = ranked(readings, [judge.index], course.labels)[0]
    while not _is_good_enough(course, row, chosen, judge):
        more = longer(chosen, readings[chosen][judge.index], readings, most)
        if not _try(course, row, more):
            break
        chosen = ranked(readings, [judge.index], course.labels)[0]
    if len(row.rates) < 2:  # the user's rate stands
        return
    moved_on = _neighbour(course, row) is not None and chosen.rate == first[-1].rate
    if moved_on or _is_below_forecast(course, row, chosen, judge):
        other = second_look(chosen, readings, most)
        if other is not None:
            _try(course, row, [other])


def _is_hurried(course: Course, row: PlanRow) -> bool:
    """True for a forecast strategy in the short race: the forecast tells whether it was trained well enough."""
    foresight = course.foresight
    return foresight is not None and foresight.choose and row.recipe.name in foresight.standings


def _is_good_enough(course: Course, row: PlanRow, chosen: Candidate, judge: Block) -> bool:
    """True for a hurried strategy that has reached its forecast on this block, or misses it by one sample."""
    missing = _missing_to_forecast(course, row, chosen, judge)
    if missing is None or not _is_hurried(course, row):
        return False
    return missing <= 1.001 / len(judge.validation)


def _is_below_forecast(course: Course, row: PlanRow, chosen: Candidate, judge: Block) -> bool:
    """True where the accuracy on this block falls short of its forecast by BELOW, and by more than a sample or two."""
    missing = _missing_to_forecast(course, row, chosen, judge)
    if missing is None:
        return False
    return missing > max(BELOW, 2 / len(judge.validation))


def _missing_to_forecast(course: Course, row: PlanRow, chosen: Candidate, judge: Block) -> float | None:
    """Accuracy on this block that a candidate lacks to the forecast; None where there is none for this split."""
    foresight = course.foresight
    if foresight is None or course.plan.inner or course.plan.metric != "accuracy":
        return None
    foreseen = foresight.standings.get(row.recipe.name)
    if foreseen is None:
        return None
    expected = next(b.score for b in foreseen.blocks if b.index == judge.index)
    return expected - course.judged[row.recipe.name][chosen][judge.index].accuracy


def _shortlist(course: Course, row: PlanRow, candidates: Sequence[Candidate]) -> None:
    course.shortlist[row.recipe.name] = list(candidates)
    course.result.chosen[row.recipe.name] = candidates[0]


def _neighbour(course: Course, row: PlanRow) -> PlanRow | None:
    """Return the strategy already tuned that is nearest in depth, of those that train the same network in the same
    way."""
    if not trains_plainly(row.recipe):
        return None
    depth = row.recipe.frozen_stages
    rows = [r for r in course.plan.rows if r.rates and r.recipe.name in course.shortlist and trains_plainly(r.recipe)]
    rows = [r for r in rows if r.recipe.frozen_stages != depth and r.recipe.source == row.recipe.source]
    return min(rows, key=lambda r: abs(r.recipe.frozen_stages - depth), default=None)


def trains_plainly(recipe: Recipe) -> bool:
    """True for pre-trained stages and a new head, trained together in one phase: `freeze@K` and `finetune`."""
    one_phase = len(recipe.phases) == 1 and recipe.takes_steps
    pulled = any(phase.pull for phase in recipe.phases)
    pretrained = set(recipe.origins) == {"pretrained"} and recipe.head_origin == "new"
    return one_phase and pretrained and not recipe.partial and not pulled
