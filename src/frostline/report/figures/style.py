"""What all figures share: colours that can be read on white and on black, layout, and names made safe to draw."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Each has a contrast of 3 to 1 or more to white and to near-black (WCAG 1.4.11).
MEASURED = "#2f7de1"
FORECAST = "#c77800"
CHOSEN = "#d6336c"
OTHER = "#7b8794"
SEALED = "#0a9d6c"
SERIES = ("#2f7de1", "#c77800", "#0a9d6c", "#9b5de5", "#d6336c", "#0891b2", "#7a8b00", "#b85c38", "#6366f1", "#7b8794")
FATES: Mapping[str, str] = {  # what happens to a stage
    "frozen": "#5b8fd6",
    "trained": "#e08a1e",
    "part": "#b59a2b",
    "new": "#2fa36b",
    "random": "#c2527e",
    "fixed": "#8a6bb8",
    "gone": "#8a929c",
}
FADED = 0.18  # opacity of bands

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
JOINERS = "\u200c\u200d"
INK, GRID = "#6b7480", "rgba(128,136,146,0.28)"


def safe(name: object, most: int = 40) -> str:
    """Return a name as plotly draws it letter by letter: it reads some HTML in texts; long ones are shortened."""
    text = "".join(letter if _is_letter_shown(letter) else "�" for letter in str(name))
    if len(text) > most:
        text = text[: most - 1] + "…"
    return html.escape(text, quote=False)


def _is_letter_shown(letter: str) -> bool:
    """True for letters, blanks of any width, and the joiners of scripts and emoji; not for controls of direction."""
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def new_figure(*, height: int, **layout: Any) -> go.Figure:
    """Return an empty figure without background and title; `layout` goes to plotly."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "automargin": True,
        "title": {"font": {"size": 13}},
    }
    base: dict[str, Any] = {
        "template": "none",
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": INK},
        "hoverlabel": {"font": {"family": FONT}},
        "showlegend": True,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
    }
    return go.Figure(layout=base).update_layout(layout)


def percent_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """Return an axis for shares from `low` to `high`, in per cent."""
    room = max(0.001, 0.06 * (high - low))
    digits = 1 if high - low < 0.06 else 0
    ends = [max(0.0, low - room), min(1.0, high) + room]
    return {"title": {"text": title}, "range": ends, "tickformat": f".{digits}%"}


def error_bars(values: list[float], intervals: list[tuple[float, float]]) -> dict[str, Any]:
    """Return plotly's error bars of intervals around values."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, intervals, strict=True)],
        "thickness": 1.6,
        "width": 4,
    }
