"""A transferability curve in the form of Yosinski et al. 2014: accuracy against the stage at which a network is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import OTHER, error_bars, new_figure, percent_axis, safe
from frostline.report.published import BASE, LAYERS, RANDOM_HALVES

if TYPE_CHECKING:
    import plotly.graph_objects as go

# As in the paper: blue where the classes stay the same, red where they change, light where copied stages train on.
COLORS: Mapping[str, str] = {"BnB": "#2563c9", "BnB+": "#4a96d9", "AnB": "#cf2e2e", "AnB+": "#e8685a"}
SYMBOLS: Mapping[str, str] = {"BnB": "circle", "BnB+": "circle-open", "AnB": "square", "AnB+": "square-open"}
ARM_WORDS: Mapping[str, str] = {
    "BnB": "BnB: own classes, frozen",
    "BnB+": "BnB+: own classes, trained on",
    "AnB": "AnB: other classes, frozen",
    "AnB+": "AnB+: other classes, trained on",
}
APPLIED_WORDS: Mapping[str, str] = {
    "AnB": "AnB: given network, frozen",
    "AnB+": "AnB+: given network, trained on",
}
GAP_COLORS: Mapping[str, str] = {
    "co-adaptation": "#2563c9",
    "specificity": "#cf2e2e",
    "loss": "#b06a00",
    "gain": "#0a9d6c",
    "transfer": "#0891b2",
    "freezing": "#7a5bd0",
}
APART = 0.06  # of a stage, between the marks of two arms, so that none hides another
NAMED = 8  # stages up to which the axis names them

Values = Mapping[str, Any]


def transfer_figure(record: Values) -> go.Figure:
    """Draw a record's rows: the base as a level at 0, each arm as a line with its 95 % intervals."""
    rows = [row for row in record["rows"] if row["mean"] is not None]
    ends = [end for row in rows for end in (row["mean"], *(row["ci"] or ()))]
    figure = new_figure(height=460)
    base = next((row for row in rows if row["arm"] == "base"), None)
    stages = [stage["index"] for stage in record["model"]["stages"]]
    if base is not None:
        _add_base(figure, base["mean"], base["ci"], len(stages))
    arms = [arm for arm in COLORS if any(row["arm"] == arm for row in rows)]
    for place, arm in enumerate(arms):
        shift = APART * (place - (len(arms) - 1) / 2)
        _add_arm(figure, arm, [row for row in rows if row["arm"] == arm], shift)
        if record["kind"] == "applied":
            figure.data[-1].name = APPLIED_WORDS[arm]
    figure.update_xaxes(**_stage_axis(record["model"]["stages"]))
    figure.update_yaxes(**percent_axis("accuracy on held-out samples", *_shown_range(rows, ends)))
    return figure


