"""What a race has found so far: all outcomes, the way each strategy is trained, and why some did not go on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from frostline.base.records import IntArray, Outcome
from frostline.race.candidates import Candidate
from frostline.race.plan import Plan, PlanRow
from frostline.race.standing import Standing, standing_from
from frostline.recipe.catalogue import is_anchor
from frostline.stats.contributions import Metric


@dataclass
class RaceResult:
    """`outcomes` hold one of purpose `block` per strategy and block; those of other ways to train are `tune`."""

    outcomes: list[Outcome] = field(default_factory=list)
    chosen: dict[str, Candidate] = field(default_factory=dict)  # how each stepped strategy is trained
    eliminated: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # for want of time, in words
    blocks: int = 0  # that all running strategies finished
    spared: dict[str, str] = field(default_factory=dict)  # forecast and not trained, with the reason
    ended: int | None = None  # blocks after which the race ended, since the verdict was beyond doubt
    provisional: str | None = None  # the verdict that was told before any stage was trained

    def of(self, name: str, purpose: str = "block") -> list[Outcome]:
        return [o for o in self.outcomes if o.strategy == name and o.purpose == purpose]

    def rate(self, name: str) -> float | None:
        """The rate that was chosen for a strategy; None for one that takes no steps."""
        if name in self.chosen:
            return self.chosen[name].rate
        return None

    def steps(self, name: str) -> int | None:
        """Steps of the chosen length; where --epochs gives it, the median over the blocks."""
        chosen = self.chosen.get(name)
        if chosen is not None and chosen.steps:
            return chosen.steps
        done = [o for o in self.of(name) if o.ok] or [
            o for o in self.of(name, "tune") if o.ok and o.rate == self.rate(name)
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


def raced(plan: Plan, result: RaceResult) -> Plan:
    """The plan as far as it was run: blocks that were dropped for want of time are gone."""
    if plan.alone:
        return plan
    return replace(plan, blocks=plan.blocks[: result.blocks])


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
