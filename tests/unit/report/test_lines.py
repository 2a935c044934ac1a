"""What is said of probabilities: only what the record holds, and of a class only what isn't luck."""

from __future__ import annotations

from typing import Any

from frostline.bundle.schema import RunResult
from frostline.report.lines import probability_lines
from frostline.report.tables import result_text
from helpers.report_records import record


def quality(n: int, loss: float, error: float) -> dict[str, Any]:
    return {"n": n, "log_loss": loss, "ece": error, "reliability": []}


def calibration(temperature: float | None = 1.31) -> dict[str, Any]:
    return {
        "temperature": temperature,
        "reason": "probe was not judged on held-out folds",
        "out_of_fold_before": quality(244, 0.3, 0.07),
        "out_of_fold_after": quality(244, 0.25, 0.03),
        "sealed_before": quality(50, 0.31, 0.061),
        "sealed_after": quality(50, 0.24, 0.034),
    }


def covered(n: int, answered: int, right: float | None) -> dict[str, Any]:
    return {
        "n": n,
        "answered": answered,
        "coverage": answered / n,
        "accuracy": right,
        "ci": None if right is None else [0.91, 0.99],
    }


def abstain(threshold: float | None = 0.8123, answered: int = 40) -> dict[str, Any]:
    sealed = covered(50, answered, 0.975 if answered else None)
    return {
        "wanted_accuracy": 0.95,
        "threshold": threshold,
        "reason": "No threshold reaches 0.95.",
        "out_of_fold": covered(244, 200, 0.98),
        "sealed": sealed if threshold is not None else None,
    }


def classes(*recalls: tuple[str, int, int]) -> dict[str, Any]:
    rows = [{"name": name, "n": n, "precision": 0.9, "recall": hits / n, "f1": 0.9} for name, hits, n in recalls]
    return {**record()["test"], "per_class": rows}


def test_calibration_is_told_before_and_after_on_the_sealed_part() -> None:
    made = record(calibration=calibration())
    RunResult.model_validate(made)
    (line,) = probability_lines(made)
    assert line == (
        "Probabilities: temperature 1.31 from 244 out-of-fold predictions; sealed log loss 0.310 -> 0.240 "
        "nats, calibration error 0.061 -> 0.034."
    )
    assert line in " ".join(result_text(made).split())


def test_without_a_temperature_the_reason_is_told() -> None:
    (line,) = probability_lines(record(calibration=calibration(None)))
    assert "not calibrated (probe was not judged on held-out folds); sealed log loss 0.240 nats" in line
    assert "->" not in line


def test_an_older_record_says_nothing() -> None:
    assert probability_lines(record()) == []
    assert probability_lines(record(calibration=None, abstain=None)) == []


def test_abstaining_is_told_with_what_is_answered_and_right() -> None:
    made = record(abstain=abstain())
    RunResult.model_validate(made)
    (line,) = probability_lines(made)
    assert (
        "(0.95 wanted): a prediction below 0.812 is marked unsure. 80% of the sealed samples are answered, 0.975"
        in line
    )
    assert "out of fold 82% and 0.980." in line


def test_abstaining_that_marks_nothing_or_everything_is_told() -> None:
    assert "no prediction is marked. No threshold reaches 0.95." in probability_lines(record(abstain=abstain(None)))[0]
    assert "every sealed sample lies below" in probability_lines(record(abstain=abstain(0.9, 0)))[0]


def test_a_class_that_is_found_much_less_often_is_named() -> None:
    (line,) = probability_lines(record(test=classes(("ant", 48, 50), ("bee", 10, 25), ("fly", 47, 50))))
    assert line == "Weakest class: bee, 10 of its 25 sealed samples are recognised; of the other classes' samples 95%."


def test_a_class_that_may_only_have_had_bad_luck_is_not_named() -> None:
    assert probability_lines(record(test=classes(("ant", 48, 50), ("bee", 22, 25)))) == []
    assert probability_lines(record(test=classes(("ant", 50, 50), ("bee", 1, 4)))) == []
    assert probability_lines(record(test=classes(("ant", 48, 50)))) == []
