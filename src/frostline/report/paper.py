"""The founding picture for a paper: accuracy against frozen depth as SVG, PDF and PNG, drawn by matplotlib."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.base.errors import BundleError
from frostline.base.files import write_atomic
from frostline.report.figures.depth import Point, forecast_points, measured_points, spread_out
from frostline.report.figures.style import CHOSEN, FADED, FORECAST, MEASURED, OTHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INSTALL = "pip install 'frostline[figures]'"
FORMATS = ("svg", "pdf", "png")
INCHES = (5.2, 3.2)  # a column and a half of most journals
DOTS = 300  # per inch, of the PNG
UNDATED: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}  # equal runs, equal bytes

Values = Mapping[str, Any]


def write_figures(result: Values, folder: Path) -> list[Path]:
    """Write `depth.svg`, `depth.pdf` and `depth.png` of a record into a folder, which is made if it isn't there.

    Raises BundleError where matplotlib isn't installed, or where the folder's name is a file.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise BundleError("--figures needs matplotlib, which isn't installed.", f"Install it: {INSTALL}.")
    file = next((place for place in (folder, *folder.parents) if place.is_file()), None)
    if file:
        raise BundleError(f"--figures {folder}: {file} is a file.", "Give a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"depth.{kind}" for kind in FORMATS]
    for path, image in zip(paths, depth_images(result, FORMATS), strict=True):
        write_atomic(path, image)
    return paths


def depth_images(result: Values, formats: Sequence[str]) -> list[bytes]:
    """Return accuracy against frozen depth as files of these formats; matplotlib has to be installed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    images = []
    with mpl.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "frostline", "font.size": 9}):
        figure = Figure(figsize=INCHES, layout="constrained")
        _draw_picture(figure.add_subplot(), result)
        for kind in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS, metadata=UNDATED.get(kind))
            images.append(buffer.getvalue())
    return images


def _draw_picture(axes: Axes, result: Values) -> None:
    measured = measured_points(result)
    forecast = forecast_points(result)
    on_curve = [p for p in measured if p.depth is not None]
    stages = len(result["model"]["stages"])
    if forecast:
        depths = [p.depth or 0 for p in forecast]
        low, high = [p.ci[0] for p in forecast], [p.ci[1] for p in forecast]
        axes.fill_between(depths, low, high, color=FORECAST, alpha=FADED, linewidth=0)
        axes.plot(depths, [p.accuracy for p in forecast], "--", color=FORECAST, label="forecast")
    for partly, label in ((False, "measured"), (True, "measured on fewer blocks")):
        own = [p for p in on_curve if p.partly == partly]
        if own:
            _errorbar(axes, own, label, filled=not partly)
    chosen = next((p for p in on_curve if p.name == result["verdict"]["strategy"]), None)
    if chosen:
        axes.plot([chosen.depth or 0], [chosen.accuracy], "o", ms=12, mfc="none", mec=CHOSEN, mew=1.6, label="verdict")
    shown = sorted({p.depth or 0 for p in (*forecast, *on_curve)} | {0, stages})
    axes.set_xticks(shown, [{0: "none", stages: "all"}.get(d, str(d)) for d in shown])
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    _levels(axes, [p for p in measured if p.depth is None])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _errorbar(axes: Axes, points: Sequence[Point], label: str, *, filled: bool) -> None:
    values = [p.accuracy for p in points]
    below = [max(0.0, v - p.ci[0]) for v, p in zip(values, points, strict=True)]
    above = [max(0.0, p.ci[1] - v) for v, p in zip(values, points, strict=True)]
    axes.errorbar(
        [p.depth or 0 for p in points],
        values,
        yerr=(below, above),
        fmt="o",
        color=MEASURED,
        mfc=MEASURED if filled else "none",
        capsize=2.5,
        linewidth=1.2,
        label=label,
    )


def _levels(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the strategies that aren't a depth as dotted levels, named at the right; those far below as text."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    rising = sorted(points, key=lambda p: p.accuracy)
    needed = 0.055 * (high - low)
    places = spread_out([min(high, max(low, p.accuracy)) for p in rising], needed, (low, high))
    for point, place in zip(rising, places, strict=True):
        text = point.name
        if point.accuracy < low:
            text = f"↓ {text} {100 * point.accuracy:.0f} %"
        else:
            axes.axhline(point.accuracy, color=OTHER, linewidth=0.7, linestyle=":")
        axes.annotate(
            text.replace("$", r"\$"), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )
