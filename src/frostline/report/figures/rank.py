"""Probe and forecast of every source by depth, one colour for each source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import SERIES, error_bars, new_figure, percent_axis, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

APART = 0.006  # between the marks of sources at the same depth, so that one doesn't hide the other

Values = Mapping[str, Any]


def rank_depth_figure(result: Values) -> go.Figure:
    """Draw each source's probes as a line with intervals and its forecasts as a dashed line, by share of the stages.

    `result` is rank.json as plain values.
    """
    sources = result["sources"]
    figure = new_figure(height=460 + 14 * len(sources))
    seen: list[float] = []
    for place, source in enumerate(sources):
        color = SERIES[place % len(SERIES)]
        shift = APART * (place - (len(sources) - 1) / 2)
        seen += _add_probes(figure, source, color, shift)
        seen += _add_forecasts(figure, source, color, shift)
    figure.update_xaxes(
        title={"text": "share of the stages that is kept and frozen"}, tickformat=".0%", range=[-0.05, 1.05]
    )
    figure.update_yaxes(**percent_axis("accuracy", min(seen), max(seen)))
    return figure


def _add_probes(figure: go.Figure, source: Values, color: str, shift: float) -> list[float]:
    """Draw the probes of a source; return the values that the axis has to hold."""
    depths = source["depths"]
    values = [depth["probe"]["accuracy"] for depth in depths]
    intervals = [(depth["probe"]["ci"][0], depth["probe"]["ci"][1]) for depth in depths]
    figure.add_scatter(
        x=[depth["stage"] / source["stages"] + shift for depth in depths],
        y=values,
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 8, "color": color},
        error_y={**error_bars(values, intervals), "color": color, "thickness": 1},
        name=f"{safe(source['label'], 30)}: probe",
        legendgroup=source["label"],
        customdata=[[safe(depth["name"]), *depth["probe"]["ci"]] for depth in depths],
        hovertemplate=f"{safe(source['label'])}<br>after %{{customdata[0]}}: %{{y:.1%}} (%{{customdata[1]:.1%}} to "
        "%{customdata[2]:.1%})<extra></extra>",
    )
    return [*values, *(end for interval in intervals for end in interval)]


def _add_forecasts(figure: go.Figure, source: Values, color: str, shift: float) -> list[float]:
    """Draw the forecasts of a source, where there are any; return them."""
    points = [(depth["stage"], depth["forecast"]) for depth in source["depths"] if depth["forecast"]]
    if source["finetune"]:
        points = [(0, {"strategy": "finetune", **source["finetune"]}), *points]
    if not points:
        return []
    values = [measure["accuracy"] for _, measure in points]
    figure.add_scatter(
        x=[stage / source["stages"] + shift for stage, _ in points],
        y=values,
        mode="lines",
        line={"color": color, "width": 1.5, "dash": "dash"},
        name=f"{safe(source['label'], 30)}: forecast",
        legendgroup=source["label"],
        customdata=[[safe(measure["strategy"]), *measure["ci"]] for _, measure in points],
        hovertemplate=f"{safe(source['label'])}<br>%{{customdata[0]}}, forecast %{{y:.1%}} (%{{customdata[1]:.1%}} to "
        "%{customdata[2]:.1%})<extra></extra>",
    )
    return values
