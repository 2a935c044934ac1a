"""Which differences are real: every pair of strategies, with the three outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import OTHER, new_figure, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

OUTCOMES = ("worse", "undecided", "as-good", "better")  # of the row against the column
WORDS = {"worse": "worse", "undecided": "not decided", "as-good": "as good", "better": "better"}
SIGNS = {"worse": "−", "undecided": "?", "as-good": "=", "better": "+"}
COLORS = {"worse": "#d6604d", "undecided": "#a3abb5", "as-good": "#5b8fd6", "better": "#3a9d6c"}
MIRROR = {"worse": "better", "better": "worse"}
SIGNED = 16  # strategies up to which the cells carry a sign

Values = Mapping[str, Any]


def compared(result: Values) -> list[str]:
    """Return the names of the strategies that were compared in pairs, the most accurate first."""
    named = {pair[side] for pair in result["pairs"] for side in ("a", "b")}
    rows = [s for s in result["strategies"] if s["name"] in named and s["accuracy"] is not None]
    return [s["name"] for s in sorted(rows, key=lambda s: -s["accuracy"])]


def outcomes(result: Values) -> dict[tuple[str, str], tuple[str, float]]:
    """Return for each ordered pair the outcome of the first against the second, and the difference (first - second)."""
    found = {}
    for pair in result["pairs"]:
        found[pair["a"], pair["b"]] = (pair["outcome"], pair["difference"])
        found[pair["b"], pair["a"]] = (MIRROR.get(pair["outcome"], pair["outcome"]), 0.0 - pair["difference"])
    return found


def differences_figure(result: Values) -> go.Figure:
    """Draw the matrix of pairs: the colour and sign of a cell say how its row's strategy does against its column's."""
    names = compared(result)
    found = outcomes(result)
    labels = [safe(name, 18) for name in names]
    places = list(range(len(names)))  # shortened names may be alike
    cells: list[list[int | None]] = []
    signs: list[list[str]] = []
    words: list[list[list[str]]] = []
    for row in names:
        entries = [found.get((row, column)) for column in names]
        cells.append([OUTCOMES.index(entry[0]) if entry else None for entry in entries])
        signs.append([SIGNS[entry[0]] if entry else "" for entry in entries])
        told = [f"{WORDS[entry[0]]} ({100 * entry[1]:+.1f} points)" if entry else "" for entry in entries]
        words.append([[safe(row), safe(column), cell] for column, cell in zip(names, told, strict=True)])
    size = max(22, min(44, 620 // max(1, len(names))))
    figure = new_figure(height=size * len(names) + 150)
    scale = [[place, COLORS[o]] for i, o in enumerate(OUTCOMES) for place in (i / 4, (i + 1) / 4)]
    figure.add_heatmap(
        x=places,
        y=places,
        z=cells,
        zmin=-0.5,
        zmax=3.5,
        colorscale=scale,
        showscale=False,
        xgap=2,
        ygap=2,
        text=signs if len(names) <= SIGNED else None,
        texttemplate="%{text}" if len(names) <= SIGNED else None,
        textfont={"color": "#101418", "size": 15},
        customdata=words,
        hovertemplate="%{customdata[0]} against %{customdata[1]}: %{customdata[2]}<extra></extra>",
        hoverongaps=False,
    )
    present = {o for o, _ in found.values()}
    for outcome in OUTCOMES:
        if outcome in present:
            marker = {"symbol": "square", "size": 12, "color": COLORS[outcome]}
            name = f"{SIGNS[outcome]} {WORDS[outcome]}"
            figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name, hoverinfo="skip")
    figure.update_xaxes(showgrid=False, tickangle=-45, tickvals=places, ticktext=labels)
    figure.update_yaxes(showgrid=False, tickvals=places, ticktext=labels, autorange="reversed")
    figure.update_layout(font={"color": OTHER})
    return figure
