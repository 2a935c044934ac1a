"""What a notebook shows of a finished run: the answer, the founding picture, the table, where the page lies.

The HTML holds no script and no style sheet, and loads nothing. The picture is an image of its own: inline, its style
would apply to the whole notebook, and viewers that clean HTML break it.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.bundle.notebook import html_table, isolated
from frostline.report.answer import advice, sealed_words
from frostline.report.figures.depth import forecast_points, measured_points
from frostline.report.page import FILE
from frostline.report.paper import depth_images
from frostline.report.stored import verdict_of
from frostline.report.tables import strategy_cells

Values = Mapping[str, Any]


def run_text(path: Path, result: Values) -> str:
    """Name a run in one line: its verdict, the sealed test, its folder. `result` is result.json as plain values."""
    test = result["test"]
    low, high = test["ci"]
    return (
        f"<frostline.Run {result['verdict']['strategy']!r}, sealed accuracy {test['accuracy']:.3f} "
        f"({low:.3f} to {high:.3f}), in {str(path)!r}>"
    )


def run_html(path: Path, result: Values) -> str:
    """Show a run: the answer in a sentence, accuracy by depth (where matplotlib is installed), all strategies."""
    name = result["verdict"]["strategy"]
    verdict = verdict_of(result)
    answer = f"<strong>{isolated(advice(verdict))}</strong> ({isolated(name)}): {sealed_words(result)}."
    parts = [f"<p>{answer}</p>", _picture(result), _html_strategies(result)]
    if result["concluded"] is not None:
        parts.append("<p>This run was ended early; not all of it was measured.</p>")
    page = path / FILE
    if page.is_file():
        parts.append(f"<p>The whole page: <code>{isolated(str(page))}</code></p>")
    return "".join(parts)


def _html_strategies(result: Values) -> str:
    """Return the table of strategies without its empty columns; `*` marks the verdict."""
    header, rows = strategy_cells(result)
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return html_table([[isolated(row[i]) for i in used] for row in rows], [header[i] for i in used])


def _picture(result: Values) -> str:
    """Return accuracy by depth as an image; nothing where there is no depth to show, or no matplotlib to draw it."""
    on_curve = [p for p in (*measured_points(result), *forecast_points(result)) if p.depth is not None]
    if not on_curve or importlib.util.find_spec("matplotlib") is None:
        return ""
    (svg,) = depth_images(result, ("svg",))
    data = base64.b64encode(svg).decode()
    words = 'alt="Accuracy by the number of frozen stages" style="max-width: 100%"'
    return f'<p><img {words} src="data:image/svg+xml;base64,{data}"></p>'
