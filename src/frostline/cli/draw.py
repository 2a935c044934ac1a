"""Drawing a run's events: a live table on a terminal, plain lines in a pipe, JSON lines for programs.

Progress goes to stderr, JSON lines to stdout. An event that this file doesn't know, or can't read, is drawn as its
text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from frostline.base.events import Event, ProgressEvent
from frostline.base.terminal import harmless
from frostline.cli.live import RaceView, follow
from frostline.cli.live_table import BARS, DIGITS, draw
from frostline.cli.screen import (
    console,
    duration,
    operations,
    percent_done,
    print_json,
    rich_table,
    time_left,
)
from frostline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

SECONDS_BETWEEN_LINES = 5.0  # of progress in plain output
DRAWN_PER_SECOND = 2  # the live table: each time costs some milliseconds that the training wants


class Screen(Protocol):
    """Something that events are drawn on."""

    def emit(self, event: Event) -> None: ...

    def result(self, result: dict[str, Any], *, run: Path) -> None: ...


@contextmanager
def drawing(*, plain: bool, json_lines: bool, session: Session | None = None) -> Iterator[Screen]:
    """Yield the screen that suits where output goes; a live table is removed at the end, whatever happens.

    The session learns the RUN folder from the first event whose data name it.
    """
    remember = session or Session()
    if json_lines:
        yield JsonLines(remember)
    elif plain or not sys.stderr.isatty():
        yield PlainLines(remember)
    else:
        live = LiveTable(remember)
        with live.display:
            yield live


class JsonLines:
    """Every event as one JSON object per line, the last one the result."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def emit(self, event: Event) -> None:
        _note_run(event, self.session)
        values = {f.name: getattr(event, f.name) for f in fields(event)}
        print_json(values, indent=None)

    def result(self, result: dict[str, Any], *, run: Path) -> None:
        text = str(result.get("verdict", {}).get("reason", ""))
        print_json({"kind": "result", "text": text, "run": str(run), "data": result}, indent=None)


class PlainLines:
    """Lines without control codes. Progress is printed at most every few seconds, with the latest trial."""

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self.session = session
        self.clock = clock
        self.console = console(stderr=True, plain=True)
        self.printed = clock()
        self.trial = ""

    def emit(self, event: Event) -> None:
        _note_run(event, self.session)
        if isinstance(event, ProgressEvent):
            self._progress(event)
        elif event.kind == "trial":
            self.trial = event.text
        else:
            _print_event(self.console, event)

    def result(self, result: dict[str, Any], *, run: Path) -> None:
        """The result is the verb's to print."""

    def _progress(self, event: ProgressEvent) -> None:
        now = self.clock()
        if now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        share = percent_done(event.done, event.total)
        parts = (f"{share:3.0f} %", time_left(event.seconds_left), event.text, self.trial)
        self.trial = ""
        self.console.print("  " + harmless(" · ".join(part for part in parts if part)), soft_wrap=True)


class LiveTable:
    """The race as a table with a bar beneath it, drawn again and again; lasting lines are printed above.

    `display` is entered while events come; at its end the table is gone.
    """

    def __init__(self, session: Session) -> None:
        from rich.live import Live

        self.session = session
        self.console = console(stderr=True)
        self.view = RaceView()
        self.display = Live(
            get_renderable=self._draw, console=self.console, refresh_per_second=DRAWN_PER_SECOND, transient=True
        )

    def emit(self, event: Event) -> None:
        _note_run(event, self.session)
        self.view = follow(self.view, event)
        if _is_lasting(event):
            _print_event(self.console, event)

    def result(self, result: dict[str, Any], *, run: Path) -> None:
        """The result is the verb's to print."""

    def _draw(self) -> Group:
        marks = BARS
        if self.console.options.ascii_only:
            marks = DIGITS
        return draw(self.view, height=self.console.height, marks=marks)


def _note_run(event: Event, session: Session) -> None:
    if isinstance(event.data, dict) and "run" in event.data:
        session.run = str(event.data["run"])


def _is_lasting(event: Event) -> bool:
    """False for what the live table shows."""
    if isinstance(event, ProgressEvent) or event.kind == "trial":
        return False
    begins = isinstance(event.data, dict) and event.data.get("state") == "begin"
    return not (event.kind == "phase" and begins)


def _print_event(target: Console, event: Event) -> None:
    style = None
    if event.kind == "warning":
        style = "yellow"
    try:
        table, line = _table_and_line(event)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):  # damaged data
        table, line = None, event.text
    if table is not None:
        target.print(table)
    if line:
        target.print(harmless(line), soft_wrap=not target.is_terminal, style=style)  # a terminal would break words


def _table_and_line(event: Event) -> tuple[Table | None, str]:
    """Return what is printed of an event: the table of a plan, and its line."""
    if event.kind == "plan":
        return plan_table(event.data.get("rows", [])), str(event.data.get("sentence") or event.text)
    return None, event_line(event)


def event_line(event: Event) -> str:
    """Return one line for an event that isn't a plan, a trial or progress; empty where there is nothing to say."""
    if event.kind == "warning":
        return f"warning: {event.text}"
    if event.kind != "phase":
        return event.text
    name = event.text or str(event.data.get("name", ""))
    if event.data.get("state") == "end":
        return f"{name}: {duration(event.data.get('seconds') or 0.0)}"
    return f"{name} ..."


def plan_table(rows: list[dict[str, Any]]) -> Table:
    """Return the plan as a table: trained parameters, number of trials and counted cost per strategy."""
    header = ("strategy", "what happens to the weights", "trained parameters", "trials", "operations")
    cells = []
    for row in rows:
        parameters = f"{row['trained_parameters']:,}"
        cost = operations(row["operations"])
        cells.append((str(row["name"]), str(row["happens"]), parameters, str(row["trials"]), cost))
    return rich_table(header, cells, right=header[2:])
