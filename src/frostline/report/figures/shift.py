"""A shift as figures: how well the sides are told apart at each depth, and the shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import (
    FORECAST,
    MEASURED,
    OTHER,
    SEALED,
    error_bars,
    new_figure,
    percent_axis,
    safe,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]

CHANCE = 0.5
MOST_CLASSES = 30  # that are drawn
COLORS = {"counted": SEALED, "em": MEASURED, "bbse": FORECAST}
NAMES = {"counted": "target, counted", "em": "target, estimated (EM)", "bbse": "target, estimated (BBSE)"}


def shift_depth_figure(result: Values) -> go.Figure:
    """Draw how well a classifier tells the sides apart, by depth: full marks where that is shown.

    `result` is shift.json as plain values.
    """
    tests = depth_tests(result)
    names = [_depth_name(test) for test in tests]
    values = [test["statistic"] for test in tests]
    figure = new_figure(height=340)
    figure.add_scatter(
        x=names,
        y=values,
        mode="lines+markers",
        line={"color": MEASURED, "width": 1.5},
        marker={
            "size": 12,
            "color": MEASURED,
            "symbol": ["circle" if test["shown"] else "circle-open" for test in tests],
            "line": {"width": 2, "color": MEASURED},
        },
        name="told apart by a classifier",
        customdata=[[f"{test['p']:.3g}", "shown" if test["shown"] else "not shown"] for test in tests],
        hovertemplate="%{x}: %{y:.3f}<br>p = %{customdata[0]}, %{customdata[1]}<extra></extra>",
        showlegend=False,
    )
    figure.add_hline(y=CHANCE, line={"color": OTHER, "width": 1, "dash": "dot"})
    low = min([CHANCE, *values]) - 0.04
    figure.update_yaxes(title={"text": "chance to tell them apart (AUC)"}, range=[low, 1.03])
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=names)
    return figure


def depth_tests(result: Values) -> list[Values]:
    """Return the classifier tests from the inputs to the outputs."""
    by_stage = [test for test in result["evidence"] if test["name"] == "c2st" and test["stage"] is not None]
    outputs = [test for test in result["evidence"] if test["name"] == "outputs-c2st"]
    return [*sorted(by_stage, key=lambda test: test["stage"]), *outputs]


def _depth_name(test: Values) -> str:
    if test["stage"] is None:
        return "outputs"
    if test["stage"] == 0:
        return "inputs"
    return safe(f"{test['stage']} {test['stage_name']}", 24)


def shift_shares_figure(result: Values) -> go.Figure:
    """Draw the share of each class in the source, and in the target with its interval; the largest classes first."""
    found = result["proportions"]
    order = _largest(found)
    names = [safe(found[0]["classes"][k]["name"], 24) for k in order]
    figure = new_figure(height=150 + 28 * max(len(names), 4))
    seen = [found[0]["classes"][k]["source"] for k in order]
    figure.add_scatter(
        x=seen,
        y=names,
        mode="markers",
        marker={"size": 11, "color": OTHER, "symbol": "line-ns", "line": {"width": 3, "color": OTHER}},
        name="source",
        hovertemplate="%{y}<br>%{x:.1%} of the source<extra></extra>",
    )
    for one in found:
        shares = [one["classes"][k] for k in order]
        values = [share["target"] for share in shares]
        intervals = [(share["interval"][0], share["interval"][1]) for share in shares]
        color = COLORS[one["method"]]
        figure.add_scatter(
            x=values,
            y=names,
            mode="markers",
            marker={"size": 9, "color": color},
            error_x={**error_bars(values, intervals), "color": color},
            name=NAMES[one["method"]],
            customdata=intervals,
            hovertemplate="%{y}<br>%{x:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
        )
        seen += [end for interval in intervals for end in interval]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1])
    figure.update_xaxes(**percent_axis("share of the samples", 0.0, max(seen, default=1.0)))
    return figure


def _largest(found: Sequence[Values]) -> list[int]:
    """Return the places of the classes with the largest shares on either side, in their own order."""
    shares = [max(one["source"], one["target"]) for one in found[0]["classes"]]
    chosen = sorted(range(len(shares)), key=lambda k: -shares[k])[:MOST_CLASSES]
    return sorted(chosen)
