"""Several runs in one figure: accuracy against frozen depth, and the sealed accuracy of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.depth import forecast_points, measured_points
from frostline.report.figures.style import OTHER, SERIES, error_bars, new_figure, percent_axis, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

APART = 0.012  # between the marks of runs at the same depth, so that one doesn't hide the other

Values = Mapping[str, Any]


def runs_depth_figure(results: Sequence[Values], labels: Sequence[str]) -> go.Figure:
    """Draw each run's forecast as a dashed line and its measured depths as dots, against the share of frozen stages.

    `results` are records, `labels` their names; networks differ in how many stages they have, hence the share.
    """
    figure = new_figure(height=440)
    ends: list[float] = []
    for place, (result, label, color) in enumerate(zip(results, labels, _colors(len(results)), strict=True)):
        shift = APART * (place - (len(results) - 1) / 2)
        stages = max(1, len(result["model"]["stages"]))
        forecast = forecast_points(result)
        measured = sorted((p for p in measured_points(result) if p.depth is not None), key=lambda p: p.depth or 0)
        values = [p.accuracy for p in measured]
        ends += [*values, *(p.accuracy for p in forecast), *(end for p in measured for end in p.ci)]
        if forecast:
            figure.add_scatter(
                x=[(p.depth or 0) / stages for p in forecast],
                y=[p.accuracy for p in forecast],
                mode="lines",
                line={"color": color, "dash": "dash", "width": 1.5},
                name=f"{safe(label, 30)}: forecast",
                hovertemplate=f"{safe(label)}<br>forecast %{{y:.1%}}<extra></extra>",
            )
        figure.add_scatter(
            x=[(p.depth or 0) / stages + shift for p in measured],
            y=values,
            mode="markers",
            marker={"size": 10, "color": color},
            error_y={**error_bars(values, [p.ci for p in measured]), "color": color},
            name=f"{safe(label, 30)}: measured",
            customdata=[safe(p.name) for p in measured],
            hovertemplate=f"{safe(label)}<br>%{{customdata}} %{{y:.1%}}<extra></extra>",
        )
    figure.update_xaxes(title={"text": "share of the stages that is frozen"}, tickformat=".0%", range=[-0.05, 1.05])
    figure.update_yaxes(**percent_axis("accuracy", min(ends, default=0.0), max(ends, default=1.0)))
    return figure


def runs_sealed_figure(results: Sequence[Values], labels: Sequence[str]) -> go.Figure:
    """Draw the sealed accuracy of each run's final model with its 95 % interval, a row for each run."""
    names = [safe(label, 30) for label in labels]
    places = list(range(len(names)))  # shortened names may be alike
    values = [r["test"]["accuracy"] for r in results]
    intervals = [(r["test"]["ci"][0], r["test"]["ci"][1]) for r in results]
    figure = new_figure(height=40 * len(names) + 90, showlegend=False)
    figure.add_scatter(
        x=values,
        y=places,
        mode="markers",
        marker={"size": 11, "color": _colors(len(names))},
        error_x={**error_bars(values, intervals), "color": OTHER},
        customdata=[[safe(label), safe(r["verdict"]["strategy"])] for r, label in zip(results, labels, strict=True)],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<br>%{x:.1%}<extra></extra>",
    )
    low, high = min(i[0] for i in intervals), max(i[1] for i in intervals)
    figure.update_xaxes(**percent_axis("accuracy on the sealed test", low, high))
    figure.update_yaxes(tickvals=places, ticktext=names, range=[len(names) - 0.5, -0.5], showgrid=False)
    return figure


def _colors(count: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(count)]
