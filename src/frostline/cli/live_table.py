"""The race as a live table: one row per strategy, a bar beneath. A pure function of what the events said.

It is readable at 80 columns and without colour, and never taller than the terminal: rows that matter least go first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.cli.live import OUT, SITUATIONS, Lane, RaceView, one_line, situation
from frostline.cli.screen import percent_done, time_left

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MOST_CELLS = 20  # blocks that are drawn one by one; more are counted
LONGEST_NAME = 24
BAR = 20  # columns
FREE_LINES = 4  # around the strategies: one before, the heading, the bar, and one that stays free
STYLES = {"running": "bold", "failed": "red", **dict.fromkeys(("dropped", "not trained", "not run"), "dim")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMarks:
    """The characters of the blocks: `levels` from the lowest to the highest accuracy, `gap` for an open block."""

    levels: str
    gap: str


BARS = CellMarks(levels="▁▂▃▄▅▆▇█", gap="·")
DIGITS = CellMarks(levels="12345678", gap=".")  # where a terminal knows ASCII only


def state_text(view: RaceView, lane: Lane) -> str:
    """Say what a strategy is doing, as its row shows it."""
    state = situation(view, lane)
    done = len(lane.measured)
    if state == "running" and view.block is not None:
        return f"block {view.block + 1} of {view.blocks}"
    if state == "running":
        return "tuning"
    if state == "in the race" and not done:
        return "tuned"
    if state == "in the race":
        return f"{done} of {view.blocks} blocks"
    if state == "waiting" and lane.forecast is not None:
        return f"forecast {lane.forecast:.2f}"
    if state == "not trained" and lane.forecast is not None:
        return f"forecast {lane.forecast:.2f}, {state}"
    return state


def chosen_lanes(view: RaceView, room: int) -> tuple[list[Lane], list[Lane]]:
    """Part the lanes into those that are shown, `room` at most, and the others, each in the order of the plan.

    Where not all have room, the strategy that runs and the leader come first, then the order of SITUATIONS.
    """
    if len(view.lanes) <= room:
        return list(view.lanes), []
    leader = max((x for x in view.lanes if x.measured and x.fate not in OUT), key=_score, default=None)

    def rank(lane: Lane) -> tuple[int, float]:
        if lane is leader:
            return 0, 0.0
        return SITUATIONS.index(situation(view, lane)), -_score(lane)

    kept = {lane.name for lane in sorted(view.lanes, key=rank)[: max(0, room - 1)]}  # one line counts the others
    return [x for x in view.lanes if x.name in kept], [x for x in view.lanes if x.name not in kept]


def _score(lane: Lane) -> float:
    """Sort lanes by what was measured, or else forecast."""
    for score in (lane.accuracy, lane.forecast):
        if score is not None:
            return score
    return 0.0


def draw(view: RaceView, *, height: int, marks: CellMarks = BARS) -> Group:
    """Return the table with the bar beneath it: `height` - 1 lines at most."""
    from rich.console import Group
    from rich.text import Text

    shown, others = chosen_lanes(view, height - FREE_LINES)
    parts: list[Any] = []
    if shown:
        parts = [Text(""), _lanes_table(view, shown, marks)]
    if shown and others:
        counts = Counter(situation(view, lane) for lane in others)
        words = ", ".join(f"{counts[state]} {state}" for state in SITUATIONS if counts[state])
        parts.append(Text(f"  and {len(others)} more: {words}", no_wrap=True, overflow="ellipsis"))
    return Group(*parts, _bar_line(view))


def _lanes_table(view: RaceView, shown: Sequence[Lane], marks: CellMarks) -> Table:
    from rich.table import Table
    from rich.text import Text

    scale = _scale(view)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  strategy", no_wrap=True)
    table.add_column(_cells_heading(scale, marks), no_wrap=True, min_width=13)
    table.add_column("accuracy", no_wrap=True, justify="right")
    table.add_column("rate", no_wrap=True, justify="right", min_width=6)
    table.add_column("state", no_wrap=True)
    for lane in shown:
        cells = [_name_cell(view, lane), sparkline(lane.cells, scale, marks), *_number_cells(lane)]
        texts = [Text(cell) for cell in (*cells, state_text(view, lane))]
        table.add_row(*texts, style=STYLES.get(situation(view, lane)))
    return table


def _name_cell(view: RaceView, lane: Lane) -> str:
    name = one_line(lane.name)
    if len(name) > LONGEST_NAME:
        name = name[: LONGEST_NAME - 3] + "..."
    if situation(view, lane) == "running":
        return f"> {name}"
    return f"  {name}"


def _number_cells(lane: Lane) -> tuple[str, str]:
    """Return mean accuracy and rate, as far as they are known."""
    accuracy = ""
    if lane.accuracy is not None:
        accuracy = f"{lane.accuracy:.3f}"
    rate = ""
    if lane.rate is not None:
        rate = f"{lane.rate:g}"
    return accuracy, rate


def _scale(view: RaceView) -> tuple[float, float]:
    """Return the lowest and the highest accuracy on a block, of what wasn't dropped where there is such."""
    every = [lane for lane in view.lanes if lane.measured]
    kept = [lane for lane in every if lane.fate not in OUT]
    values = [value for lane in kept or every for value in lane.measured]
    return min(values, default=0.0), max(values, default=0.0)


def _cells_heading(scale: tuple[float, float], marks: CellMarks) -> str:
    low, high = scale
    if high <= low:
        return "blocks"
    return f"{marks.levels[0]} {low:.2f} {marks.levels[-1]} {high:.2f}"


def sparkline(cells: Sequence[float | None], scale: tuple[float, float], marks: CellMarks = BARS) -> str:
    """Draw one character per block: a level for its accuracy on a scale, the gap where the block is open."""
    if len(cells) > MOST_CELLS:
        return f"{sum(cell is not None for cell in cells)} of {len(cells)}"
    return "".join(_cell(cell, scale, marks) for cell in cells)


def _cell(cell: float | None, scale: tuple[float, float], marks: CellMarks) -> str:
    low, high = scale
    if cell is None:
        return marks.gap
    if high <= low:
        return marks.levels[-1]
    share = min(1.0, max(0.0, (cell - low) / (high - low)))
    return marks.levels[round(share * (len(marks.levels) - 1))]


def _bar_line(view: RaceView) -> Table:
    """Return the phase, a bar with the share done, the time left, and the latest detail as far as there is room."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    share = percent_done(view.done, view.total)
    line = Table.grid(padding=(0, 1), expand=True)
    for _ in range(4):
        line.add_column(no_wrap=True)
    line.add_column(ratio=1, no_wrap=True)  # on a narrow terminal the detail is truncated, not the bar
    bar = ProgressBar(total=100.0, completed=share, width=BAR)
    texts = [Text(text) for text in (f"{share:3.0f} %", time_left(view.seconds_left), view.detail)]
    line.add_row(Text(view.phase), bar, *texts)
    return line
