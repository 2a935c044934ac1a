"""Arms of an adaptation: accuracy as it was estimated without labels, and as the opened labels have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import (
    CHOSEN,
    FORECAST,
    MEASURED,
    SEALED,
    error_bars,
    new_figure,
    percent_axis,
    safe,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]


def adapt_figure(result: Values) -> go.Figure:
    """Draw every arm that ran as a row, with its estimate and, where labels say it, its accuracy.

    `result` is adapt.json as plain values.
    """
    arms = [arm for arm in result["arms"] if arm["reason"] is None]
    figure = new_figure(height=150 + 44 * len(arms))
    seen: list[float] = []
    seen += _add_estimates(figure, arms)
    for key, name, color in (("cross_validated", "by labelled samples", MEASURED), ("test", "opened labels", SEALED)):
        seen += _add_counted(figure, arms, key, name, color)
    _mark_choice(figure, result["choice"]["arm"])
    names = [safe(arm["name"]) for arm in arms]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], type="category")
    figure.update_xaxes(**percent_axis("accuracy on the target", min(seen, default=0.0), max(seen, default=1.0)))
    return figure


def _add_estimates(figure: go.Figure, arms: Sequence[Values]) -> list[float]:
    known = [arm for arm in arms if arm["estimated_accuracy"] is not None]
    values = [arm["estimated_accuracy"] for arm in known]
    if known:
        figure.add_scatter(
            x=values,
            y=[safe(arm["name"]) for arm in known],
            mode="markers",
            marker={"size": 11, "color": FORECAST, "symbol": "diamond-open", "line": {"width": 2}},
            name="estimated without labels",
            hovertemplate="%{y}<br>estimated %{x:.1%}<extra></extra>",
        )
    return values


def _add_counted(figure: go.Figure, arms: Sequence[Values], key: str, name: str, color: str) -> list[float]:
    known = [arm for arm in arms if arm[key] is not None]
    if not known:
        return []
    values = [arm[key]["accuracy"] for arm in known]
    intervals = [(arm[key]["ci"][0], arm[key]["ci"][1]) for arm in known]
    figure.add_scatter(
        x=values,
        y=[safe(arm["name"]) for arm in known],
        mode="markers",
        marker={"size": 10, "color": color},
        error_x={**error_bars(values, intervals), "color": color},
        name=name,
        customdata=intervals,
        hovertemplate="%{y}<br>%{x:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )
    return [*values, *(end for interval in intervals for end in interval)]


def _mark_choice(figure: go.Figure, arm: str) -> None:
    """Put a line of another colour behind the row of the arm that was chosen."""
    figure.add_shape(
        type="line",
        xref="paper",
        x0=0,
        x1=1,
        y0=safe(arm),
        y1=safe(arm),
        line={"color": CHOSEN, "width": 18},
        opacity=0.14,
        layer="below",
    )
