"""What the tests of the command line share: the command run in this process, and stand-ins for the library below it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from frostline.base.events import Event, PhaseEvent, ProgressEvent
from frostline.cli.main import main

RESULT = {"verdict": {"strategy": "probe", "reason": "probe is the cheapest within one standard error."}}
ROW = {"name": "probe", "happens": "all frozen", "trained_parameters": 1538, "trials": 5, "operations": 3.2e11}
EVENTS: list[Event] = [
    Event(
        kind="plan",
        text="",
        data={"rows": [ROW], "total_operations": 3.2e11, "sentence": "5 trials.", "run": "runs/x-1"},
    ),
    PhaseEvent(kind="phase", text="", data={"name": "race", "state": "begin", "seconds": 0.0}),
    ProgressEvent(kind="progress", text="race", done=1.0, total=4.0, seconds_left=125.0),
    Event(kind="trial", text="probe, block 3: accuracy 0.940, log loss 0.180", data={"strategy": "probe", "block": 2}),
    Event(kind="warning", text="1 image [x] can't be read."),
    PhaseEvent(kind="phase", text="", data={"name": "race", "state": "end", "seconds": 12.4}),
    Event(kind="verdict", text="Use probe."),
]


@pytest.fixture
def events() -> list[Event]:
    """One event of each kind."""
    return EVENTS


class Command:
    """Runs one command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> SimpleNamespace:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = self.capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a module of these functions in the place of a part of the library."""

    def put(name: str, **functions: Any) -> None:
        module = ModuleType(name)
        for key, function in functions.items():
            setattr(module, key, function)
        monkeypatch.setitem(sys.modules, name, module)

    return put


@pytest.fixture
def fake_fit(stand_in: Callable[..., None]) -> list[Any]:
    """A `fit` that emits one event of each kind; the list receives the settings it was called with."""
    seen: list[Any] = []

    def run(settings: Any, emit: Callable[[Event], None], **_: Any) -> SimpleNamespace:
        seen.append(settings)
        for event in EVENTS:
            emit(event)
        return SimpleNamespace(path=Path("runs/x-1"), result=SimpleNamespace(model_dump=lambda **_: RESULT))

    stand_in("frostline.pipeline", run=run)
    stand_in("frostline.report.tables", result_text=lambda result, _width: f"verdict: {result['verdict']['strategy']}")
    return seen
