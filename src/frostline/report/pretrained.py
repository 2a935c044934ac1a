"""A network that learnt without labels, as text: what it learnt from, and what its features came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frostline.report.lines import history_lines
from frostline.report.plot import text_table
from frostline.report.tables import filled


def pretrained_text(record: Mapping[str, Any], width: int = 100) -> str:
    """Write a record of `frostline pretrain` without labels as plain lines."""
    data = record["data"]
    noun = "texts" if data["modality"] == "text" else "images"
    training = record["training"]
    first = (
        f"PRE-TRAINED  {record['model']['spec']} by {record['method']} on {data['n']:,} {noun} without labels "
        f"({training['epochs']} epochs, {training['steps']:,} steps, rate {training['rate']:g}, "
        f"{record['cost']['seconds']:.0f} s), from {record['model']['weights']}."
    )
    if data["sealed"]:
        first += f" {data['sealed']:,} {noun} of a sealed part were left out."
    lines = filled([first], width)
    table = text_table(("epoch", "loss", "effective rank", "spread", "k-NN accuracy"), _curve_rows(record["curve"]))
    after = [_worth(record)]
    if record["collapsed"]:
        after.insert(0, f"COLLAPSED  {record['collapse']}.")
    if len(record["history"]) > 1:
        after += history_lines(record["history"])
    return "\n".join([*lines, "", table, "", *filled(after, width)]) + "\n"


def _curve_rows(curve: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of the epochs that the monitor read."""
    read = [point for point in curve if point["effective_rank"] is not None]
    return [
        (
            "start" if point["epoch"] == 0 else str(point["epoch"]),
            _figure(point["loss"], ".4g"),
            _figure(point["effective_rank"], ".3g"),
            _figure(point["std"], ".3g"),
            _figure(point["knn_accuracy"], ".3f"),
        )
        for point in read
    ]


def _figure(value: float | None, form: str) -> str:
    if value is None:
        return ""
    return format(value, form)


def _worth(record: Mapping[str, Any]) -> str:
    read = [point for point in record["curve"] if point["effective_rank"] is not None]
    before = read[0]["knn_accuracy"]
    after = read[-1]["knn_accuracy"]
    if before is None or after is None:
        return "No labels were there to say what the features are worth: frostline fit on labelled data will."
    return (
        f"By the labels, which it never learnt from: its nearest neighbours name the class of {after:.1%} of the "
        f"samples, {before:.1%} before."
    )
