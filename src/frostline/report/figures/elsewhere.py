"""The same strategies on two sets of samples: two dots a row, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import FORECAST, MEASURED, error_bars, new_figure, percent_axis, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]
ROW = 34  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRow:
    """A name with two scores, each with `accuracy` and `ci`; None where there is none."""

    name: str
    first: Values | None
    second: Values | None


def paired_figure(rows: Sequence[PairedRow], first: str, second: str) -> go.Figure:
    """Draw a line for each row; `first` and `second` say what its dots are."""
    scores = [score for row in rows for score in (row.first, row.second) if score is not None]
    ends = [end for score in scores for end in score["ci"]]
    figure = new_figure(height=ROW * len(rows) + 120, xaxis=percent_axis("accuracy", min(ends), max(ends)))
    kinds = ((first, MEASURED, "circle", -0.12), (second, FORECAST, "diamond", 0.12))
    for (name, colour, symbol, offset), key in zip(kinds, ("first", "second"), strict=True):
        known = [(place + offset, getattr(row, key)) for place, row in enumerate(rows) if getattr(row, key) is not None]
        values = [score["accuracy"] for _, score in known]
        intervals = [(score["ci"][0], score["ci"][1]) for _, score in known]
        figure.add_scatter(
            x=values,
            y=[place for place, _ in known],
            mode="markers",
            marker={"size": 11, "color": colour, "symbol": symbol},
            error_x={**error_bars(values, intervals), "color": colour},
            name=f"{safe(name)} (95 % interval)",
            hovertemplate="%{x:.1%}<extra></extra>",
        )
    names = [safe(row.name, 24) for row in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, autorange="reversed", showgrid=False)
    return figure


def target_figure(result: Values) -> go.Figure:
    """Draw every tested strategy's accuracy on the sealed part and on the target."""
    tested = [s for s in result["strategies"] if s.get("target") and s["test"]]
    tested.sort(key=lambda s: -s["target"]["accuracy"])
    rows = [PairedRow(name=s["name"], first=s["test"], second=s["target"]) for s in tested]
    return paired_figure(rows, "sealed test", "target")


def memory_figure(result: Values) -> go.Figure:
    """Draw the accuracy on the network's first task, before training and after each strategy."""
    task = result["source_task"]
    rows = [
        PairedRow(name=memory["strategy"] or "before training", first=memory["head"], second=memory["probe"])
        for memory in (task["before"], *task["after"])
    ]
    return paired_figure(rows, "first head", "new linear head")
