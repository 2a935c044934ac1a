"""All that a run found, as handed from the pipeline to the writer of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frostline.base.records import FloatArray, Verdict
from frostline.bundle import parts as p
from frostline.race.plan import Plan
from frostline.race.race import RaceResult
from frostline.race.standing import Standing
from frostline.train.refit import Fitted


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the race showed."""

    plan: Plan
    race: RaceResult
    standings: Sequence[Standing]  # by the metric of the plan
    accuracies: Sequence[Standing]  # the same by accuracy
    verdict: Verdict
    margin: float
    fitted: Mapping[str, Fitted]  # strategies that were refitted, the verdict among them
    tests: Mapping[str, FloatArray]  # sealed probabilities of strategies that were tested
    budget: p.BudgetRecord | None = None
