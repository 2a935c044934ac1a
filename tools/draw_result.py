"""Draw the accuracy of every strategy of a run, with its interval, as an SVG for README and docs.

python tools/draw_result.py RUN IMAGE.svg
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEFT, RIGHT, ROW, TOP = 120, 40, 26, 54
WIDTH = 760
FONT = 'font-family="sans-serif" font-size="13"'
CAPTION = "accuracy on held-out images: dot = mean over paired blocks, line = 95 % interval, diamond = sealed test"
LEGEND = "grey = stopped after fewer blocks; hollow and dashed = forecast before training, not trained"
RANKS = {"raced": 0, "eliminated": 1, "forecast": 2}
INK, PALE, CHOSEN = "#24292f", "#8c959f", "#0b6bcb"


def image(result: Mapping[str, Any]) -> str:
    """Dots for means over blocks, lines for 95 % intervals, a diamond for the sealed test of the verdict."""
    shown = [s for s in result["strategies"] if _figures(s)["accuracy"] is not None]
    rows = sorted(shown, key=lambda s: (RANKS.get(s["status"], 3), -_figures(s)["accuracy"]))
    low: float = max(0.0, min(_figures(s)["accuracy"] for s in rows) - 0.1)

    def x(share: float) -> float:
        return LEFT + (min(1.0, max(low, share)) - low) / (1 - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + ROW * len(rows) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="24" font-size="15" fill="{INK}">{html.escape(_title(result))}</text>',
    ]
    for tick in (t / 10 for t in range(11) if t / 10 >= low):
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 12}" y2="{height - 58}" stroke="#eaeef2"/>'
        )
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 42}" text-anchor="middle" fill="{PALE}">{tick:.1f}</text>')
    for index, s in enumerate(rows):
        parts += _row(s, TOP + ROW * index, x, result)
    parts.append(f'<text x="16" y="{height - 22}" fill="{PALE}">{CAPTION}</text>')
    parts.append(f'<text x="16" y="{height - 6}" fill="{PALE}">{LEGEND}</text></svg>')
    return "\n".join(parts) + "\n"


def _title(result: Mapping[str, Any]) -> str:
    data = result["data"]
    classes = " / ".join(data["classes"])
    return f"{classes}: {data['n_development']} labelled images, use {result['verdict']['strategy']}"


def _figures(s: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return measured figures, or those of the forecast for a strategy that wasn't trained."""
    if s["status"] == "forecast":
        return dict(s["forecast"])
    return s


def _row(s: Mapping[str, Any], y: float, x: Any, result: Mapping[str, Any]) -> list[str]:
    chosen = s["name"] == result["verdict"]["strategy"]
    colour = PALE if s["status"] == "eliminated" else INK
    if chosen:
        colour = CHOSEN
    figures = _figures(s)
    a, b = figures["accuracy_ci"]
    fill, dashes = colour, ""
    if s["status"] == "forecast":
        fill, dashes = "white", ' stroke-dasharray="4 3"'
    weight = ' font-weight="bold"' if chosen else ""
    parts = [
        f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end" fill="{colour}"{weight}>{s["name"]}</text>',
        f'<line x1="{x(a):.1f}" x2="{x(b):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"{dashes}/>',
        f'<circle cx="{x(figures["accuracy"]):.1f}" cy="{y}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>',
    ]
    if chosen:
        t = x(result["test"]["accuracy"])
        parts.append(
            f'<path d="M{t - 7:.1f} {y}L{t:.1f} {y - 7}L{t + 7:.1f} {y}L{t:.1f} {y + 7}Z" fill="none" '
            f'stroke="#cf222e" stroke-width="2"/>'
        )
    return parts


if __name__ == "__main__":
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(image(json.loads((run / "result.json").read_text(encoding="utf-8"))), encoding="utf-8")
