"""Calibration and abstaining as parts of the record."""

from __future__ import annotations

from frostline.base.records import FloatArray, IntArray
from frostline.bundle import schema
from frostline.conclude.calibrate import Calibration
from frostline.stats import calibration as stats
from frostline.stats.metrics import ece, log_loss


def calibration_record(
    found: Calibration | None, sealed: FloatArray, labels: IntArray
) -> schema.CalibrationRecord | None:
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
    return schema.CalibrationRecord(
        temperature=found.temperature,
        reason=found.reason,
        out_of_fold_before=before,
        out_of_fold_after=after,
        sealed_before=_quality(stats.tempered(sealed, 1 / temperature), labels),
        sealed_after=_quality(sealed, labels),
    )


def abstain_record(found: Calibration | None, sealed: FloatArray, labels: IntArray) -> schema.AbstainRecord | None:
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
    return schema.AbstainRecord(
        wanted_accuracy=found.wanted, threshold=value, reason=found.threshold.reason, out_of_fold=inside, sealed=outside
    )


def _quality(probabilities: FloatArray, labels: IntArray) -> schema.ProbabilityRecord:
    bins = [
        schema.BinRecord(low=b.low, high=b.high, n=b.n, confidence=b.confidence, accuracy=b.accuracy)
        for b in stats.reliability(probabilities, labels)
    ]
    return schema.ProbabilityRecord(
        n=len(labels), log_loss=log_loss(probabilities, labels), ece=ece(probabilities, labels), reliability=bins
    )


def _covered(found: stats.Coverage) -> schema.CoverageRecord:
    return schema.CoverageRecord(
        n=found.n, answered=found.answered, coverage=found.coverage, accuracy=found.accuracy, ci=found.ci
    )
