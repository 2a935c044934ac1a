"""What the text of a result says about its probabilities: calibration, abstaining, and a class that does badly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.stats.intervals import wilson

FEWEST = 5  # sealed samples of a class before anything is said about it


def probability_lines(result: Mapping[str, Any]) -> list[str]:
    """Sentences, none where the record has nothing to say."""
    lines = [_calibration(result["calibration"])] if result.get("calibration") else []
    lines += [_abstain(result["abstain"])] if result.get("abstain") else []
    weak = _weak_class(result["test"])
    return [*lines, weak] if weak else lines


def _calibration(found: Mapping[str, Any]) -> str:
    before, after, held_out = found["sealed_before"], found["sealed_after"], found["out_of_fold_after"]
    loss, error = f"{after['log_loss']:.3f} nats", f"{after['ece']:.3f}"
    if found["temperature"] is None:
        return (f"Probabilities: as the network gives them, not calibrated ({found['reason']}); sealed log loss "
                f"{loss}, calibration error {error}.")  # fmt: skip
    return (f"Probabilities: temperature {found['temperature']:.2f} from {held_out['n']} out-of-fold predictions; "
            f"sealed log loss {before['log_loss']:.3f} -> {loss}, calibration error {before['ece']:.3f} -> "
            f"{error}.")  # fmt: skip


def _abstain(found: Mapping[str, Any]) -> str:
    wanted, sealed, inside = f"{found['wanted_accuracy']:g} wanted", found["sealed"], found["out_of_fold"]
    if found["threshold"] is None:
        return f"Abstaining ({wanted}): no answer is marked. {found['reason']}"
    if not sealed["answered"]:
        return f"Abstaining ({wanted}): every sealed sample lies below {found['threshold']:.3f} and is unsure."
    low, high = sealed["ci"]
    return (f"Abstaining ({wanted}): an answer below {found['threshold']:.3f} is unsure. {sealed['coverage']:.0%} of "
            f"the sealed samples are answered, {sealed['accuracy']:.3f} of these right (95 % interval {low:.3f} to "
            f"{high:.3f}); out of fold {inside['coverage']:.0%} and {inside['accuracy']:.3f}.")  # fmt: skip


def _weak_class(test: Mapping[str, Any]) -> str | None:
    """The class found least often, where its share lies below that of all others together: 95 %, over all classes."""
    rows = [c for c in test["per_class"] if c["n"] >= FEWEST]
    if len(rows) < 2:
        return None
    worst = min(rows, key=lambda c: c["recall"])
    others = [c for c in test["per_class"] if c is not worst]
    rest = sum(c["recall"] * c["n"] for c in others) / sum(c["n"] for c in others)
    hits = round(worst["recall"] * worst["n"])
    if wilson(hits, worst["n"], 1 - 0.05 / len(rows))[1] >= rest:
        return None
    return (f"Weakest class: {worst['name']}, {hits} of its {worst['n']} sealed samples are found; of the others "
            f"{rest:.0%}.")  # fmt: skip
