"""Fits a plan into `--budget`: measured speeds, omitted trials, the forecast, and the guard of the run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from frostline.base.errors import RecipeError
from frostline.base.files import parse_json, write_json
from frostline.bundle.runfolder import RunFolder
from frostline.planning.gauge import Gauge
from frostline.race.budget import (
    Guard,
    Reduction,
    fit_reduction,
    least_reduction,
    left_out,
    reduced,
    trimmed,
    vital_names,
)
from frostline.race.plan import Plan
from frostline.race.timing import TimeEstimate, seconds_text
from frostline.recipe.settings import Settings
from frostline.train.study import Study

REDUCTION_FILE = "budget.json"  # in the RUN folder's work: the reduction, so that a resumed run keeps its plan


@dataclass(frozen=True, kw_only=True)
class BudgetedPlan:
    """A plan that fits. `left_out` grows while the run goes on, should time run short after all."""

    plan: Plan
    reduction: Reduction
    seconds: float  # the budget
    forecast: TimeEstimate
    guard: Guard
    left_out: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """Describe the plan for the terminal."""
        budget = seconds_text(self.seconds)
        longest = seconds_text(self.forecast.total())
        spent = seconds_text(self.forecast.speeds.spent)
        omitted = "Nothing is left out."
        if self.left_out:
            omitted = f"Left out: {'; '.join(self.left_out)}."
        return (
            f"Budget {budget}: at the speeds just measured, this plan takes at most {longest}, "
            f"including {spent} already spent. {omitted}"
        )

    def remember(self, folder: RunFolder) -> None:
        """Write the reduction to disk for a resumed run."""
        write_json(folder.work / REDUCTION_FILE, self.reduction.to_json())


def afford(settings: Settings, study: Study, plan: Plan, clock: Callable[[], float]) -> BudgetedPlan:
    """Measure speeds, and leave out the trials that don't fit; a resumed run keeps the plan that it began with.

    `study.features` have to know everything that the whole plan reads. Raises RecipeError, with the seconds needed,
    where even the smallest plan doesn't fit.
    """
    budget = settings.budget
    assert budget is not None
    speeds = Gauge(study, plan).speeds(clock)
    stored = frozenset(k for k in range(1, len(plan.scale.stages) + 1) if study.features.stored(k))

    def forecast(reduction: Reduction) -> TimeEstimate:
        return TimeEstimate(
            plan=trimmed(plan, reduction),
            speeds=speeds,
            steps=reduction.steps,
            sealed=len(study.dataset.sealed),
            stored=stored,
            all_tested=settings.tests_all,
        )

    reduction = None
    if settings.resume and settings.out:
        reduction = _stored_reduction(settings.out)
    if reduction is None:
        reduction = fit_reduction(plan, lambda candidate: forecast(candidate).total(), budget)
    if reduction is None:
        raise _too_short(budget, forecast(least_reduction(plan)))
    final = forecast(reduction)
    return BudgetedPlan(
        plan=reduced(plan, reduction),
        reduction=reduction,
        seconds=budget,
        forecast=final,
        guard=Guard(forecast=final, budget=budget, clock=clock, vital=vital_names(final.plan)),
        left_out=list(left_out(plan, reduction)),
    )


def _stored_reduction(out: Path) -> Reduction | None:
    """Return the reduction of the run that is resumed; None where it had not reached that point."""
    file = RunFolder(out).work / REDUCTION_FILE
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return Reduction.from_json(parse_json(file.read_text(encoding="utf-8")))
    return None


def _too_short(budget: float, least: TimeEstimate) -> RecipeError:
    names = " and ".join(row.recipe.name for row in least.plan.rows)
    blocks = len(least.plan.race_blocks())
    where = ""
    if blocks:
        where = f" on {blocks} block{'s' * (blocks != 1)}"
    needed = math.ceil(1.1 * least.total() / 5) * 5  # speeds of the next run differ a little
    return RecipeError(
        f"--budget {seconds_text(budget)} is too short: {names}{where}, with refit and test, need about "
        f"{seconds_text(needed)} here.",
        f"Give --budget {needed}s or more.",
    )
