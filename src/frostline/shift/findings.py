"""What a diagnosis finds, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from frostline.base.records import FloatArray

Situation = Literal["none-shown", "covariate", "label", "concept", "new-classes", "mixed", "cannot-tell"]
Level = Literal["input", "feature", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test of "the two sides don't differ": its statistic, and the chance of one as large if they don't.

    `stage` is 0 for the inputs, None where no stage is meant. `shown` is the decision, with `p` corrected for all tests
    that serve it.
    """

    name: str
    statistic: float
    p: float
    shown: bool
    stage: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Proportions:
    """Estimated share of each class in the target (C,), with 95 % intervals (C, 2), and those of the source (C,)."""

    method: Literal["bbse", "em", "counted"]
    source: FloatArray
    target: FloatArray
    interval: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What helps in a situation: an arm of `frostline adapt` (None: something else to do), why, and who says so."""

    arm: str | None
    action: str
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """The situation with its evidence.

    `sentences` say what was found, in the order of the reasoning; `cannot_see` what these data can't show (concept
    shift without target labels). `level` says at which stages the sides differ. `typical` has, for each sample of the
    source and of the target, how typical of its side it is (cross-fitted log odds; larger is more typical).
    """

    situation: Situation
    tests: tuple[Test, ...]
    proportions: tuple[Proportions, ...]
    new_classes: tuple[int, ...]  # labels at and above C that the target names
    missing_classes: tuple[int, ...]  # classes of the source without a target sample, where labels are known
    level: Level | None
    sentences: tuple[str, ...]
    cannot_see: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    typical: tuple[FloatArray, FloatArray] | None = None
