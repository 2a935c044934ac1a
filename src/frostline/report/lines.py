"""The sentences below the table of a result: meanings, the learning curve, probabilities, doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frostline.stats.intervals import wilson
from frostline.stats.meaning import meaning


def meaning_lines(result: Mapping[str, Any]) -> list[str]:
    """Return one line for every kind of number that the table of strategies shows."""
    scored = [s for s in result["strategies"] if s["score"] is not None]
    if not scored:
        return []
    blocks = len(result["blocks"])
    score = "accuracy" if result["settings"].get("metric", "accuracy") == "accuracy" else "score"
    explained = [(score, score), ("95 % interval", "score-interval")]  # name in the table, key of its meaning
    outcomes = [s["versus_best"]["outcome"] for s in scored if s["versus_best"]]
    if outcomes:
        explained.append(("against the best", "difference"))
    explained += [(word, word) for word in ("worse", "better", "as-good", "undecided") if word in outcomes]
    return [f"  {name}: {meaning(key, blocks=blocks)}" for name, key in explained]


def sealed_meaning() -> str:
    """Explain the accuracy on the sealed part and its interval."""
    return f"{meaning('sealed-accuracy')} {meaning('sealed-interval')}"


Cells = tuple[tuple[str, ...], list[tuple[str, ...]]]


def curve_cells(record: Mapping[str, Any]) -> Cells | None:
    """Return (header, rows): one row per number of labels, one column per strategy with more than the race's own size.

    None where no strategy has more than that.
    """
    curves = [c for c in record["curves"] if len(c["points"]) > 1]
    if not curves:
        return None
    by_labels = [{point["labels"]: point for point in curve["points"]} for curve in curves]
    sizes = sorted({labels for points in by_labels for labels in points})
    usual_blocks = max(point["blocks"] for points in by_labels for point in points.values())
    rows = [(str(labels), *(_curve_cell(points.get(labels), usual_blocks) for points in by_labels)) for labels in sizes]
    return ("labels", *(str(c["name"]) for c in curves)), rows


def _curve_cell(point: Mapping[str, Any] | None, usual_blocks: int) -> str:
    """Format a point; the number of blocks is named only where it isn't the usual one."""
    if point is None:
        return ""
    low, high = point["ci"]
    cell = f"{point['accuracy']:.3f} ({low:.3f} - {high:.3f})"
    if point["blocks"] != usual_blocks:
        cell += f" on {point['blocks']} block{'s' * (point['blocks'] != 1)}"
    return cell


READINGS = {
    "helps": "More labels would probably help.",
    "little": "More labels would probably help little.",
    "undecided": "It is unclear whether more labels would help.",
}


def curve_text(record: Mapping[str, Any]) -> str:
    """Say whether more labels would help: the answer first, then the record's sentence with its reasons."""
    answer = READINGS.get(record["reading"])
    if answer is None:
        return str(record["sentence"])
    return f"{answer} {record['sentence']}"


LEAST_TO_COMPARE = 5  # sealed samples of a class before anything is said about it


def probability_lines(result: Mapping[str, Any]) -> list[str]:
    """List sentences on the probabilities and the weakest class, as far as the record has something to say."""
    lines = []
    if result.get("calibration"):
        lines.append(_calibration_line(result["calibration"]))
    if result.get("abstain"):
        lines.append(_abstain_line(result["abstain"]))
    weak = _weak_class(result["test"])
    if weak:
        lines.append(weak)
    return lines


def _calibration_line(calibration: Mapping[str, Any]) -> str:
    before = calibration["sealed_before"]
    after = calibration["sealed_after"]
    loss = f"{after['log_loss']:.3f} nats"
    error = f"{after['ece']:.3f}"
    if calibration["temperature"] is None:
        return (
            f"Probabilities: as the network gives them, not calibrated ({calibration['reason']}); sealed log loss "
            f"{loss}, calibration error {error}."
        )
    return (
        f"Probabilities: temperature {calibration['temperature']:.2f} from {calibration['out_of_fold_after']['n']} "
        f"out-of-fold predictions; sealed log loss {before['log_loss']:.3f} -> {loss}, calibration error "
        f"{before['ece']:.3f} -> {error}."
    )


