"""The temperature of the verdict's probabilities and the threshold below which it abstains, both told out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.records import FloatArray, IntArray, Outcome
from frostline.bundle import parts as p
from frostline.bundle.saved import Abstain, Finished
from frostline.stats import calibration as stats
from frostline.stats.metrics import ece, log_loss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Every out-of-fold prediction of a strategy, (M, C) as the networks gave them, with its label and dataset row.

    Repeats are not averaged: the saved model is one network, and a mean of several is less sure than each.
    """

    probabilities: FloatArray
    labels: IntArray
    rows: IntArray

    @property
    def repeats(self) -> float:
        return len(self.rows) / len(np.unique(self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`temperature` is None where none could be told, which is 1; `threshold` is None where none was asked for."""

    temperature: float | None
    reason: str
    held_out: HeldOut | None = None
    wanted: float | None = None
    threshold: stats.Threshold | None = None

    def onto(self, finished: Finished) -> Finished:
        """The network with what it has to be saved with."""
        kept = None
        if self.wanted is not None and self.threshold is not None:
            kept = Abstain(wanted_accuracy=self.wanted, threshold=self.threshold.value)
        return replace(finished, temperature=self.temperature, abstain=kept)


def calibrate(outcomes: Sequence[Outcome], strategy: str, labels: IntArray, wanted: float | None = None) -> Calibration:
    """From the blocks of `strategy`; `labels` (N,) are the whole dataset's, `wanted` is the accuracy of `--abstain`."""
    held_out = _held_out(outcomes, strategy, labels)
    if held_out is None:
        reason = f"{strategy} was not judged on held-out folds, so there is nothing to tell a temperature from"
        told = None if wanted is None else stats.Threshold(
            value=None, reason=f"{strategy} was not judged on held-out folds: no threshold can be told.")  # fmt: skip
        return Calibration(temperature=None, reason=reason, wanted=wanted, threshold=told)
    first = np.unique(held_out.rows, return_index=True)[1]
    why_not = stats.why_not(held_out.labels[first])
    temperature = None
    if why_not is None:
        temperature = stats.fit_temperature(held_out.probabilities, held_out.labels, repeats=held_out.repeats)
    threshold = None
    if wanted is not None:
        sure = stats.tempered(held_out.probabilities, temperature or 1.0)
        threshold = stats.abstain_threshold(sure, held_out.labels, wanted, repeats=held_out.repeats)
    return Calibration(temperature=temperature, reason=why_not or _told_by(held_out), held_out=held_out, wanted=wanted,
                       threshold=threshold)  # fmt: skip


def _held_out(outcomes: Sequence[Outcome], strategy: str, labels: IntArray) -> HeldOut | None:
    done = [o for o in outcomes if o.strategy == strategy and o.purpose == "block" and o.ok and o.rows]
    if not done:
        return None
    rows = np.concatenate([np.asarray(o.rows, dtype=np.int64) for o in done])
    values = np.concatenate([np.asarray(o.probabilities, dtype=np.float64) for o in done])
    return HeldOut(probabilities=values, labels=np.asarray(labels)[rows], rows=rows)


def _told_by(held_out: HeldOut) -> str:
    wrong = int((held_out.probabilities.argmax(axis=1) != held_out.labels).sum())
    samples = len(np.unique(held_out.rows))
    of = f" of {samples} samples" if samples < len(held_out.rows) else ""
    weak = "; with so few errors it stays near 1" if wrong < 3 else ""
    return f"least log loss of {len(held_out.rows)} out-of-fold predictions{of}, {wrong} of them wrong{weak}"


def calibration_record(found: Calibration | None, sealed: FloatArray, labels: IntArray) -> p.CalibrationRecord | None:
    """Before and after; `sealed` (N, C) are the saved model's probabilities, `labels` (N,) the sealed part's.

    None where nothing was calibrated. What is recorded as before on the sealed part is told from the probabilities
    after it: the seal is opened once.
    """
    if found is None:
        return None
    temperature, before, after = found.temperature or 1.0, None, None
    if found.held_out is not None:
        values, truth = found.held_out.probabilities, found.held_out.labels
        before, after = _quality(values, truth), _quality(stats.tempered(values, temperature), truth)
    return p.CalibrationRecord(
        temperature=found.temperature,
        reason=found.reason,
        out_of_fold_before=before,
        out_of_fold_after=after,
        sealed_before=_quality(stats.tempered(sealed, 1 / temperature), labels),
        sealed_after=_quality(sealed, labels),
    )


def abstain_record(found: Calibration | None, sealed: FloatArray, labels: IntArray) -> p.AbstainRecord | None:
    """What abstaining gives, out of fold and on the sealed part; None where it wasn't asked for."""
    if found is None or found.wanted is None or found.threshold is None:
        return None
    value, inside, outside = found.threshold.value, None, None
    if value is not None:
        outside = _covered(stats.coverage(sealed, labels, value))
        if found.held_out is not None:
            values = stats.tempered(found.held_out.probabilities, found.temperature or 1.0)
            repeats = found.held_out.repeats
            inside = _covered(stats.coverage(values, found.held_out.labels, value, repeats=repeats))
    return p.AbstainRecord(wanted_accuracy=found.wanted, threshold=value, reason=found.threshold.reason,
                           out_of_fold=inside, sealed=outside)  # fmt: skip


def _quality(probabilities: FloatArray, labels: IntArray) -> p.ProbabilityRecord:
    bins = [p.BinRecord(low=b.low, high=b.high, n=b.n, confidence=b.confidence, accuracy=b.accuracy)
            for b in stats.reliability(probabilities, labels)]  # fmt: skip
    return p.ProbabilityRecord(n=len(labels), log_loss=log_loss(probabilities, labels),
                               ece=ece(probabilities, labels), reliability=bins)  # fmt: skip


def _covered(found: stats.Coverage) -> p.CoverageRecord:
    return p.CoverageRecord(n=found.n, answered=found.answered, coverage=found.coverage, accuracy=found.accuracy,
                            ci=found.ci)  # fmt: skip
