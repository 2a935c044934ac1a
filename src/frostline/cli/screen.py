"""Where output goes: results on stdout, progress on stderr. Without a terminal nothing is coloured or truncated."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from frostline.base.terminal import STEERING, bounded_line, harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 160  # columns assumed without a terminal: wide enough for every cell


def print_warning(text: str) -> None:
    """Write `warning: text` to stderr."""
    sys.stderr.write(f"warning: {bounded_line(text)}\n")


def console(*, stderr: bool = False, plain: bool = False) -> Console:
    """Return a rich console on stdout or stderr; `plain` keeps every control code out."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty() and not plain
    return Console(
        file=stream,
        force_terminal=terminal,
        no_color=not terminal or None,
        highlight=False,
        markup=False,
        width=None if stream.isatty() else PIPE_WIDTH,
        emoji=False,
    )


def stdout_width() -> int:
    """Return the number of columns that a text on stdout may take."""
    return console().width


def rich_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> Table:
    """Return a table of plain words; the columns named in `right` hold numbers and are right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in header:
        drawn.add_column(harmless(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(harmless(cell)) for cell in row))
    return drawn


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table as the verb's result. Without a terminal it is as wide as its longest cells."""
    screen = console()
    rows = [[harmless(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        longest = [max(len(row[i]) for row in [*rows, header]) for i in range(len(header))]
        screen.width = sum(longest) + 3 * len(longest)
    with screen.capture() as captured:
        screen.print(rich_table(header, rows, right=right))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    _to_stdout("\n".join(lines).strip("\n"))


def print_text(text: str) -> None:
    """Print a text as the verb's result."""
    _to_stdout(harmless(text, lines=True))


def _to_stdout(text: str) -> None:
    sys.stdout.write(text.removesuffix("\n") + "\n")
    sys.stdout.flush()


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON-able value as the verb's result; what would steer a terminal is escaped as JSON escapes it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    _to_stdout(STEERING.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text))


def duration(seconds: float) -> str:
    """Format a duration: `8 s`, `2 min 05 s`, `1 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent_done(done: float, total: float) -> float:
    """Return the share done, 0 to 100."""
    if total <= 0:
        return 0.0
    return 100.0 * min(1.0, done / total)


def time_left(seconds: float | None) -> str:
    """Return `about 2 min 05 s left`, or nothing where that isn't known yet."""
    if seconds is None:
        return ""
    return f"about {duration(seconds)} left"


def operations(count: float) -> str:
    """Format a count of floating-point operations: `3.2 G`, `1.5 T`."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
