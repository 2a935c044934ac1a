"""How far the probabilities can be trusted, and whether more labels would help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import (
    FORECAST,
    MEASURED,
    OTHER,
    SEALED,
    SERIES,
    error_bars,
    new_figure,
    percent_axis,
    safe,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

LARGEST, SMALLEST = 26.0, 7.0  # pixels across a mark, by the number of samples in its bin

Values = Mapping[str, Any]


def reliability_figure(calibration: Values) -> go.Figure:
    """Draw accuracy against confidence in bins: on the diagonal, probabilities mean what they say.

    `calibration` is that of result.json; marks are larger where more samples lie in the bin.
    """
    figure = new_figure(height=420)
    ends = [0.0, 1.0]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": OTHER, "dash": "dot"}, name="ideal", hoverinfo="skip"
    )
    shown = (
        ("out_of_fold_after", "out of fold, calibrated", MEASURED, "circle-open"),
        ("sealed_before", "sealed test, uncalibrated", FORECAST, "x-thin-open"),
        ("sealed_after", "sealed test, calibrated", SEALED, "diamond"),
    )
    for key, name, color, symbol in shown:
        record = calibration[key]
        if record is None or (key == "sealed_before" and calibration["temperature"] is None):
            continue
        bins = [b for b in record["reliability"] if b["n"]]
        most = max((b["n"] for b in bins), default=1)
        sizes = [SMALLEST + (LARGEST - SMALLEST) * (b["n"] / most) ** 0.5 for b in bins]
        figure.add_scatter(
            x=[b["confidence"] for b in bins],
            y=[b["accuracy"] for b in bins],
            mode="markers",
            marker={"size": sizes, "color": color, "symbol": symbol, "opacity": 0.8, "line": {"width": 2}},
            cliponaxis=False,
            name=name,
            customdata=[b["n"] for b in bins],
            hovertemplate="said %{x:.0%}, right %{y:.0%} of %{customdata} samples<extra></extra>",
        )
    figure.update_xaxes(**percent_axis("confidence", 0, 1))
    figure.update_yaxes(**percent_axis("share that is right", 0, 1))
    return figure


def labels_figure(curve: Values) -> go.Figure:
    """Draw accuracy against the number of labels to learn from; `curve` is the learning_curve of result.json."""
    figure = new_figure(height=380)
    rows = [c for c in curve["curves"] if c["points"]]
    ends = [value for c in rows for p in c["points"] for value in (p["accuracy"], *p["ci"])]
    for row, color in zip(rows, SERIES, strict=False):
        points = sorted(row["points"], key=lambda p: p["labels"])
        values = [p["accuracy"] for p in points]
        figure.add_scatter(
            x=[p["labels"] for p in points],
            y=values,
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"size": 8},
            error_y={**error_bars(values, [tuple(p["ci"]) for p in points]), "color": color},
            name=safe(row["name"], 18),
            hovertemplate="%{fullData.name}<br>%{x} labels: %{y:.1%}<extra></extra>",
        )
    guess = curve["projection"]
    if guess:
        figure.add_scatter(
            x=[guess["labels"]],
            y=[guess["accuracy"]],
            mode="markers",
            marker={"size": 12, "symbol": "star-open", "color": FORECAST, "line": {"width": 2}},
            name="a guess for twice the labels",
            hovertemplate="a guess: %{x} labels, %{y:.1%}<extra></extra>",
        )
        ends.append(guess["accuracy"])
    sizes = sorted({p["labels"] for c in rows for p in c["points"]} | ({guess["labels"]} if guess else set()))
    figure.update_xaxes(
        type="log", title={"text": "labels to learn from"}, tickvals=sizes, ticktext=[f"{n:,}" for n in sizes]
    )
    figure.update_yaxes(**percent_axis("accuracy", min(ends, default=0.0), max(ends, default=1.0)))
    return figure
