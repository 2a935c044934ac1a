"""A transferability curve as text: a table of stages, and a plot that stays readable without colour."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.report.plot import Axis, Estimate, axis_of, plot_row, text_table

PLOT = 33  # columns of the plot
MARKS: Mapping[str, str] = {"base": "|", "BnB": "b", "BnB+": "B", "AnB": "a", "AnB+": "A"}
GAP_ORDER = ("co-adaptation", "specificity", "loss", "gain", "transfer", "freezing")

Values = Mapping[str, Any]


def transfer_text(record: Values, width: int, run: Path) -> str:
    """Write the table of a curve (curve.json as plain values), its plot, its gaps, and what they support."""
    rows = [row for row in record["rows"] if row["mean"] is not None]
    axis = axis_of([_drawn_mean(row) for row in rows], PLOT)
    header = ("stage", "arm", "accuracy", "95 % interval", axis.heading())
    table = text_table(header, [_table_row(row, axis) for row in rows])
    gaps = text_table(gap_header(record), gap_rows(record))
    lines = [table.rstrip("\n"), "", "Gaps in points, with 95 % intervals:", gaps.rstrip("\n"), ""]
    for sentence in (*record["sentences"], *basis(record)):
        lines += textwrap.wrap(sentence, max(width, 40))
    lines.append(f"Page with the figure: {run / 'curve.html'}")
    return "\n".join(lines) + "\n"


def _drawn_mean(row: Values) -> Estimate:
    interval = row["ci"] or (row["mean"], row["mean"])
    return Estimate(value=row["mean"], interval=(interval[0], interval[1]), mark=MARKS[row["arm"]], line="-")


def _table_row(row: Values, axis: Axis) -> tuple[str, ...]:
    return (
        stage_words(row["stage"], row["name"]),
        row["arm"],
        f"{row['mean']:.3f}",
        interval_words(row["ci"]),
        plot_row(axis, [_drawn_mean(row)]),
    )


def stage_words(stage: int, name: str | None) -> str:
    """Name a stage, `2 blocks.1`; the base has none."""
    if name is None:
        return "-"
    return f"{stage} {name}"


def interval_words(interval: Sequence[float] | None) -> str:
    """Write an interval of accuracies; a dash where there is none."""
    if interval is None:
        return "-"
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def gap_header(record: Values) -> tuple[str, ...]:
    """Return the heading of the table of gaps: those that the record holds."""
    return ("stage", *_gap_names(record))


def gap_rows(record: Values) -> list[tuple[str, ...]]:
    """Return one row a stage: each gap in points, with its interval."""
    names = _gap_names(record)
    found = {(gap["stage"], gap["name"]): gap for gap in record["gaps"]}
    stages = sorted({(gap["stage"], gap["stage_name"]) for gap in record["gaps"]})
    return [
        (stage_words(stage, name), *(_gap_cell(found.get((stage, gap))) for gap in names)) for stage, name in stages
    ]


def _gap_names(record: Values) -> list[str]:
    present = {gap["name"] for gap in record["gaps"]}
    return [name for name in GAP_ORDER if name in present]


def _gap_cell(gap: Values | None) -> str:
    if gap is None:
        return "-"
    text = f"{100 * gap['mean'] + 0.0:+.1f}"
    if gap["ci"] is None:
        return text
    low, high = gap["ci"]
    return f"{text} ({100 * low + 0.0:+.1f} to {100 * high + 0.0:+.1f})"


def counted(number: int, noun: str) -> str:
    """Write `1 step`, `250 steps`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}s"


def basis(record: Values) -> list[str]:
    """Say what the figures rest on."""
    settings = record["settings"]
    last = settings["last_k"]
    sentences = [
        f"Every training took {counted(settings['steps'], 'step')} at rate {settings['rate']:g}; an accuracy is the "
        f"mean of its last {counted(last['count'], 'reading')}, {counted(last['spacing'], 'step')} apart.",
        f"Intervals: {record['intervals']['method']}. {record['intervals']['note']}",
    ]
    cost = record["cost"]
    if cost["undertrained"]:
        sentences.append(
            f"The loss of {cost['undertrained']} of {cost['trainings']} trainings still fell at the end: more --epochs "
            "may change the curve."
        )
    if record["failed"]:
        sentences.append(f"{len(record['failed'])} trainings diverged and are in no mean.")
    return sentences
