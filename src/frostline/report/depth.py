"""Accuracy against depth as text: what was measured and what was forecast, from all stages frozen to none."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frostline.report.figures.depth import depth_of, drawn_strategies
from frostline.report.plot import (
    BOTH_MARK,
    FORECAST_LINE,
    FORECAST_MARK,
    MEASURED_LINE,
    MEASURED_MARK,
    Estimate,
    axis_of,
    forecast_estimate,
    measured_estimate,
    plot_row,
    text_table,
)

FEWEST_COLUMNS = 20  # of the plot, however narrow the terminal is
MOST_COLUMNS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """One depth of training: its strategy, how many stages are frozen, what was measured and what was forecast."""

    name: str
    frozen: str
    measured: Estimate | None
    forecast: Estimate | None
    blocks: int  # that the measured accuracy is a mean of

    @property
    def estimates(self) -> list[Estimate]:
        """What is drawn: beside a measured value the forecast is a mark without its interval."""
        if self.forecast is None or self.measured is None:
            return [e for e in (self.forecast, self.measured) if e is not None]
        value = self.forecast.value
        return [self.measured, forecast_estimate(value, (value, value))]


def depth_text(result: Mapping[str, Any], width: int = 100) -> str:
    """Draw accuracy by depth of training from a record (as JSON values): one row for `probe`, every `freeze@K` in order
    of depth, and `finetune`, with a legend. Empty where fewer than two of them have a figure."""
    depths = _depths(result)
    if len(depths) < 2:
        return ""
    verdict = result["verdict"]["strategy"]
    most = max(depth.blocks for depth in depths)
    cells = [_row_figures(depth, verdict, most) for depth in depths]
    header = ("strategy", "frozen", "measured", "forecast")
    axis = axis_of([e for depth in depths for e in depth.estimates], _columns(header, cells, width))
    rows = [(*row, plot_row(axis, depth.estimates)) for row, depth in zip(cells, depths, strict=True)]
    table = text_table((*header, axis.heading()), rows)
    legend = textwrap.wrap(_legend(depths, [row[-1] for row in rows]), max(40, width), subsequent_indent="  ")
    return "\n".join([table, *legend])


def _depths(result: Mapping[str, Any]) -> list[Depth]:
    """Return the depths that have a figure, the one with the most frozen stages first; of several networks those of the
    verdict's."""
    stages = len(result["model"]["stages"])
    placed = [(frozen, s) for s in drawn_strategies(result) if (frozen := depth_of(s)) is not None]
    placed.sort(key=lambda pair: -pair[0])
    depths = [_depth(strategy, frozen, stages) for frozen, strategy in placed]
    return [depth for depth in depths if depth.estimates]


def _depth(strategy: Mapping[str, Any], frozen: int, stages: int) -> Depth:
    measured = None
    if strategy["accuracy"] is not None and strategy["accuracy_ci"]:
        measured = measured_estimate(strategy["accuracy"], strategy["accuracy_ci"])
    forecast = None
    if strategy.get("forecast"):
        forecast = forecast_estimate(strategy["forecast"]["accuracy"], strategy["forecast"]["accuracy_ci"])
    return Depth(
        name=str(strategy["name"]),
        frozen=_frozen_stages(frozen, stages),
        measured=measured,
        forecast=forecast,
        blocks=len(strategy["blocks"]),
    )


def _frozen_stages(frozen: int, stages: int) -> str:
    """Return `all`, `none`, or the stages that are frozen: `1-4`."""
    if frozen == stages:
        return "all"
    if frozen == 0:
        return "none"
    if frozen == 1:
        return "1"
    return f"1-{frozen}"


def _row_figures(depth: Depth, verdict: str, blocks: int) -> tuple[str, ...]:
    """Return the cells beside the plot; `blocks` is the usual number, which isn't named."""
    name = depth.name
    if name == verdict:
        name += " *"
    measured = ""
    if depth.measured is not None:
        measured = f"{depth.measured.value:.3f}"
        if depth.blocks < blocks:
            measured += f" on {depth.blocks} block{'s' * (depth.blocks != 1)}"
    forecast = ""
    if depth.forecast is not None:
        forecast = f"{depth.forecast.value:.3f}"
    return name, depth.frozen, measured, forecast


def _columns(header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return how many columns are left to the plot beside these cells."""
    longest = [max(len(row[i]) for row in [*cells, header]) for i in range(len(header)) if any(row[i] for row in cells)]
    left = width - sum(longest) - 2 * len(longest)
    return min(MOST_COLUMNS, max(FEWEST_COLUMNS, left))


def _legend(depths: Sequence[Depth], plots: Sequence[str]) -> str:
    """Say what the plot shows, and what the characters that it uses stand for."""
    meanings = []
    if any(depth.measured for depth in depths):
        meanings.append(f"{MEASURED_MARK} was measured on the blocks, {MEASURED_LINE} is its 95 % interval")
    if any(depth.forecast for depth in depths):
        meanings.append(f"{FORECAST_MARK} was forecast before anything was trained")
    if any(depth.forecast and not depth.measured for depth in depths):
        meanings[-1] += f", {FORECAST_LINE} is its 95 % interval"
    if any(BOTH_MARK in plot for plot in plots):
        meanings.append(f"{BOTH_MARK} is both in one place")
    return f"Accuracy by depth, from all stages frozen to none: {'; '.join(meanings)}."
