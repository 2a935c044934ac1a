"""The sentences below the tables of a result: meanings, the learning curve, probabilities, doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frostline.stats.intervals import wilson
from frostline.stats.meaning import meaning


def meaning_lines(result: Mapping[str, Any]) -> list[str]:
    """One line for every kind of number that the table of strategies shows."""
    scored = [s for s in result["strategies"] if s["score"] is not None]
    if not scored:
        return []
    blocks = len(result["blocks"])
    accuracy = result["settings"].get("metric", "accuracy") == "accuracy"
    lines = [("accuracy", "accuracy") if accuracy else ("score", "score"), ("95 % interval", "score-interval")]
    against = [s["versus_best"]["outcome"] for s in scored if s["versus_best"]]
    if against:
        lines.append(("against the best", "difference"))
    lines += [(word, word) for word in ("worse", "better", "as-good", "undecided") if word in against]
    return [f"  {name}: {meaning(key, blocks=blocks)}" for name, key in lines]


def sealed_meaning() -> str:
    """What the accuracy on the sealed part and its interval mean."""
    return f"{meaning('sealed-accuracy')} {meaning('sealed-interval')}"


Cells = tuple[tuple[str, ...], list[tuple[str, ...]]]


def curve_cells(record: Mapping[str, Any]) -> Cells | None:
    """(header, rows): one row a number of labels, one column a strategy that has more than the race's own size.

    None where no strategy has.
    """
    curves = [c for c in record["curves"] if len(c["points"]) > 1]
    if not curves:
        return None
    by_labels = [{point["labels"]: point for point in curve["points"]} for curve in curves]
    sizes = sorted({labels for points in by_labels for labels in points})
    every = max(point["blocks"] for points in by_labels for point in points.values())
    rows = [(str(labels), *(_cell(points.get(labels), every) for points in by_labels)) for labels in sizes]
    return ("labels", *(str(c["name"]) for c in curves)), rows


def _cell(point: Mapping[str, Any] | None, every: int) -> str:
    """`every`: the number of blocks that goes without saying."""
    if point is None:
        return ""
    low, high = point["ci"]
    blocks = "" if point["blocks"] == every else f" on {point['blocks']} block{'s' * (point['blocks'] != 1)}"
    return f"{point['accuracy']:.3f} ({low:.3f} - {high:.3f}){blocks}"


def curve_sentence(record: Mapping[str, Any]) -> str:
    """Whether more labels would help."""
    return f"More labels? {record['sentence']}"


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
        return (
            f"Probabilities: as the network gives them, not calibrated ({found['reason']}); sealed log loss "
            f"{loss}, calibration error {error}."
        )
    return (
        f"Probabilities: temperature {found['temperature']:.2f} from {held_out['n']} out-of-fold predictions; "
        f"sealed log loss {before['log_loss']:.3f} -> {loss}, calibration error {before['ece']:.3f} -> "
        f"{error}."
    )


def _abstain(found: Mapping[str, Any]) -> str:
    wanted, sealed, inside = f"{found['wanted_accuracy']:g} wanted", found["sealed"], found["out_of_fold"]
    if found["threshold"] is None:
        return f"Abstaining ({wanted}): no answer is marked. {found['reason']}"
    if not sealed["answered"]:
        return f"Abstaining ({wanted}): every sealed sample lies below {found['threshold']:.3f} and is unsure."
    low, high = sealed["ci"]
    return (
        f"Abstaining ({wanted}): an answer below {found['threshold']:.3f} is unsure. {sealed['coverage']:.0%} of "
        f"the sealed samples are answered, {sealed['accuracy']:.3f} of these right (95 % interval {low:.3f} to "
        f"{high:.3f}); out of fold {inside['coverage']:.0%} and {inside['accuracy']:.3f}."
    )


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
    return (
        f"Weakest class: {worst['name']}, {hits} of its {worst['n']} sealed samples are found; of the others "
        f"{rest:.0%}."
    )


SHOWN = 2

WORDS = {
    "label": ("label looks wrong", "labels look wrong"),
    "conflicting-copy": ("copy has another class than the original", "copies have another class than the original"),
    "copy": ("copy", "copies"),
    "close-to-other-class": ("pair of two classes is nearly alike", "pairs of two classes are nearly alike"),
    "outlier": ("outlier", "outliers"),
    "small-class": ("class is too small to judge", "classes are too small to judge"),
}


def doubt_lines(doubts: Mapping[str, Any] | None) -> list[str]:
    """One sentence for each kind of doubt that was found, from the record; none where nothing was."""
    if doubts is None:
        return []
    lines = []
    for kind, number in doubts["counts"].items():
        if number:
            one, several = WORDS.get(kind, (kind, kind))
            details = [d["detail"].rstrip(".") for d in doubts["examples"] if d["kind"] == kind]
            lines.append(f"Doubt: {number:,} {one if number == 1 else several} ({_some(details, number)}).")
    return [*lines, "Nothing was changed for these doubts; all of them are in doubts.csv."] if lines else []


def _some(details: Sequence[str], number: int) -> str:
    metric_text = "; ".join(details[:SHOWN])
    return f"{metric_text}; and {number - SHOWN:,} more" if number > SHOWN else metric_text
