"""Events on a screen: plain lines are few, a live table leaves what stays true."""

from __future__ import annotations

import io
import sys

from frostline.base.events import Event, ProgressEvent
from frostline.cli.draw import LiveTable, PlainLines
from frostline.cli.screen import duration, operations
from frostline.cli.session import Session


def progress(done: float) -> ProgressEvent:
    return ProgressEvent(kind="progress", text="race", done=done, total=100.0, seconds_left=100.0 - done)


def test_plain_progress_is_told_every_five_seconds_with_the_latest_trial(capsys) -> None:
    now = [0.0]
    lines = PlainLines(Session(), clock=lambda: now[0])
    lines.emit(Event(kind="trial", text="probe, block 2: accuracy 0.500"))
    for tick in range(100):
        now[0] = tick / 10  # ten seconds in all
        lines.emit(progress(float(tick)))
    told = capsys.readouterr().err.splitlines()
    assert told == ["   50 % · about 50 s left · race · probe, block 2: accuracy 0.500"]


def test_the_live_table_prints_what_stays_true_and_shows_markup_as_it_is(monkeypatch, events) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    live = LiveTable(Session())
    with live.display:
        for event in events:
            live.emit(event)
    text = stream.getvalue()
    assert "warning: 1 image [x] can't be read." in text
    assert "Use probe." in text
    assert live.session.run == "runs/x-1"


def test_durations_and_operations_are_short() -> None:
    assert [duration(s) for s in (0.4, 59.4, 59.6, 125, 3600, 4200)] == [
        *("0 s", "59 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "1 h 10 min")
    ]
    assert [operations(n) for n in (12, 3.2e6, 1.15e9, 2e12, 5e15)] == ["12", "3.2 M", "1.15 G", "2 T", "5 P"]
