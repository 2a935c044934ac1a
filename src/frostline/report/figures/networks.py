"""Several networks in one comparison: the best strategy that starts from each, measured and forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import (
    CHOSEN,
    FORECAST,
    MEASURED,
    error_bars,
    new_figure,
    percent_axis,
    safe,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]

OWN_DATA_FIRST = "pretrain"  # label of the weights that were trained on the user's own unlabelled data first
ROW = 44  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOf:
    """The best measured strategy of a network, and that with the best forecast; None: there is none."""

    label: str
    measured: Values | None
    forecast: Values | None


def label_in_words(label: str) -> str:
    """Return how a network is called where several are shown."""
    if not label:
        return "as given"
    if label == OWN_DATA_FIRST:
        return "own data first"
    return label


def best_of_each(result: Values) -> list[BestOf]:
    """Return the best strategies of each network, in the order in which the networks were given."""
    found = []
    for source in result["sources"]:
        own = [s for s in result["strategies"] if s["source"] == source["label"] and s["name"] != "baseline"]
        partly = [s for s in own if s["accuracy"] is not None and s["status"] != "forecast"]
        whole = [s for s in partly if len(s["blocks"]) == len(result["blocks"])]
        foreseen = [s for s in own if s["forecast"]]
        found.append(
            BestOf(
                label=source["label"],
                measured=max(whole or partly, key=lambda s: s["accuracy"], default=None),
                forecast=max(foreseen, key=lambda s: s["forecast"]["accuracy"], default=None),
            )
        )
    return found


def networks_figure(result: Values) -> go.Figure:
    """Draw a line for each network: its best measured strategy as a dot with its interval, the best forecast as a bar.

    The network of the verdict is ringed.
    """
    rows = best_of_each(result)
    ends = [end for row in rows for end in _row_ends(row)]
    figure = new_figure(height=ROW * len(rows) + 120, xaxis=percent_axis("accuracy", min(ends), max(ends)))
    _draw_measured(figure, rows)
    _draw_forecast(figure, rows)
    verdict = result["verdict"]["strategy"]
    for place, row in enumerate(rows):
        if row.measured is not None and _starts_there(result, verdict, row.label):
            ring = {"size": 22, "symbol": "circle-open", "color": CHOSEN, "line": {"width": 2.5}}
            figure.add_scatter(
                x=[row.measured["accuracy"]], y=[place], mode="markers", marker=ring, name="network of the verdict"
            )
    names = [safe(label_in_words(row.label), 24) for row in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, autorange="reversed", showgrid=False)
    return figure


def _row_ends(row: BestOf) -> list[float]:
    """Return what a row draws: the measured accuracy with its interval, and the forecast."""
    found: list[float] = []
    if row.measured is not None:
        found += [row.measured["accuracy"], *(row.measured["accuracy_ci"] or ())]
    if row.forecast is not None:
        found.append(row.forecast["forecast"]["accuracy"])
    return found


def _starts_there(result: Values, strategy: str, label: str) -> bool:
    return any(s["name"] == strategy and s["source"] == label for s in result["strategies"])


def _draw_measured(figure: go.Figure, rows: Sequence[BestOf]) -> None:
    known = [(place, row.measured) for place, row in enumerate(rows) if row.measured is not None]
    if not known:
        return
    values = [s["accuracy"] for _, s in known]
    intervals = [tuple(s["accuracy_ci"] or (s["accuracy"], s["accuracy"])) for _, s in known]
    figure.add_scatter(
        x=values,
        y=[place for place, _ in known],
        mode="markers",
        marker={"size": 11, "color": MEASURED},
        error_x={**error_bars(values, intervals), "color": MEASURED},
        name="best measured strategy (95 % interval)",
        customdata=[[safe(s["name"])] for _, s in known],
        hovertemplate="%{customdata[0]}<br>measured %{x:.1%}<extra></extra>",
    )


def _draw_forecast(figure: go.Figure, rows: Sequence[BestOf]) -> None:
    known = [(place, row.forecast) for place, row in enumerate(rows) if row.forecast is not None]
    if not known:
        return
    figure.add_scatter(
        x=[s["forecast"]["accuracy"] for _, s in known],
        y=[place for place, _ in known],
        mode="markers",
        marker={"size": 16, "symbol": "line-ns-open", "color": FORECAST, "line": {"width": 3}},
        name="best forecast",
        customdata=[[safe(s["name"])] for _, s in known],
        hovertemplate="%{customdata[0]}<br>forecast %{x:.1%}<extra></extra>",
    )
