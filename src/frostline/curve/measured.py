"""What the trainings of a curve gave, before anything is averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from frostline.base.records import AuditCount, Outcome
from frostline.curve.gaps import Folds, Judged, Scores
from frostline.curve.protocol import ArmName, Unit

Place = tuple[ArmName, int]  # an arm and its stage; 0 for the base


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A training that diverged."""

    arm: ArmName
    stage: int
    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRate:
    """The base trainings at one rate, on the inner part that chose it."""

    rate: float
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRate:
    """The rate of all trainings, and those that were tried; none where the user gave it."""

    rate: float
    tried: tuple[TriedRate, ...] = ()


@dataclass(kw_only=True)
class Measured:
    """Lives as long as a run: the scores of every arm and stage by unit, what failed, and what the audit counted."""

    rate: ChosenRate
    folds: Folds | None = None  # None: the full protocol
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of each fold: samples to learn from, and held out
    scores: dict[Place, dict[Unit, Judged]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    audit: AuditCount = field(default_factory=AuditCount)
    trainings: int = 0
    undertrained: int = 0  # trainings whose loss still fell at their end
    operations: float = 0.0

    def count(self, outcome: Outcome) -> None:
        """Count a training that has been run, whatever it was for."""
        self.audit += outcome.audit
        self.trainings += 1
        self.undertrained += outcome.undertrained
        self.operations += outcome.operations

    def add(self, place: Place, unit: Unit, outcome: Outcome, judged: Judged | None) -> None:
        """Add the result of a training; `judged` is None where it failed."""
        arm, stage = place
        known = self.scores.setdefault(place, {})
        if judged is None:
            reason = outcome.error or ""
            self.failures.append(Failure(arm=arm, stage=stage, unit=unit, reason=reason))
        else:
            known[unit] = judged

    def at(self, arm: ArmName, stage: int) -> Scores:
        """Return the scores of an arm at a stage; of the base, which has none, at any."""
        return self.scores.get((arm, 0 if arm == "base" else stage), {})

    def places(self) -> Iterator[Place]:
        """Yield the arms and stages in the order of the record: the base, then stage by stage."""
        yield from sorted(self.scores, key=lambda place: place[1])
