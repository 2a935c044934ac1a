"""The learning curve as cells and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
