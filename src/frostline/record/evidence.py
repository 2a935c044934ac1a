"""Everything that a run found, as the pipeline hands it to the writer of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from frostline.adapt.after_fit import TargetFindings
from frostline.base.records import Comparison, FloatArray, IntArray, Outcome, Verdict
from frostline.bundle import schema
from frostline.conclude.calibrate import Calibration
from frostline.conclude.doubts import Doubts
from frostline.conclude.elsewhere import OnTarget
from frostline.conclude.forgetting import Forgetting
from frostline.conclude.learning import LearningCurve
from frostline.forecast.forecast import Forecast
from frostline.race.compare import compare_all
from frostline.race.plan import Plan
from frostline.race.result import RaceResult, block_sizes
from frostline.race.short import Foresight
from frostline.race.standing import Standing
from frostline.train.refit import RefitResult


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The results of a run, from the plan to the sealed test."""

    plan: Plan
    labels: IntArray  # of the whole data set
    race: RaceResult
    standings: Sequence[Standing]  # by the metric of the plan
    accuracies: Sequence[Standing]  # the same by accuracy
    verdict: Verdict
    margin: float
    refits: Mapping[str, RefitResult]  # strategies that were refitted, the verdict among them
    tests: Mapping[str, FloatArray]  # sealed probabilities of strategies that were tested
    packages: Mapping[str, str]  # versions of what the run computed with
    budget: schema.BudgetRecord | None = None
    concluded: tuple[str, ...] | None = None  # what was left to run when an interrupted run was concluded
    calibration: Calibration | None = None
    doubts: Doubts | None = None
    learning: LearningCurve | None = None
    on_target: OnTarget | None = None
    adapted: TargetFindings | None = None
    forgetting: Forgetting | None = None
    forecast: Forecast | None = None
    foresight: Foresight | None = None  # its standings, by the metric of the plan

    @cached_property
    def pairs(self) -> tuple[Comparison, ...]:
        """Compare every pair that was judged on the same blocks."""
        n_train, n_test = block_sizes(self.plan)
        return compare_all(self.standings, n_train=n_train, n_test=n_test, margin=self.margin)

    @property
    def outcomes(self) -> list[Outcome]:
        """Outcomes of all trials: those of the race, then those of the learning curve."""
        if self.learning is None:
            return list(self.race.outcomes)
        return [*self.race.outcomes, *self.learning.outcomes]
