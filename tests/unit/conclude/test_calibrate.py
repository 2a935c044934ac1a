"""Temperature and threshold come from what the verdict predicted out of fold, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from frostline.base.records import FloatArray, Outcome
from frostline.conclude.calibrate import calibrate
from frostline.record.calibration import abstain_record, calibration_record
from frostline.stats.calibration import fit_temperature, tempered
from frostline.stats.metrics import ece, log_loss

ROWS = 200
LABELS = np.random.default_rng(0).integers(3, size=ROWS)


def answers(seed: int, heat: float = 3.0) -> FloatArray:
    """Probabilities (200, 3) that are too sure by the factor `heat`."""
    values = np.random.default_rng(seed).normal(size=(ROWS, 3)) + 1.5 * np.eye(3)[LABELS]
    return np.asarray(softmax(1.5 * heat * values, axis=1))


def outcome(p: FloatArray, rows: Any, block: int, strategy: str = "probe", **changed: Any) -> Outcome:
    values: dict[str, Any] = {
        "key": f"{strategy}-{block}",
        "strategy": strategy,
        "purpose": "block",
        "block": block,
        "rate": None,
        "rows": tuple(int(r) for r in rows),
        "probabilities": tuple(tuple(map(float, p[r])) for r in rows),
        "accuracy": 0.0,
        "log_loss": 0.0,
        "steps": 0,
        "epochs": 0.0,
        "undertrained": False,
        "l2": None,
        "seconds": 0.0,
        "operations": 0.0,
    }
    return Outcome(**{**values, **changed})


def folds(p: FloatArray, first: int = 0, strategy: str = "probe") -> list[Outcome]:
    return [outcome(p, np.arange(k, ROWS, 2), first + k, strategy) for k in range(2)]


def test_only_the_verdicts_held_out_blocks_speak() -> None:
    p = answers(1)
    others = [
        *folds(answers(2, 0.2), strategy="finetune"),
        outcome(answers(3, 0.2), range(ROWS), 0, purpose="tune"),
        outcome(answers(4, 0.2), range(ROWS), 3, error="diverged"),
    ]
    found = calibrate([*others, *folds(p)], "probe", LABELS)
    order = np.concatenate([np.arange(k, ROWS, 2) for k in range(2)])
    assert found.temperature == fit_temperature(p[order], LABELS[order])
    assert found.temperature > 1.5
    assert "200 out-of-fold predictions" in found.reason
    assert found.threshold is None
    assert abstain_record(found, p, LABELS) is None


def test_repeats_are_told_apart_not_averaged() -> None:
    """The mean of several networks is less sure than each: its temperature would leave the saved one too sure."""
    one, two = answers(1), answers(5)
    found = calibrate([*folds(one), *folds(two, first=2)], "probe", LABELS, 0.8)
    both, labels = np.concatenate([one, two]), np.concatenate([LABELS, LABELS])
    assert found.temperature == pytest.approx(fit_temperature(both, labels, repeats=2.0), rel=1e-6)
    assert found.temperature is not None
    assert found.temperature > 1.2 * fit_temperature((one + two) / 2, LABELS)
    assert found.held_out is not None
    assert found.held_out.repeats == 2
    assert "400 out-of-fold predictions of 200 samples" in found.reason


def test_before_and_after_are_told_on_both_parts() -> None:
    p, sealed = answers(1), answers(9)
    found = calibrate(folds(p), "probe", LABELS)
    assert found.temperature is not None
    after = tempered(sealed, found.temperature)
    record = calibration_record(found, after, LABELS)
    assert record is not None
    assert record.sealed_after.log_loss == log_loss(after, LABELS)
    assert record.sealed_before.log_loss == pytest.approx(log_loss(sealed, LABELS), rel=1e-9)
    assert record.sealed_before.ece == pytest.approx(ece(sealed, LABELS), rel=1e-9)
    assert record.out_of_fold_before is not None
    assert record.out_of_fold_after is not None
    assert record.out_of_fold_before.log_loss == pytest.approx(log_loss(p, LABELS), rel=1e-12)
    assert record.out_of_fold_after.log_loss < record.out_of_fold_before.log_loss
    assert record.sealed_after.log_loss < record.sealed_before.log_loss  # rows that the temperature never saw
    gap = sum(b.n * abs((b.accuracy or 0) - (b.confidence or 0)) for b in record.sealed_after.reliability)
    assert gap / ROWS == pytest.approx(record.sealed_after.ece)


def test_a_threshold_is_one_of_calibrated_confidence() -> None:
    p, sealed = answers(1), answers(9)
    found = calibrate(folds(p), "probe", LABELS, 0.8)
    assert found.temperature is not None
    warm = tempered(p, found.temperature)
    assert found.threshold is not None
    assert found.threshold.value is not None
    assert np.isclose(warm.max(axis=1), found.threshold.value, rtol=1e-12).any()
    record = abstain_record(found, tempered(sealed, found.temperature), LABELS)
    assert record is not None
    assert (record.wanted_accuracy, record.threshold) == (0.8, found.threshold.value)
    assert record.out_of_fold is not None
    assert record.sealed is not None
    assert record.out_of_fold.answered == (warm.max(axis=1) >= found.threshold.value).sum()
    assert 0 < record.sealed.coverage < 1
    assert (record.sealed.accuracy or 0) > (sealed.argmax(axis=1) == LABELS).mean()


def test_a_strategy_that_ran_alone_is_left_as_it_is() -> None:
    found = calibrate([], "probe", LABELS, 0.9)
    sealed = answers(9)
    assert found.temperature is None
    assert "not judged on held-out folds" in found.reason
    record, abstain = calibration_record(found, sealed, LABELS), abstain_record(found, sealed, LABELS)
    assert record is not None
    assert record.out_of_fold_before is record.out_of_fold_after is None
    assert record.sealed_before == record.sealed_after
    assert abstain is not None
    assert abstain.threshold is None
    assert abstain.sealed is None
    assert "held-out folds" in abstain.reason


def test_too_few_rows_keep_the_temperature_but_are_reported() -> None:
    found = calibrate([outcome(answers(1), range(12), 0)], "probe", LABELS)
    assert found.temperature is None
    assert "12 held-out samples are too few" in found.reason
    record = calibration_record(found, answers(9), LABELS)
    assert record is not None
    assert record.out_of_fold_before == record.out_of_fold_after is not None


def test_what_was_not_calibrated_has_no_record() -> None:
    assert calibration_record(None, answers(9), LABELS) is None
    assert abstain_record(None, answers(9), LABELS) is None