def _abstain_line(abstain: Mapping[str, Any]) -> str:
    start = f"Abstaining ({abstain['wanted_accuracy']:g} wanted):"
    threshold = abstain["threshold"]
    if threshold is None:
        return f"{start} no prediction is marked. {abstain['reason']}"
    sealed = abstain["sealed"]
    if not sealed["answered"]:
        return f"{start} every sealed sample lies below {threshold:.3f} and is marked unsure."
    low, high = sealed["ci"]
    folds = abstain["out_of_fold"]
    return (
        f"{start} a prediction below {threshold:.3f} is marked unsure. {sealed['coverage']:.0%} of the sealed samples "
        f"are answered, {sealed['accuracy']:.3f} of these correctly (95 % interval {low:.3f} to {high:.3f}); out of "
        f"fold {folds['coverage']:.0%} and {folds['accuracy']:.3f}."
    )


def _weak_class(test: Mapping[str, Any]) -> str | None:
    """Name the class with the lowest recall, if it is below that of all others together (95 %, over all classes)."""
    classes = [c for c in test["per_class"] if c["n"] >= LEAST_TO_COMPARE]
    if len(classes) < 2:
        return None
    worst = min(classes, key=lambda c: c["recall"])
    others = [c for c in test["per_class"] if c is not worst]
    recall_of_others = sum(c["recall"] * c["n"] for c in others) / sum(c["n"] for c in others)
    hits = round(worst["recall"] * worst["n"])
    highest = wilson(hits, worst["n"], 1 - 0.05 / len(classes))[1]
    if highest >= recall_of_others:
        return None
    return (
        f"Weakest class: {worst['name']}, {hits} of its {worst['n']} sealed samples are recognised; of the other "
        f"classes' samples {recall_of_others:.0%}."
    )


EXAMPLES_SHOWN = 2

DOUBT_WORDS = {  # one doubt, several
    "label": ("label looks wrong", "labels look wrong"),
    "conflicting-copy": ("copy has another class than the original", "copies have another class than the original"),
    "copy": ("copy", "copies"),
    "close-to-other-class": ("pair of two classes is nearly alike", "pairs of two classes are nearly alike"),
    "outlier": ("outlier", "outliers"),
    "small-class": ("class is too small to judge", "classes are too small to judge"),
}


def doubt_lines(doubts: Mapping[str, Any] | None) -> list[str]:
    """Return one sentence per kind of doubt in the record; none where there is no doubt."""
    if doubts is None:
        return []
    lines = []
    for kind, number in doubts["counts"].items():
        if number:
            one, several = DOUBT_WORDS.get(kind, (kind, kind))
            words = one if number == 1 else several
            details = [d["detail"].rstrip(".") for d in doubts["examples"] if d["kind"] == kind]
            lines.append(f"Doubt: {number:,} {words} ({_examples(details, number)}).")
    if lines:
        lines.append("Nothing was changed because of these doubts; doubts.csv lists all of them.")
    return lines


def _examples(details: Sequence[str], number: int) -> str:
    shown = "; ".join(details[:EXAMPLES_SHOWN])
    if number > EXAMPLES_SHOWN:
        shown += f"; and {number - EXAMPLES_SHOWN:,} more"
    return shown


def history_lines(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """`The weights: simclr on 240 samples of flowers without labels, then ...`, where that is known."""
    if not history:
        return []
    return [f"The weights: {', then '.join(_step_of(entry) for entry in history)}."]


def _step_of(entry: Mapping[str, Any]) -> str:
    name = entry.get("strategy") or entry.get("what", "training")
    words = f"{name} on {entry.get('n', 0):,} samples of"
    if entry.get("what") != "supervised":
        return f"{words} {entry.get('data', 'unknown data')} without labels"
    named = list(entry.get("first_classes", ()))
    left = int(entry.get("classes", 0)) - len(named)
    if left > 0:
        named.append(f"{left} more classes")
    return f"{words} {', '.join(named)}"
