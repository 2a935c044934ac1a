"""What each strategy costs, against what it reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.report.figures.depth import Point, measured_points
from frostline.report.figures.style import CHOSEN, FORECAST, MEASURED, new_figure, percent_axis, safe
from frostline.report.stored import verdict_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]


def costs(result: Values) -> dict[str, float]:
    """Return each strategy's counted operations, as multiples of the verdict's; empty where that counts none."""
    unit = verdict_of(result)["operations"]
    if not unit:
        return {}
    return {s["name"]: s["operations"] / unit for s in result["strategies"] if s["operations"] > 0}


def cost_figure(result: Values) -> go.Figure:
    """Draw accuracy against counted operations (on a logarithmic axis, the verdict being 1)."""
    cost = costs(result)
    measured = [p for p in measured_points(result) if p.name in cost]
    forecast = [
        Point(name=s["name"], depth=None, accuracy=s["forecast"]["accuracy"], ci=tuple(s["forecast"]["accuracy_ci"]))
        for s in result["strategies"]
        if s["status"] == "forecast" and s["name"] in cost
    ]
    values = [p.accuracy for p in (*measured, *forecast)] or [0.0, 1.0]
    figure = new_figure(height=380, yaxis=percent_axis("accuracy", min(values), max(values)))
    title = "cost (verdict = 1)"
    figure.update_xaxes(type="log", title={"text": title}, tickformat="~g", dtick=1, minor={"showgrid": False})
    chosen = result["verdict"]["strategy"]
    _add(figure, measured, cost, "measured", color=MEASURED, symbol="circle")
    _add(figure, forecast, cost, "forecast only", color=FORECAST, symbol="diamond-open")
    ring = [p for p in measured if p.name == chosen]
    marker = {"size": 20, "symbol": "circle-open", "color": CHOSEN, "line": {"width": 2.5}}
    figure.add_scatter(
        x=[cost[p.name] for p in ring],
        y=[p.accuracy for p in ring],
        mode="markers",
        marker=marker,
        name=f"verdict: {safe(chosen)}",
        hoverinfo="skip",
    )
    shown = [*measured, *forecast]
    _name_points(figure, shown, cost, [chosen, *reversed(_frontier(shown, cost)), *(p.name for p in shown)])
    return figure


def _frontier(points: Sequence[Point], cost: Mapping[str, float]) -> list[str]:
    """Name the strategies that no cheaper one reaches, from the cheapest on."""
    best = -1.0
    names = []
    for point in sorted(points, key=lambda p: (cost[p.name], -p.accuracy)):
        if point.accuracy > best:
            best = point.accuracy
            names.append(point.name)
    return names


def _add(
    figure: go.Figure, points: Sequence[Point], cost: Mapping[str, float], name: str, *, color: str, symbol: str
) -> None:
    if not points:
        return
    figure.add_scatter(
        x=[cost[p.name] for p in points],
        y=[p.accuracy for p in points],
        mode="markers",
        marker={"size": 10, "color": color, "symbol": symbol, "line": {"width": 1.5, "color": color}},
        cliponaxis=False,
        name=name,
        customdata=[[safe(p.name), *p.ci] for p in points],
        hovertemplate="%{customdata[0]}<br>accuracy %{y:.1%} (%{customdata[1]:.1%} to %{customdata[2]:.1%})<br>"
        "cost %{x:.3g}<extra></extra>",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in shares of the figure's width and height."""

    left: float
    right: float
    low: float
    high: float

    def meets(self, other: Box) -> bool:
        return self.left < other.right and other.left < self.right and self.low < other.high and other.low < self.high


# Where a name may stand beside its mark, in the order of preference: shift in pixels, and which end of it is there.
BESIDE = (
    (0, 14, "center"),
    (0, -14, "center"),
    (10, 0, "left"),
    (-10, 0, "right"),
    (10, 14, "left"),
    (-10, -14, "right"),
)
NARROW, HEIGHT = 300.0, 280.0  # pixels of the plot on a phone
LETTER, TEXT_LINE = 6.2, 14.0  # pixels that a letter and a line take


def _name_points(figure: go.Figure, points: Sequence[Point], cost: Mapping[str, float], names: Sequence[str]) -> None:
    """Write `names` beside their marks, the first ones first, where they cover neither a mark nor another name."""
    places = _mark_places(points, cost)
    taken = [Box(left=x - 0.02, right=x + 0.02, low=y - 0.02, high=y + 0.02) for x, y in places.values()]
    by_name = {p.name: p for p in points}
    for name in dict.fromkeys(names):
        x, y = places[name]
        for dx, dy, anchor in BESIDE:
            box = _text_box(x + dx / NARROW, y + dy / HEIGHT, safe(name, 18), anchor)
            if box.left < -0.1 or box.right > 1.02 or any(box.meets(other) for other in taken):
                continue
            taken.append(box)
            figure.add_annotation(
                x=math.log10(cost[name]),
                y=by_name[name].accuracy,
                text=safe(name, 18),
                xshift=dx,
                yshift=dy,
                xanchor=anchor,
                showarrow=False,
                font={"size": 11},
            )
            break


def _mark_places(points: Sequence[Point], cost: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return where each mark lies, in shares of the plot's width and height."""
    logs = {p.name: math.log10(cost[p.name]) for p in points}
    left, width = min(logs.values()), max(1e-9, max(logs.values()) - min(logs.values()))
    values = [p.accuracy for p in points]
    low, height = min(values), max(1e-9, max(values) - min(values))
    return {p.name: ((logs[p.name] - left) / width, (p.accuracy - low) / height) for p in points}


def _text_box(x: float, y: float, text: str, anchor: str) -> Box:
    width = LETTER * len(text) / NARROW
    start = {"center": x - width / 2, "left": x, "right": x - width}[anchor]
    half = TEXT_LINE / HEIGHT / 2
    return Box(left=start, right=start + width, low=y - half, high=y + half)
