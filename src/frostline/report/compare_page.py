"""The page of `frostline compare`: several runs side by side, in one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.report.compare import PAIR_HEADER, RUN_HEADER, RunsCompared, pair_rows, run_rows
from frostline.report.figures.depth import Point, measured_points
from frostline.report.figures.runs import runs_depth_figure, runs_sealed_figure
from frostline.report.page import render
from frostline.report.panels import Panel, Shown
from frostline.report.stored import Stored


def compare_page(stored: Sequence[Stored], compared: RunsCompared) -> str:
    """Return the page as HTML; `compared` is what :func:`frostline.report.compare.compare_stored` found of `stored`."""
    shown = [_sealed_panel(stored, compared), *_depth_panels(stored, compared)]
    contents = [("answer", "The runs"), *((p.id, p.title) for p in shown), ("strategies", "All strategies")]
    labels = [run.label for run in compared.runs]
    return render(
        "compare.html.j2",
        shown,
        contents,
        title=" against ".join(labels) if len(labels) < 4 else f"{len(labels)} runs",
        compared=compared,
        runs={"header": RUN_HEADER, "rows": run_rows(compared.runs)},
        pairs={"header": PAIR_HEADER, "rows": pair_rows(compared.pairs)},
        strategies={"header": ("strategy", *labels), "rows": compared.strategies},
    )


def _sealed_panel(stored: Sequence[Stored], compared: RunsCompared) -> Panel:
    labels = [run.label for run in compared.runs]
    rows = [
        (
            run.label,
            run.verdict,
            f"{run.sealed:.3f}",
            f"{run.sealed_ci[0]:.3f} to {run.sealed_ci[1]:.3f}",
            str(run.samples),
        )
        for run in compared.runs
    ]
    lead = "Pairs on the same sealed samples are compared sample by sample (exact McNemar test)."
    if not compared.pairs:
        lead = "No two of these runs have the same sealed samples, so there is nothing to pair."
    shown = Shown(
        key="sealed",
        figure=runs_sealed_figure([run.result for run in stored], labels),
        caption="Accuracy of each final model on its sealed samples, with its 95 % interval.",
        alt="; ".join(f"{run.label}: {run.sealed:.3f}" for run in compared.runs),
        header=("run", "verdict", "sealed test", "95 % interval", "samples"),
        rows=rows,
    )
    return Panel(id="sealed", title="The final models on sealed samples", lead=(lead,), shown=(shown,))


def _depth_panels(stored: Sequence[Stored], compared: RunsCompared) -> list[Panel]:
    """Return the panel of depths; none where nothing was measured out of fold, as in runs of a single strategy."""
    rows = [
        (line.label, *_point_cells(point))
        for run, line in zip(stored, compared.runs, strict=True)
        for point in measured_points(run.result)
    ]
    if not rows:
        return []
    shown = Shown(
        key="depth",
        figure=runs_depth_figure([run.result for run in stored], [run.label for run in compared.runs]),
        caption="Left: every stage is trained; right: every stage is frozen. Dots were measured, dashed lines are "
        "forecasts made before training.",
        alt="Accuracy against the share of frozen stages, for each run.",
        header=("run", "strategy", "frozen stages", "measured", "95 % interval"),
        rows=rows,
    )
    return [Panel(id="depth", title="Accuracy against frozen depth", lead=(), shown=(shown,))]


def _point_cells(point: Point) -> tuple[str, str, str, str]:
    frozen = "" if point.depth is None else str(point.depth)
    return point.name, frozen, f"{point.accuracy:.3f}", f"{point.ci[0]:.3f} to {point.ci[1]:.3f}"
