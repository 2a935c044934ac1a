"""The founding figure: accuracy against the number of frozen stages, forecast and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.recipe.recipe import source_and_strategy
from frostline.report.figures.style import (
    CHOSEN,
    FADED,
    FORECAST,
    MEASURED,
    OTHER,
    SEALED,
    error_bars,
    new_figure,
    percent_axis,
    safe,
)
from frostline.report.stored import verdict_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

LINE = 16.0  # pixels that a label needs
LEAST, MOST = 400, 760  # height in pixels
FRAME = 130.0  # pixels of the height that aren't plot
PHONE, LETTER = 300.0, 6.4  # pixels that the plot is wide on a phone, and that a letter takes

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A strategy's accuracy with its 95 % interval, as shares; `depth` is its number of frozen stages."""

    name: str
    depth: int | None
    accuracy: float
    ci: tuple[float, float]
    partly: bool = False  # measured on fewer blocks than the others


def depth_of(strategy: Values) -> int | None:
    """Return how many stages, from the input on, `probe`, `freeze@K` or `finetune` keeps frozen; None for others."""
    plain = source_and_strategy(strategy["name"])[1]
    if plain.partition("@")[0] not in ("probe", "freeze", "finetune"):
        return None
    fates: list[str] = strategy["stages"][:-1]
    frozen = sum(fate == "pretrained, frozen" for fate in fates)
    depth_only = ["pretrained, frozen"] * frozen + ["pretrained, trained"] * (len(fates) - frozen)
    if not fates or fates != depth_only:
        return None  # cut off, or an old record without stages
    return frozen


def drawn_strategies(result: Values) -> list[Values]:
    """Return the strategies that the figure is about: of several networks those of the verdict's, and without one."""
    if not result.get("sources"):  # a record of an older version doesn't have it
        return list(result["strategies"])
    source = verdict_of(result)["source"]
    return [s for s in result["strategies"] if s["source"] == source or s["name"] == "baseline"]


def measured_points(result: Values) -> list[Point]:
    """Return every strategy of the figure that was measured on at least one block."""
    points = []
    for s in drawn_strategies(result):
        if s["accuracy"] is None or s["status"] == "forecast":
            continue
        ci = s["accuracy_ci"] or (s["accuracy"], s["accuracy"])
        partly = s["status"] == "eliminated"
        points.append(
            Point(name=s["name"], depth=depth_of(s), accuracy=s["accuracy"], ci=(ci[0], ci[1]), partly=partly)
        )
    return points


def forecast_points(result: Values) -> list[Point]:
    """Return the forecasts of depths, from no frozen stage to all."""
    points = []
    for s in drawn_strategies(result):
        depth = depth_of(s)
        if depth is not None and s["forecast"]:
            low, high = s["forecast"]["accuracy_ci"]
            points.append(Point(name=s["name"], depth=depth, accuracy=s["forecast"]["accuracy"], ci=(low, high)))
    return sorted(points, key=lambda p: p.depth or 0)


def depth_figure(result: Values) -> go.Figure:
    """Draw the forecast as a line with its band, measured depths as points, all other strategies as levels.

    `result` is result.json as plain values.
    """
    measured = measured_points(result)
    forecast = forecast_points(result)
    on_curve = sorted((p for p in measured if p.depth is not None), key=lambda p: p.depth or 0)
    stages = len(result["model"]["stages"])
    levels = sorted((p for p in measured if p.depth is None), key=lambda p: p.accuracy)
    low, high = _bounds([*forecast, *on_curve] or measured)
    high = max([high, *(p.accuracy for p in levels)])
    height = int(min(MOST, max(LEAST, FRAME + LINE * len(levels))))
    figure = new_figure(height=height, yaxis=percent_axis("accuracy", low, high))
    figure.update_xaxes(**_depth_axis(result, stages, levels, low))
    _add_forecast(figure, forecast)
    _add_measured(figure, [p for p in on_curve if not p.partly], "measured (95 % interval)", filled=True)
    _add_measured(figure, [p for p in on_curve if p.partly], "measured on fewer blocks", filled=False)
    _mark_verdict(figure, result, measured)
    _add_levels(figure, levels, (low, high), height=height, right=stages, chosen=result["verdict"]["strategy"])
    return figure


def _bounds(points: Sequence[Point]) -> tuple[float, float]:
    """Return the lowest and the highest value to be drawn: what lies on the curve, with its intervals, and some room.

    Strategies far below, such as training from scratch, would press the curve flat; they are named at the lower edge.
    """
    if not points:
        return 0.0, 1.0
    ends = [end for p in points for end in p.ci]
    low = min(p.accuracy for p in points)
    reach = max(0.1, max(p.accuracy for p in points) - low)
    return max(0.0, min(ends), low - 2 * reach), min(1.0, max(ends))


def _depth_axis(result: Values, stages: int, levels: Sequence[Point], low: float) -> dict[str, Any]:
    shown = sorted({d for s in drawn_strategies(result) if (d := depth_of(s)) is not None} | {0, stages})
    if len(shown) > 12:
        step = -(-len(shown) // 12)
        shown = [d for place, d in enumerate(shown) if place % step == 0 or d == stages]
    words = {0: "none", stages: "all"}
    room = 0.0
    if levels:
        longest = max(len(level_label(p, hidden=p.accuracy < low)) for p in levels)
        share = min(0.5, (LETTER * longest + 26) / PHONE)
        room = share / (1 - share) * max(1, stages)
    return {
        "title": {"text": "frozen stages"},
        "tickvals": shown,
        "ticktext": [words.get(d, str(d)) for d in shown],
        "range": [-0.04 * stages - 0.2, stages + 0.04 * stages + 0.2 + room],
        "showgrid": False,
    }


def _add_forecast(figure: go.Figure, points: Sequence[Point]) -> None:
    if not points:
        return
    depths = [p.depth for p in points]
    band = [p.ci[1] for p in points] + [p.ci[0] for p in reversed(points)]
    red, green, blue = (int(FORECAST[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=[*depths, *reversed(depths)],
        y=band,
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},{FADED})",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name="95 % interval of the forecast",
        legendgroup="forecast",
        showlegend=False,
    )
    figure.add_scatter(
        x=depths,
        y=[p.accuracy for p in points],
        mode="lines+markers",
        line={"color": FORECAST, "dash": "dash", "width": 2},
        marker={"symbol": "line-ew-open", "size": 9, "color": FORECAST},
        name="forecast (band: 95 % interval)",
        legendgroup="forecast",
        customdata=[[safe(p.name), *p.ci] for p in points],
        hovertemplate="%{customdata[0]}<br>forecast %{y:.1%} (%{customdata[1]:.1%} to %{customdata[2]:.1%})"
        "<extra></extra>",
    )


def _add_measured(figure: go.Figure, points: Sequence[Point], name: str, *, filled: bool) -> None:
    if not points:
        return
    values = [p.accuracy for p in points]
    figure.add_scatter(
        x=[p.depth for p in points],
        y=values,
        mode="markers",
        marker={
            "size": 11,
            "color": MEASURED,
            "symbol": "circle" if filled else "circle-open",
            "line": {"width": 2, "color": MEASURED},
        },
        error_y={**error_bars(values, [p.ci for p in points]), "color": MEASURED},
        name=name,
        customdata=[[safe(p.name), *p.ci] for p in points],
        hovertemplate="%{customdata[0]}<br>measured %{y:.1%} (%{customdata[1]:.1%} to %{customdata[2]:.1%})"
        "<extra></extra>",
    )


def _mark_verdict(figure: go.Figure, result: Values, measured: Sequence[Point]) -> None:
    """Ring the verdict where it lies on the curve, and mark its accuracy on the sealed part."""
    chosen = next((p for p in measured if p.name == result["verdict"]["strategy"]), None)
    if chosen is None or chosen.depth is None:
        return
    ring = {"size": 22, "symbol": "circle-open", "color": CHOSEN, "line": {"width": 2.5}}
    name = f"verdict: {safe(chosen.name)}"
    figure.add_scatter(x=[chosen.depth], y=[chosen.accuracy], mode="markers", marker=ring, name=name, hoverinfo="skip")
    test = result["test"]
    figure.add_scatter(
        x=[chosen.depth],
        y=[test["accuracy"]],
        mode="markers",
        marker={"size": 12, "symbol": "diamond-open", "color": SEALED, "line": {"width": 2.5}},
        name="its sealed test",
        customdata=[test["ci"]],
        hovertemplate="sealed test %{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )


def _add_levels(
    figure: go.Figure, levels: Sequence[Point], bounds: tuple[float, float], *, height: int, right: int, chosen: str
) -> None:
    """Draw each strategy without a place on the curve as a dotted level with its name at the right edge.

    The level of the verdict, `chosen`, is a full line of its own colour.
    """
    if not levels:
        return
    low, high = bounds
    needed = LINE / (height - FRAME) * max(high - low, 0.01)
    places = spread_out([max(low, p.accuracy) for p in levels], needed, (low, high))
    bend = right * 1.04 + 0.2
    for point, place in zip(levels, places, strict=True):
        hidden = point.accuracy < low
        line = {"color": OTHER, "width": 1, "dash": "dot"}
        text = level_label(point, hidden=hidden)
        if point.name == chosen:
            line = {"color": CHOSEN, "width": 2}
            text = f"<b>{text}</b>"
        figure.add_scatter(
            x=[0, bend, bend + 0.06 * max(1, right)],
            y=[None if hidden else point.accuracy] * 2 + [place],
            mode="lines",
            line=line,
            customdata=[[safe(point.name), *point.ci]] * 3,
            hovertemplate=f"%{{customdata[0]}}<br>measured {point.accuracy:.1%} (%{{customdata[1]:.1%}} to "
            "%{customdata[2]:.1%})<extra></extra>",
            name=f"verdict: {safe(chosen)}" if point.name == chosen else "other strategies",
            legendgroup="verdict" if point.name == chosen else "other",
            showlegend=point.name == chosen or point is next(p for p in levels if p.name != chosen),
        )
        figure.add_annotation(
            x=bend + 0.07 * max(1, right),
            y=place,
            text=text,
            xanchor="left",
            yanchor="middle",
            showarrow=False,
            font={"size": 11},
        )


def level_label(point: Point, *, hidden: bool) -> str:
    """Return a level's name; the accuracy with it where the level lies below the figure."""
    text = safe(point.name, 18)
    if point.partly:
        text += " *"
    if hidden:
        text = f"↓ {text} {point.accuracy:.0%}"
    return text


def spread_out(values: Sequence[float], gap: float, bounds: tuple[float, float]) -> list[float]:
    """Move rising `values` apart until neighbours are `gap` apart, as little as one pass up and one down can.

    Places stay within `bounds` as far as there is room.
    """
    low, high = bounds
    places: list[float] = []
    for value in values:
        floor = places[-1] + gap if places else low
        places.append(max(value, floor))
    ceiling = high
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places
