"""From p-values to the name of the situation: a pure rule, fixed on simulated shifts (docs/shift.md)."""

from __future__ import annotations

from dataclasses import dataclass

from frostline.shift.classes import HeadTest
from frostline.shift.findings import Situation
from frostline.stats.paired import holm

LEVEL = 0.05  # chance of naming a shift between two sets without one
STRICT = 0.01  # where a test follows upon another that is shown already


@dataclass(frozen=True, slots=True, kw_only=True)
class PValues:
    """p-values of "the sides don't differ".

    Attributes:
        features: of the features at all depths and the outputs.
        within_predicted: of the features, among samples with the same prediction; None without predictions.
        predicted: of the shares of the predicted classes; None without predictions.
        labels: of the shares of the labels; None where they aren't known on both sides.
        within_labels: of the features, among samples of one class; None likewise.
        head: does a refitted head beat the source's; None likewise.
    """

    features: float
    within_predicted: float | None = None
    predicted: float | None = None
    labels: float | None = None
    within_labels: float | None = None
    head: HeadTest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownShifts:
    """Which differences are shown, all together at LEVEL."""

    features: bool
    predicted: bool = False
    labels: bool = False
    within_labels: bool = False

    @property
    def any(self) -> bool:
        return self.features or self.predicted or self.labels or self.within_labels


def shown(p: PValues) -> ShownShifts:
    """Decide by Holm's procedure over the tests of the whole sides.

    Where labels are known they count in the place of predictions. A refitted head tells no shift by itself: it names
    one within the classes.
    """
    if p.labels is None or p.within_labels is None:
        if p.predicted is None:
            return ShownShifts(features=p.features <= LEVEL)
        decided = holm([p.features, p.predicted]) <= LEVEL
        return ShownShifts(features=bool(decided[0]), predicted=bool(decided[1]))
    decided = holm([p.features, p.labels, p.within_labels]) <= LEVEL
    return ShownShifts(features=bool(decided[0]), labels=bool(decided[1]), within_labels=bool(decided[2]))


def situation_of(p: PValues, *, new_classes: bool) -> Situation:
    """Name the situation.

    Without target labels, a difference that is left among samples with the same prediction is one of the inputs, since
    wrong shares of predictions follow from it; one that isn't left, while the predicted classes have other shares, is
    one of the shares. With labels, the labels mean something else where samples of one class differ and a refitted head
    beats the source's, though the inputs as a whole aren't clearly shown to differ; `mixed` asks for clear evidence of
    two kinds.
    """
    found = shown(p)
    if not found.any:
        return "new-classes" if new_classes else "none-shown"
    if p.labels is None or p.within_labels is None:
        return _by_predictions(p)
    inner = _within_classes(p, found)
    if new_classes:
        return "mixed" if inner and p.within_labels <= STRICT else "new-classes"
    if inner and found.labels:
        return _clearest(p, inner)
    if inner:
        return inner
    if found.labels:
        return "label"
    return _by_predictions(p)


def _clearest(p: PValues, inner: Situation) -> Situation:
    """Name what is shown both in the shares and within the classes: mixed, unless one of them is hardly shown."""
    if p.labels is None or p.labels > STRICT:
        return inner
    if inner == "covariate" and p.within_labels is not None and p.within_labels > STRICT:
        return "label"
    return "mixed"


def _by_predictions(p: PValues) -> Situation:
    """Name a shown difference by what the predictions say of it."""
    if p.within_predicted is None or p.predicted is None:
        return "cannot-tell"
    if p.within_predicted > STRICT and p.predicted <= LEVEL:
        return "label"
    return "covariate"


def _within_classes(p: PValues, found: ShownShifts) -> Situation | None:
    """Name a difference within the classes; None where none is shown."""
    if not found.within_labels:
        return None
    if p.head is not None and p.head.p <= LEVEL and p.features > STRICT:
        return "concept"
    return "covariate"
