"""A forecast as text: a table of depths, with a plot of accuracy that stays readable without colour."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from frostline.report.plot import Axis, Estimate, axis_of, forecast_estimate, plot_row, text_table

PLOT = 33  # columns of the plot


def forecast_text(result: Mapping[str, Any], width: int = 100) -> str:
    """Write the table of a DepthForecastRecord (as JSON values), its plot and what it rests on."""
    rows = result["strategies"]
    axis = axis_of([_estimate(row) for row in rows], PLOT)
    header = ("strategy", "trains stages", "forecast", "95 % interval", "against probe", axis.heading())
    table = text_table(header, [_row(row, axis) for row in rows])
    lines = [table.rstrip("\n"), ""]
    for sentence in _sentences(result):
        lines += textwrap.wrap(sentence, max(width, 40))
    return "\n".join(lines) + "\n"


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return forecast_estimate(row["accuracy"], row["accuracy_ci"])


def _row(row: Mapping[str, Any], axis: Axis) -> tuple[str, ...]:
    first, last = row["accuracy_ci"]
    difference = ""
    if row["versus_probe"] is not None:
        difference = f"{100 * row['versus_probe'] + 0.0:+.1f} points"
    return (
        row["name"],
        _stages_text(row["trained_stages"]),
        f"{row['accuracy']:.3f}",
        f"{first:.3f} - {last:.3f}",
        difference,
        plot_row(axis, [_estimate(row)]),
    )


def _stages_text(stages: list[int]) -> str:
    if not stages:
        return "none"
    if len(stages) == 1:
        return str(stages[0])
    if stages == list(range(stages[0], stages[-1] + 1)):
        return f"{stages[0]}-{stages[-1]}"
    return ", ".join(map(str, stages))


def _sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what the forecast says, and what it rests on."""
    best = max(result["strategies"], key=lambda row: (row["accuracy"], -row["log_loss"]))
    basis = "the network's gradients"
    if result["modality"] == "text":
        basis = "a few training steps, which were undone,"
    sentences = [
        f"Best forecast: {best['name']}, accuracy {best['accuracy']:.3f}. {_shown(best)}",
        f"Forecast from {basis} on {result['rows']:,} labelled samples, {result['blocks']} paired splits; no strategy "
        "was trained. It holds for fine-tuning that stays near the pre-trained weights.",
    ]
    if result["rows"] < result["development"]:
        sentences.append(
            f"Only {result['rows']:,} of {result['development']:,} samples were read, so this is a forecast for that "
            "many labels."
        )
    sentences += [f"Not forecast: {name}, since {reason}." for name, reason in result["left_out"].items()]
    if result["missing"]:
        names = list(result["missing"])
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        sentences.append(f"Gradients of {len(names)} tensors couldn't be read and are left out: {shown}.")
    return sentences


def _shown(best: Mapping[str, Any]) -> str:
    interval = best["versus_probe_ci"]
    if interval is None:
        return "Training more than a new head isn't expected to help."
    if interval[0] > 0:
        return "Training these stages is expected to help."
    return "Its lead over probe is within the forecast's uncertainty."
