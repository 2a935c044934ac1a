"""How strategies were trained: the rates tried, and the loss as training went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import CHOSEN, SERIES, new_figure, safe

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = len(SERIES)  # strategies drawn at most: colours stay apart

Values = Mapping[str, Any]


def tuned(result: Values) -> list[Values]:
    """Return the strategies of which a rate was tried, the verdict first, then by accuracy; SHOWN at most."""
    verdict = result["verdict"]["strategy"]
    rows = [s for s in result["strategies"] if s["rates_tried"]]
    rows.sort(key=lambda s: (s["name"] != verdict, -(s["accuracy"] or 0.0)))
    return rows[:SHOWN]


def rates_figure(result: Values) -> go.Figure:
    """Draw the held-out log loss of every rate tried, a line for each strategy; the rate that was used is ringed.

    Of one rate at several lengths the best is drawn.
    """
    figure = new_figure(height=380)
    rings = []
    for row, color in zip(tuned(result), SERIES, strict=False):
        best = _best_by_rate(row["rates_tried"])
        rates = sorted(best)
        losses = [best[rate]["log_loss"] for rate in rates]
        figure.add_scatter(
            x=rates,
            y=losses,
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"size": 7},
            name=safe(row["name"], 18),
            customdata=[[int(best[r].get("steps") or 0), best[r]["accuracy"]] for r in rates],
            hovertemplate="%{fullData.name}<br>rate %{x:.2g}, %{customdata[0]} steps<br>log loss %{y:.3f}, accuracy "
            "%{customdata[1]:.1%}<extra></extra>",
        )
        if row["rate"] in best:
            rings.append((row["rate"], best[row["rate"]]["log_loss"]))
    figure.add_scatter(
        x=[rate for rate, _ in rings],
        y=[loss for _, loss in rings],
        mode="markers",
        marker={"size": 16, "symbol": "circle-open", "color": CHOSEN, "line": {"width": 2}},
        name="rate that was used",
        hoverinfo="skip",
    )
    figure.update_xaxes(type="log", title={"text": "learning rate"}, tickformat="~g", dtick=1)
    figure.update_yaxes(title={"text": "held-out log loss (nats)"}, rangemode="tozero")
    return figure


def _best_by_rate(tried: Sequence[Mapping[str, float]]) -> dict[float, Mapping[str, float]]:
    best: dict[float, Mapping[str, float]] = {}
    for entry in tried:
        known = best.get(entry["rate"])
        if known is None or entry["log_loss"] < known["log_loss"]:
            best[entry["rate"]] = entry
    return best


def loss_curves(result: Values, trials: Sequence[Values]) -> list[tuple[Values, Sequence[Values]]]:
    """Return (strategy, points of its first block's training loss) for each strategy that has one, as in `tuned`."""
    found = []
    for row in tuned(result):
        own = [t for t in trials if t["strategy"] == row["name"] and t["purpose"] == "block" and len(t["curve"]) > 1]
        if not own:  # what was tried is what is then run: the trials of the rate that was used serve as blocks
            own = [
                t for t in trials if t["strategy"] == row["name"] and t["rate"] == row["rate"] and len(t["curve"]) > 1
            ]
        if own:
            first = min(own, key=lambda t: t["block"])
            found.append((row, first["curve"]))
    return found


def losses_figure(result: Values, trials: Sequence[Values]) -> go.Figure:
    """Draw the training loss of each stepped strategy on its first block; dashed where it still improved at the end."""
    figure = new_figure(height=380)
    for (row, points), color in zip(loss_curves(result, trials), SERIES, strict=False):
        name = safe(row["name"], 18)
        if row["undertrained"]:
            name += " (undertrained)"
        figure.add_scatter(
            x=[point["step"] for point in points],
            y=[point["train_loss"] for point in points],
            mode="lines+markers",
            line={"color": color, "width": 2, "dash": "dash" if row["undertrained"] else "solid"},
            marker={"size": 4},
            name=name,
            hovertemplate="%{fullData.name}<br>step %{x}: loss %{y:.3f}<extra></extra>",
        )
    figure.update_xaxes(title={"text": "training step"}, rangemode="tozero")
    figure.update_yaxes(title={"text": "training loss (nats)"}, rangemode="tozero")
    return figure
