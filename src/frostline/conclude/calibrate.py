"""The temperature of the verdict's probabilities and the threshold below which it abstains, both fitted out of fold."""

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
    """`temperature` is None where none could be fitted (it then counts as 1), `threshold` where none was asked for."""

    temperature: float | None
    reason: str
    held_out: HeldOut | None = None
    wanted: float | None = None
    threshold: stats.Threshold | None = None

    def onto(self, saved: SavedModel) -> SavedModel:
        """Return the model with the temperature and threshold that are saved with it."""
        abstain = None
        if self.wanted is not None and self.threshold is not None:
            abstain = Abstain(wanted_accuracy=self.wanted, threshold=self.threshold.value)
        return replace(saved, temperature=self.temperature, abstain=abstain)


def calibrate(outcomes: Sequence[Outcome], strategy: str, labels: IntArray, wanted: float | None = None) -> Calibration:
    """Fit both on the held-out predictions of `strategy`.

    Args:
        outcomes: of all trials; those of other strategies are ignored.
        strategy: the verdict's name.
        labels: class of every sample of the dataset (N,).
        wanted: the accuracy of `--abstain`; None for no threshold.
    """
    predictions = held_out(outcomes, strategy, labels)
    if predictions is None:
        return _uncalibrated(strategy, wanted)
    # repeats are not averaged: the saved model is one network, and a mean of several is less sure than each
    first = np.unique(predictions.rows, return_index=True)[1]
    why_not = stats.why_not(predictions.labels[first])
    temperature = None
    if why_not is None:
        temperature = stats.fit_temperature(predictions.probabilities, predictions.labels, repeats=predictions.repeats)
    threshold = None
    if wanted is not None:
        tempered = stats.tempered(predictions.probabilities, temperature or 1.0)
        threshold = stats.abstain_threshold(tempered, predictions.labels, wanted, repeats=predictions.repeats)
    return Calibration(
        temperature=temperature,
        reason=why_not or _fitted_on(predictions),
        held_out=predictions,
        wanted=wanted,
        threshold=threshold,
    )


def _uncalibrated(strategy: str, wanted: float | None) -> Calibration:
    because = f"{strategy} was not judged on held-out folds"
    threshold = None
    if wanted is not None:
        threshold = stats.Threshold(value=None, reason=f"{because}: no threshold can be set.")
    reason = f"{because}, so there is nothing to fit a temperature on"
    return Calibration(temperature=None, reason=reason, wanted=wanted, threshold=threshold)


def _fitted_on(predictions: HeldOut) -> str:
    wrong = int((predictions.probabilities.argmax(axis=1) != predictions.labels).sum())
    count = len(predictions.rows)
    samples = len(np.unique(predictions.rows))
    text = f"least log loss of {count} out-of-fold predictions"
    if samples < count:
        text += f" of {samples} samples"
    text += f", {wrong} of them wrong"
    if wrong < 3:
        text += "; with so few errors it stays near 1"
    return text
