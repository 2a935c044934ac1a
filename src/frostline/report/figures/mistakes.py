"""Which classes are taken for which on the sealed part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import OTHER, new_figure, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 60  # classes drawn at most
COUNTED = 14  # classes up to which every cell carries its count
NAMED = 40  # classes up to which the axes carry every name
SCALE = [[0, "rgba(128,136,146,0.10)"], [0.001, "#cfe0f7"], [1, "#2463b8"]]

Values = Mapping[str, Any]


def confusion_figure(result: Values) -> go.Figure:
    """Draw the confusion matrix of the sealed part; the colour is the share of the true class's samples.

    Of more than MOST classes those with the most mistakes are drawn.
    """
    matrix = result["test"]["confusion"]
    shown = drawn_classes(matrix)
    names = _distinct([safe(result["data"]["classes"][i], 18) for i in shown])
    counts = [[matrix[i][j] for j in shown] for i in shown]
    totals = [max(1, sum(matrix[i])) for i in shown]
    shares = [[round(count / total, 4) for count in row] for row, total in zip(counts, totals, strict=True)]
    written: dict[str, Any] = {}
    if len(names) <= COUNTED:
        written = {"text": [[str(count or "") for count in row] for row in counts], "texttemplate": "%{text}"}
    gap = int(len(names) <= NAMED)  # pixels between cells
    size = max(9, min(46, 640 // len(names)))
    figure = new_figure(height=max(280, size * len(names) + 130), showlegend=False)
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares,
        zmin=0,
        zmax=1,
        colorscale=SCALE,
        colorbar={"title": {"text": "share"}, "tickformat": ".0%", "thickness": 10, "len": 0.8},
        xgap=gap,
        ygap=gap,
        customdata=counts,
        hovertemplate="%{y} taken for %{x}: %{customdata} (%{z:.0%})<extra></extra>",
        **written,
    )
    ticks = {"showgrid": False, "type": "category"}
    across = names[:: -(-len(names) // (NAMED // 2))]
    down = names[:: -(-len(names) // NAMED)]
    figure.update_xaxes(title={"text": "predicted"}, tickangle=-45, tickvals=across, **ticks)
    figure.update_yaxes(title={"text": "true class"}, autorange="reversed", tickvals=down, **ticks)
    figure.update_layout(font={"color": OTHER})
    return figure


def drawn_classes(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the classes to draw, in their order: all, or the MOST that are confused most often."""
    every = range(len(matrix))
    if len(matrix) <= MOST:
        return list(every)
    missed = [sum(row) - row[i] for i, row in enumerate(matrix)]
    taken = [sum(row[i] for row in matrix) - matrix[i][i] for i in every]
    worst = sorted(every, key=lambda i: -(missed[i] + taken[i]))[:MOST]
    return sorted(worst)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, later ones that were shortened to the same text with a number."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def most_confused(result: Values, most: int = 15) -> list[tuple[str, str, int, int]]:
    """Return (true class, predicted class, how many, of how many), the most frequent confusion first."""
    matrix = result["test"]["confusion"]
    classes = result["data"]["classes"]
    found = [
        (classes[i], classes[j], count, sum(row))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda entry: -entry[2])[:most]
