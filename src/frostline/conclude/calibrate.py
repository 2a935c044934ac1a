"""The temperature of the verdict's probabilities and the threshold below which it abstains, both told out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.records import IntArray, Outcome
from frostline.bundle.saved import Abstain, SavedModel
from frostline.conclude.out_of_fold import HeldOut, held_out
from frostline.stats import calibration as stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`temperature` is None where none could be told, which is 1; `threshold` is None where none was asked for."""

    temperature: float | None
    reason: str
    held_out: HeldOut | None = None
    wanted: float | None = None
    threshold: stats.Threshold | None = None

    def onto(self, saved: SavedModel) -> SavedModel:
        """The network with what it has to be saved with."""
        kept = None
        if self.wanted is not None and self.threshold is not None:
            kept = Abstain(wanted_accuracy=self.wanted, threshold=self.threshold.value)
        return replace(saved, temperature=self.temperature, abstain=kept)


def calibrate(outcomes: Sequence[Outcome], strategy: str, labels: IntArray, wanted: float | None = None) -> Calibration:
    """From the blocks of `strategy`; `labels` (N,) are the whole dataset's, `wanted` is the accuracy of `--abstain`."""
    found = held_out(outcomes, strategy, labels)
    if found is None:
        reason = f"{strategy} was not judged on held-out folds, so there is nothing to tell a temperature from"
        told = (
            None
            if wanted is None
            else stats.Threshold(
                value=None, reason=f"{strategy} was not judged on held-out folds: no threshold can be told."
            )
        )
        return Calibration(temperature=None, reason=reason, wanted=wanted, threshold=told)
    # repeats are not averaged: the saved model is one network, and a mean of several is less sure than each
    first = np.unique(found.rows, return_index=True)[1]
    why_not = stats.why_not(found.labels[first])
    temperature = None
    if why_not is None:
        temperature = stats.fit_temperature(found.probabilities, found.labels, repeats=found.repeats)
    threshold = None
    if wanted is not None:
        sure = stats.tempered(found.probabilities, temperature or 1.0)
        threshold = stats.abstain_threshold(sure, found.labels, wanted, repeats=found.repeats)
    return Calibration(
        temperature=temperature, reason=why_not or _told_by(found), held_out=found, wanted=wanted, threshold=threshold
    )


def _told_by(found: HeldOut) -> str:
    wrong = int((found.probabilities.argmax(axis=1) != found.labels).sum())
    samples = len(np.unique(found.rows))
    of = f" of {samples} samples" if samples < len(found.rows) else ""
    weak = "; with so few errors it stays near 1" if wrong < 3 else ""
    return f"least log loss of {len(found.rows)} out-of-fold predictions{of}, {wrong} of them wrong{weak}"
