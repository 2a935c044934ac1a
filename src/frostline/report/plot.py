"""Columns and plots as text: readable in a pipe, on a narrow terminal and without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.base.terminal import harmless

MEASURED_MARK = "#"
MEASURED_LINE = "="
FORECAST_MARK = "o"
FORECAST_LINE = "-"
BOTH_MARK = "&"  # a measured and a forecast value in one column


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The range of values that a plot of so many `columns` shows."""

    low: float
    high: float
    columns: int

    def heading(self) -> str:
        """Return the two ends of the axis, as the heading of the plot."""
        first = f"{self.low:.2f}"
        return first + f"{self.high:.2f}".rjust(self.columns - len(first))

    def place(self, value: float) -> int:
        """Return the column of a value; what lies beyond an end is drawn there."""
        if self.high <= self.low:
            return self.columns // 2
        share = (value - self.low) / (self.high - self.low)
        return round(min(1.0, max(0.0, share)) * (self.columns - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its interval, and the characters that they are drawn with."""

    value: float
    interval: tuple[float, float]
    mark: str
    line: str


def measured_estimate(value: float, interval: Sequence[float]) -> Estimate:
    """Return a measured value; it never looks like a forecast one."""
    low, high = interval
    return Estimate(value=value, interval=(low, high), mark=MEASURED_MARK, line=MEASURED_LINE)


def forecast_estimate(value: float, interval: Sequence[float]) -> Estimate:
    """Return a forecast value; it never looks like a measured one."""
    low, high = interval
    return Estimate(value=value, interval=(low, high), mark=FORECAST_MARK, line=FORECAST_LINE)


def axis_of(estimates: Sequence[Estimate], columns: int) -> Axis:
    """Return the axis from the lowest to the highest end of all intervals. ValueError on none."""
    return Axis(
        low=min(min(e.interval[0], e.value) for e in estimates),
        high=max(max(e.interval[1], e.value) for e in estimates),
        columns=columns,
    )


def plot_row(axis: Axis, estimates: Sequence[Estimate]) -> str:
    """Draw intervals as lines and values as marks on them. Of two in one column the later one is seen, but for two
    values, which share BOTH_MARK."""
    cells = [" "] * axis.columns
    for estimate in estimates:
        first, last = (axis.place(end) for end in estimate.interval)
        if last > first:
            cells[first : last + 1] = estimate.line * (last + 1 - first)
    taken: set[int] = set()
    for estimate in estimates:
        place = axis.place(estimate.value)
        cells[place] = estimate.mark
        if place in taken:
            cells[place] = BOTH_MARK
        taken.add(place)
    return "".join(cells).rstrip()


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format columns as wide as their content; empty columns are left out. No name forges a line of its own."""
    rows = [[harmless(cell) for cell in row] for row in rows]
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    widths = {i: max(len(header[i]), *(len(row[i]) for row in rows)) for i in used}
    lines = [[header[i] for i in used], ["-" * widths[i] for i in used], *[[row[i] for i in used] for row in rows]]
    return "\n".join(
        "  ".join(cell.ljust(widths[i]) for i, cell in zip(used, line, strict=True)).rstrip() for line in lines
    )
