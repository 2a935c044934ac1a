"""Fits a plan into `--budget`: measured speeds, what is left out, the forecast, and the guard of the run."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from frostline.base.errors import RecipeError
from frostline.base.files import write_json
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

NOTE = "budget.json"  # in the RUN folder's work: the cut, so that a resumed run keeps its plan


@dataclass(frozen=True, kw_only=True)
class BudgetedPlan:
    """A plan that fits. `left_out` grows while the run goes on, should time run short after all."""

    plan: Plan
    study: Study
    reduction: Reduction
    seconds: float  # the budget
    forecast: TimeEstimate
    guard: Guard
    left_out: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """What was planned, for the eye."""
        out = f" Left out: {'; '.join(self.left_out)}." if self.left_out else " Nothing is left out."
        most, gone = seconds_text(self.forecast.total()), seconds_text(self.forecast.speeds.spent)
        return (
            f"Budget {seconds_text(self.seconds)}: at the speeds just measured this plan takes at most {most}, "
            f"of which {gone} are gone.{out}"
        )

    def remember(self, folder: RunFolder) -> None:
        """Leave the cut on disk for a resumed run."""
        write_json(folder.work / NOTE, self.reduction.to_json())


def afford(settings: Settings, study: Study, plan: Plan, clock: Callable[[], float]) -> BudgetedPlan:
    """Measure, and leave out what doesn't fit; a run that is resumed keeps the plan that it was begun with.

    `study.features` have to know what the whole plan wants. Raises RecipeError, with the seconds that are needed,
    where even the least plan doesn't fit.
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
            all_tested=settings.evaluate_all,
        )

    reduction = _remembered(settings.out) if settings.resume and settings.out else None
    reduction = reduction or fit_reduction(plan, lambda c: forecast(c).total(), budget)
    if reduction is None:
        raise _too_short(budget, forecast(least_reduction(plan)))
    final = forecast(reduction)
    return BudgetedPlan(
        plan=reduced(plan, reduction),
        study=replace(study, max_steps=reduction.steps),
        reduction=reduction,
        seconds=budget,
        forecast=final,
        guard=Guard(forecast=final, budget=budget, clock=clock, vital=vital_names(final.plan)),
        left_out=list(left_out(plan, reduction)),
    )


def _remembered(out: Path) -> Reduction | None:
    """The cut of the run that is gone on with; None where it hadn't come so far."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return Reduction.from_json(json.loads((RunFolder(out).work / NOTE).read_text(encoding="utf-8")))
    return None


def _too_short(budget: float, least: TimeEstimate) -> RecipeError:
    names = " and ".join(row.recipe.name for row in least.plan.rows)
    blocks = len(least.plan.race_blocks())
    where = f" on {blocks} block{'s' * (blocks != 1)}" if blocks else ""
    needed = math.ceil(1.1 * least.total() / 5) * 5  # speeds of the next run differ a little
    return RecipeError(
        f"--budget {seconds_text(budget)} is below what {names}{where}, refit and test need here: about "
        f"{seconds_text(needed)}.",
        f"Give --budget {needed}s or more.",
    )