def _shown_range(rows: Sequence[Values], ends: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest value shown: very wide intervals are cut off, so that the curve isn't flat."""
    low = min(row["mean"] for row in rows)
    high = max(row["mean"] for row in rows)
    reach = max(0.04, high - low)
    return max(0.0, min(ends), low - reach), min(1.0, max(ends), high + reach)


def _stage_axis(stages: Sequence[Values]) -> dict[str, Any]:
    words = ["base", *(str(stage["index"]) for stage in stages)]
    if len(stages) <= NAMED:
        words = ["base", *(f"{stage['index']}<br>{safe(stage['name'], 12)}" for stage in stages)]
    return {
        "title": {"text": "stage n at which the network is cut and copied"},
        "tickvals": list(range(len(words))),
        "ticktext": words,
        "range": [-0.4, len(stages) + 0.4],
        "showgrid": False,
    }


def _add_base(figure: go.Figure, mean: float, ci: Sequence[float] | None, stages: int) -> None:
    figure.add_scatter(
        x=[0, stages + 0.4],
        y=[mean, mean],
        mode="lines",
        line={"color": OTHER, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        name="base",
        legendgroup="base",
        showlegend=False,
    )
    bars = {}
    if ci is not None:
        bars = {"error_y": {**error_bars([mean], [(ci[0], ci[1])]), "color": OTHER}}
    figure.add_scatter(
        x=[0],
        y=[mean],
        mode="markers",
        marker={"size": 11, "color": OTHER, "symbol": "diamond"},
        name="base: all from random weights",
        legendgroup="base",
        hovertemplate="base %{y:.1%}<extra></extra>",
        **bars,
    )


def _add_arm(figure: go.Figure, arm: str, rows: Sequence[Values], shift: float) -> None:
    values = [row["mean"] for row in rows]
    intervals = [tuple(row["ci"] or (row["mean"], row["mean"])) for row in rows]
    figure.add_scatter(
        x=[row["stage"] + shift for row in rows],
        y=values,
        mode="lines+markers",
        line={"color": COLORS[arm], "width": 2},
        marker={"size": 9, "symbol": SYMBOLS[arm], "color": COLORS[arm], "line": {"width": 2, "color": COLORS[arm]}},
        error_y={**error_bars(values, intervals), "color": COLORS[arm]},
        name=ARM_WORDS[arm],
        customdata=[[arm, safe(row["name"]), *interval] for row, interval in zip(rows, intervals, strict=True)],
        hovertemplate="%{customdata[0]} at %{customdata[1]}<br>%{y:.1%} (%{customdata[2]:.1%} to %{customdata[3]:.1%})"
        "<extra></extra>",
    )


def published_figure() -> go.Figure:
    """Draw the published curve of random halves, in the same colours."""
    figure = new_figure(height=460)
    base = BASE / 100
    _add_base(figure, base, None, len(LAYERS))
    for arm, percents in RANDOM_HALVES.items():
        figure.add_scatter(
            x=list(LAYERS),
            y=[value / 100 for value in percents],
            mode="lines+markers",
            line={"color": COLORS[arm], "width": 2},
            marker={
                "size": 9,
                "symbol": SYMBOLS[arm],
                "color": COLORS[arm],
                "line": {"width": 2, "color": COLORS[arm]},
            },
            name=ARM_WORDS[arm],
            hovertemplate=f"{arm} at layer %{{x}}<br>%{{y:.1%}}<extra></extra>",
        )
    figure.update_xaxes(
        title={"text": "layer n at which the network is cut and copied"},
        tickvals=[0, *LAYERS],
        ticktext=["base", *map(str, LAYERS)],
        range=[-0.4, len(LAYERS) + 0.4],
        showgrid=False,
    )
    values = [value / 100 for percents in RANDOM_HALVES.values() for value in percents]
    figure.update_yaxes(**percent_axis("top-1 accuracy", min(values), max(values)))
    return figure


def gaps_figure(record: Values, names: Sequence[str]) -> go.Figure:
    """Draw gaps of these names against the stage, with their 95 % intervals; 0 is no difference."""
    figure = new_figure(height=380)
    means = [gap["mean"] for gap in record["gaps"] if gap["name"] in names]
    for place, name in enumerate(names):
        gaps = [gap for gap in record["gaps"] if gap["name"] == name]
        values = [gap["mean"] for gap in gaps]
        intervals = [tuple(gap["ci"] or (gap["mean"], gap["mean"])) for gap in gaps]
        figure.add_scatter(
            x=[gap["stage"] + APART * (place - (len(names) - 1) / 2) for gap in gaps],
            y=values,
            mode="markers",
            marker={"size": 10, "color": GAP_COLORS[name]},
            error_y={**error_bars(values, intervals), "color": GAP_COLORS[name]},
            name=name,
            customdata=[[safe(gap["stage_name"]), *interval] for gap, interval in zip(gaps, intervals, strict=True)],
            hovertemplate=f"{name} at %{{customdata[0]}}<br>%{{y:.1%}} (%{{customdata[1]:.1%}} to "
            "%{customdata[2]:.1%})<extra></extra>",
        )
    low, high = min(0.0, *means), max(0.0, *means)
    room = max(0.02, 0.4 * (high - low))
    figure.add_hline(y=0, line={"color": OTHER, "width": 1})
    figure.update_xaxes(**{**_stage_axis(record["model"]["stages"]), "range": [0.5, _last(record) + 0.5]})
    figure.update_yaxes(title={"text": "difference in accuracy"}, tickformat="+.0%", range=[low - room, high + room])
    return figure


def _last(record: Values) -> int:
    return int(record["model"]["stages"][-1]["index"])
