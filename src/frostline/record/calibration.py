"""Calibration and abstaining as parts of the record."""

from __future__ import annotations

from frostline.base.records import FloatArray, IntArray
from frostline.bundle import schema
from frostline.conclude.calibrate import Calibration
from frostline.stats import calibration as stats
from frostline.stats.metrics import ece, log_loss


def calibration_record(
    calibration: Calibration | None, sealed: FloatArray, labels: IntArray
) -> schema.CalibrationRecord | None:
    """Record the probabilities' quality before and after calibration; None where nothing was calibrated.

    What is recorded as before on the sealed part is computed from the probabilities after it: the seal is opened once.

    Args:
        calibration: of the verdict.
        sealed: probabilities of the saved model (N, C).
        labels: of the sealed part (N,).
    """
    if calibration is None:
        return None
    temperature = calibration.temperature or 1.0
    before = None
    after = None
    held_out = calibration.held_out
    if held_out is not None:
        before = _quality(held_out.probabilities, held_out.labels)
        after = _quality(stats.tempered(held_out.probabilities, temperature), held_out.labels)
    return schema.CalibrationRecord(
        temperature=calibration.temperature,
        reason=calibration.reason,
        out_of_fold_before=before,
        out_of_fold_after=after,
        sealed_before=_quality(stats.tempered(sealed, 1 / temperature), labels),
        sealed_after=_quality(sealed, labels),
    )


def abstain_record(
    calibration: Calibration | None, sealed: FloatArray, labels: IntArray
) -> schema.AbstainRecord | None:
    """Record what abstaining gives, out of fold and on the sealed part; None where it wasn't requested."""
    if calibration is None or calibration.wanted is None or calibration.threshold is None:
        return None
    threshold = calibration.threshold.value
    on_folds = None
    on_sealed = None
    if threshold is not None:
        on_sealed = _coverage_record(stats.coverage(sealed, labels, threshold))
        on_folds = _coverage_out_of_fold(calibration, threshold)
    return schema.AbstainRecord(
        wanted_accuracy=calibration.wanted,
        threshold=threshold,
        reason=calibration.threshold.reason,
        out_of_fold=on_folds,
        sealed=on_sealed,
    )


def _coverage_out_of_fold(calibration: Calibration, threshold: float) -> schema.CoverageRecord | None:
    held_out = calibration.held_out
    if held_out is None:
        return None
    values = stats.tempered(held_out.probabilities, calibration.temperature or 1.0)
    return _coverage_record(stats.coverage(values, held_out.labels, threshold, repeats=held_out.repeats))


def _quality(probabilities: FloatArray, labels: IntArray) -> schema.ProbabilityRecord:
    bins = [
        schema.BinRecord(low=b.low, high=b.high, n=b.n, confidence=b.confidence, accuracy=b.accuracy)
        for b in stats.reliability(probabilities, labels)
    ]
    return schema.ProbabilityRecord(
        n=len(labels), log_loss=log_loss(probabilities, labels), ece=ece(probabilities, labels), reliability=bins
    )


def _coverage_record(coverage: stats.Coverage) -> schema.CoverageRecord:
    return schema.CoverageRecord(
        n=coverage.n,
        answered=coverage.answered,
        coverage=coverage.coverage,
        accuracy=coverage.accuracy,
        ci=coverage.ci,
    )
