"""`--budget`: what is left out of a plan until it fits (docs/decisions/0007-budget.md), and the guard while it runs.

Pure: seconds are forecast by a function that is handed in, and told by a clock that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from frostline.race.plan import Plan, PlanRow, make_plan, tuned_rates
from frostline.race.timing import TimeEstimate
from frostline.recipe.catalogue import is_anchor, strategy_of
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.schedule import LENGTHS, MAX_STEPS

MEANT_BLOCKS, LEAST_BLOCKS = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """What is left out of a full plan: names of strategies, blocks beyond `blocks`, rates, steps beyond `steps`."""

    dropped: tuple[str, ...] = ()
    blocks: int
    tuned: bool = True
    steps: int = MAX_STEPS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Reduction:
        return Reduction(**{**value, "dropped": tuple(value["dropped"])})


def reduced(plan: Plan, reduction: Reduction) -> Plan:
    """The plan without what `cut` leaves out; untuned strategies get the middle one of their rates."""
    rough = trimmed(plan, reduction)
    return make_plan(replace(rough, rows=()), [row.recipe for row in rough.rows], lr=None)


def trimmed(plan: Plan, reduction: Reduction) -> Plan:
    """As `reduced`, but the rows' counted operations and trials stay those of the full plan: all that forecasts need.

    Counting them again lists the rows of every trial, which takes long on large data.
    """
    scale = replace(plan.scale, max_steps=reduction.steps)
    shorter = replace(plan, blocks=plan.blocks[: reduction.blocks], scale=scale)
    rows = [row for row in plan.rows if row.recipe.name not in reduction.dropped]
    if not reduction.tuned:
        rows = [_untuned(shorter, row) if row.recipe.rates else row for row in rows]
    return replace(shorter, rows=tuple(rows))


def _untuned(plan: Plan, row: PlanRow) -> PlanRow:
    middle = row.recipe.rates[len(row.recipe.rates) // 2]
    recipe = row.recipe.with_rates((middle,))
    return replace(row, recipe=recipe, rates=tuned_rates(plan, recipe))


def order(plan: Plan) -> list[str]:
    """Strategies in the order in which they are left out; the last one that can be a verdict is never left out.

    First other ways of moving every layer, costliest first; then partly frozen ones from the costliest (that freezes
    least); then finetune; then what costs next to nothing.
    """
    names = [row.recipe.name for row in plan.rows if row.recipe.needs_network]
    recipes = {row.recipe.name: row.recipe for row in plan.rows}

    def place(name: str) -> tuple[int, int, str]:
        recipe = recipes[name]
        strategy = strategy_of(recipe)
        if strategy is not None and strategy.spare is not None:
            return 0, strategy.spare, name
        if is_anchor(recipe):
            return (4 if recipe.trains_head_only else 2), 0, name
        return (1 if recipe.takes_steps else 3), recipe.frozen_stages, name

    return sorted(names, key=place)[:-1]


Move = tuple[str, Any, Any]  # field of Cut, and its value before and after; for 'dropped' the name after


def moves(plan: Plan) -> list[Move]:
    """What is left out, step by step, until only the least meaningful plan is left."""
    stepped = any(row.recipe.takes_steps for row in plan.rows)
    found = stepped and plan.scale.epochs is None
    if plan.alone:
        count = 1
    else:
        count = len(plan.blocks)
    names = order(plan)
    shorter: list[Move] = []
    if found:
        shorter = [("steps", before, after) for after, before in pairwise(LENGTHS)][::-1]
    listed = shorter[:1]
    listed += [("blocks", n, n - 1) for n in range(count, MEANT_BLOCKS, -1)]
    ends = [name for name in names if _is_end(plan.row(name).recipe)]
    listed += [("dropped", None, name) for name in names if name not in ends]
    listed += shorter[1:]
    listed += [("tuned", True, False)] if any(row.rates and len(row.recipe.rates) > 1 for row in plan.rows) else []
    listed += [("blocks", n, n - 1) for n in range(min(count, MEANT_BLOCKS), LEAST_BLOCKS, -1)]
    return listed + [("dropped", None, name) for name in ends]


def _is_end(recipe: Recipe) -> bool:
    """What is left out last: the anchor that trains every stage, and what takes no steps."""
    return not recipe.takes_steps or (is_anchor(recipe) and not recipe.trains_head_only)


def _reduced_by(reduction: Reduction, move: Move) -> Reduction:
    what, _, after = move
    if what == "dropped":
        return replace(reduction, dropped=(*reduction.dropped, after))
    return replace(reduction, **{what: after})


def _restored(reduction: Reduction, move: Move) -> Reduction | None:
    """The cut without this move; None where a later one stands in its way."""
    what, before, after = move
    if what == "dropped":
        if after in reduction.dropped:
            return replace(reduction, dropped=tuple(n for n in reduction.dropped if n != after))
        return None
    if getattr(reduction, what) == after:
        return replace(reduction, **{what: before})
    return None


Seconds = Callable[[Reduction], float]


def fit_reduction(plan: Plan, seconds: Seconds, budget: float) -> Reduction | None:
    """The cut by which the plan takes at most `budget` seconds; None where even the least plan takes more.

    Moves are made in order until the plan fits; then, from the last to the first, each is taken back where it still
    fits, so that nothing cheap stays out for the sake of something costly that had to go as well.
    """
    reduction = Reduction(blocks=len(plan.blocks))
    done: list[Move] = []
    for move in moves(plan):
        if seconds(reduction) <= budget:
            break
        reduction = _reduced_by(reduction, move)
        done = [*done, move]
    if seconds(reduction) > budget:
        return None
    for move in reversed(done):
        more = _restored(reduction, move)
        if more is not None and seconds(more) <= budget:
            reduction = more
    return reduction


def least_reduction(plan: Plan) -> Reduction:
    """All moves made: what a budget has to hold at least."""
    reduction = Reduction(blocks=len(plan.blocks))
    for move in moves(plan):
        reduction = _reduced_by(reduction, move)
    return reduction


def left_out(plan: Plan, reduction: Reduction) -> tuple[str, ...]:
    """What a cut leaves out of the full plan, in words."""
    words = [name for name in order(plan) if name in reduction.dropped]
    kept = reduced(plan, reduction)
    stepped = any(row.recipe.takes_steps for row in kept.rows)
    if reduction.blocks < len(plan.blocks):
        words.append(f"{len(plan.blocks) - reduction.blocks} of {len(plan.blocks)} blocks")
    if stepped and not reduction.tuned:
        words.append("tuning (every rate is the middle one)")
    if stepped and reduction.steps < MAX_STEPS:
        words.append(f"steps beyond {reduction.steps}")
    return tuple(words)


@dataclass
class Guard:
    """Tells before each trial whether there is time for it and for what has to follow.

    `clock` gives seconds since the start. Forecasts are scaled by the pace: seconds that training in steps has taken
    so far against those forecast for as many steps. `vital` strategies run on the first block whatever the time, so
    that there is an answer.
    """

    forecast: TimeEstimate
    budget: float
    clock: Callable[[], float]
    vital: frozenset[str]
    expected: float = 0.0
    taken: float = 0.0
    denied: list[Trial] = field(default_factory=list)

    @property
    def pace(self) -> float:
        if self.expected > 0:
            return self.taken / self.expected
        return 1.0

    def learn(self, expected: float, taken: float) -> None:
        """Seconds forecast and seconds taken by something that has just been done."""
        self.expected += expected
        self.taken += taken

    def allows(self, trial: Trial) -> bool:
        first = trial.block == self.forecast.plan.blocks[0].index
        if trial.purpose == "block" and first and trial.recipe.name in self.vital:
            return True
        left = self.budget - self.clock()
        fine = self.pace * self.forecast.trial(trial) + max(1.0, self.pace) * self._reserve(trial) <= left
        if not fine:
            self.denied.append(trial)
        return fine

    def _reserve(self, trial: Trial) -> float:
        """What has to follow: the close of the run, and after tuning the fewest blocks that mean something.

        A learning curve is drawn when the refits are done.
        """
        if trial.purpose == "curve":
            return self.forecast.ending()
        return (self.forecast.race(LEAST_BLOCKS) if trial.purpose == "tune" else 0.0) + self.forecast.closing()


def vital_names(plan: Plan) -> frozenset[str]:
    """The baseline, and the strategy that would be left out last."""
    return frozenset(row.recipe.name for row in plan.rows) - set(order(plan))
