"""Drawing a run's events: a progress bar on a terminal, plain lines in a pipe, JSON lines for programs.

Progress goes to stderr, JSON lines to stdout. An event that this file doesn't know is drawn as its text.
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
from frostline.cli.screen import console, duration, operations, print_json, rich_table
from frostline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

SECONDS_BETWEEN_LINES = 5.0  # of progress in plain output


class Screen(Protocol):
    """Something that events are drawn on."""

    def emit(self, event: Event) -> None: ...

    def result(self, result: dict[str, Any], *, run: Path) -> None: ...


@contextmanager
def drawing(*, plain: bool, json_lines: bool, session: Session | None = None) -> Iterator[Screen]:
    """Yield the screen that suits where output goes; a progress bar is removed at the end, whatever happens.

    The session learns the RUN folder from the first event whose data name it.
    """
    remember = session or Session()
    if json_lines:
        yield JsonLines(remember)
    elif plain or not sys.stderr.isatty():
        yield PlainLines(remember)
    else:
        live = LiveBar(remember)
        with live.progress:
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
        parts = (f"{percent(event):3.0f} %", time_left(event), event.text, self.trial)
        self.trial = ""
        self.console.print("  " + " · ".join(part for part in parts if part), soft_wrap=True)


class LiveBar:
    """A bar with the phase, the share done and the time left; lasting lines are printed above it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.progress = _rich_progress(console(stderr=True))
        self.task = self.progress.add_task("starting", total=1.0, remaining="", trial="")

    def emit(self, event: Event) -> None:
        _note_run(event, self.session)
        if isinstance(event, ProgressEvent):
            self.progress.update(self.task, completed=event.done, total=event.total, remaining=time_left(event))
            if event.text:
                self.progress.update(self.task, description=event.text)
        elif event.kind == "trial":
            self.progress.update(self.task, trial=event.text)
        elif event.kind == "phase" and event.data.get("state") == "begin":
            self.progress.update(self.task, description=event.text or str(event.data.get("name", "")))
        else:
            _print_event(self.progress.console, event)

    def result(self, result: dict[str, Any], *, run: Path) -> None:
        """The result is the verb's to print."""


def _rich_progress(target: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.table import Column

    phase = TextColumn("{task.description}", markup=False)
    remaining = TextColumn("{task.fields[remaining]}", markup=False)
    rest = Column(
        ratio=1, no_wrap=True, overflow="ellipsis"
    )  # on a narrow terminal the trial is truncated, not the bar
    trial = TextColumn("{task.fields[trial]}", markup=False, table_column=rest)
    bar = BarColumn(bar_width=20)
    return Progress(phase, bar, TaskProgressColumn(), remaining, trial, console=target, transient=True, expand=True)


def _note_run(event: Event, session: Session) -> None:
    if "run" in event.data:
        session.run = str(event.data["run"])


def _print_event(target: Console, event: Event) -> None:
    if event.kind == "plan":
        target.print(plan_table(event.data.get("rows", [])))
        target.print(str(event.data.get("sentence") or event.text), soft_wrap=True)
        return
    line = event_line(event)
    if not line:
        return
    style = "yellow" if event.kind == "warning" else None
    target.print(line, soft_wrap=True, style=style)


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


def percent(event: ProgressEvent) -> float:
    """Return the share done, 0 to 100."""
    if event.total <= 0:
        return 0.0
    return 100.0 * min(1.0, event.done / event.total)


def time_left(event: ProgressEvent) -> str:
    """Return `about 2 min 05 s left`, or nothing where that isn't known yet."""
    if event.seconds_left is None:
        return ""
    return f"about {duration(event.seconds_left)} left"
