"""The live table: what each event changes, and that it fits the terminal whatever the events say."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from frostline.base.events import Event, PhaseEvent, ProgressEvent
from frostline.cli.draw import LiveTable
from frostline.cli.live import SITUATIONS, Lane, RaceView, follow, situation
from frostline.cli.live_table import BARS, DIGITS, CellMarks, chosen_lanes, draw, sparkline, state_text
from frostline.cli.session import Session
from helpers.terminal import Terminal, run_in_terminal

NAMES = ("baseline", "probe", "freeze@4", "finetune", "scratch")
PLAN = Event(kind="plan", text="", data={"rows": [{"name": name} for name in NAMES], "blocks": 5})


def trial(strategy: str, accuracy: float, block: int = 0, *, purpose: str = "block", **data: Any) -> Event:
    values = {"strategy": strategy, "purpose": purpose, "block": block, "accuracy": accuracy, "error": None}
    return Event(kind="trial", text=f"{strategy}: {accuracy}", data={**values, **data})


def begins(strategy: str, purpose: str, block: int = 0, rate: float | None = None) -> ProgressEvent:
    data = {"state": "begin", "strategy": strategy, "purpose": purpose, "block": block, "rate": rate}
    return ProgressEvent(kind="progress", text=strategy, done=30.0, total=100.0, seconds_left=125.0, data=data)


def phase(name: str, state: str) -> PhaseEvent:
    return PhaseEvent(kind="phase", text=name, data={"name": name, "state": state, "seconds": 1.0})


def told(kind: str, strategy: str) -> Event:
    return Event(kind=kind, text="", data={"strategy": strategy, "operations": 1.0})


def standing(dropped: tuple[str, ...] = (), forecast: dict[str, float] | None = None, **accuracy: Any) -> Event:
    named = {name.replace("_", "@"): values for name, values in accuracy.items()}
    found = {name: {"accuracy": values, "rate": None} for name, values in named.items()}
    data = {"strategies": found, "forecast": forecast or {}, "dropped": list(dropped), "failed": []}
    return Event(kind="standing", text="", data=data)


def after(*events: Event, view: RaceView | None = None) -> RaceView:
    view = view or RaceView()
    for event in events:
        view = follow(view, event)
    return view


def lane(view: RaceView, name: str) -> Lane:
    return next(lane for lane in view.lanes if lane.name == name)


def states(view: RaceView) -> dict[str, str]:
    return {lane.name: state_text(view, lane) for lane in view.lanes}


def drawn(view: RaceView, width: int = 80, height: int = 24, marks: CellMarks = BARS) -> list[str]:
    """The lines as a terminal without colours shows them."""
    console = Console(
        file=io.StringIO(), width=width, height=height, markup=False, highlight=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(draw(view, height=height, marks=marks))
    return captured.get().splitlines()


def test_a_race_goes_from_waiting_to_done() -> None:
    view = after(PLAN)
    assert set(states(view).values()) == {"waiting"}
    view = after(*(trial("probe", 0.9, block) for block in range(5)), view=view)
    view = after(standing(forecast={"freeze@4": 0.85, "finetune": 0.9}, probe=[0.9] * 5), view=view)
    assert states(view)["freeze@4"] == "forecast 0.85"
    view = after(begins("freeze@4", "tune", rate=1e-4), view=view)
    assert states(view)["probe"] == "done"
    assert states(view)["freeze@4"] == "tuning"
    assert lane(view, "freeze@4").rate == 1e-4
    view = after(begins("freeze@4", "block", 2, rate=3e-4), view=view)
    assert states(view)["freeze@4"] == "block 3 of 5"
    view = after(trial("freeze@4", 0.8, 2), begins("finetune", "block"), view=view)
    assert states(view)["freeze@4"] == "1 of 5 blocks"
    view = after(told("eliminated", "scratch"), told("spared", "finetune"), told("ended", "probe"), view=view)
    assert states(view) == {
        "baseline": "waiting",
        "probe": "done",
        "freeze@4": "done",
        "finetune": "forecast 0.90, not trained",
        "scratch": "dropped",
    }
    view = after(phase("race", "end"), view=view)
    assert states(view)["baseline"] == "not run"


def test_one_that_was_to_wait_is_taken_up_again() -> None:
    view = after(PLAN, told("spared", "finetune"))
    assert states(view)["finetune"] == "not trained"
    assert states(after(told("resumed", "finetune"), view=view))["finetune"] == "waiting"


def test_what_counts_replaces_what_was_only_tried() -> None:
    view = after(PLAN, trial("freeze@4", 0.5), trial("freeze@4", 0.9, purpose="tune"))
    assert lane(view, "freeze@4").accuracy == 0.5
    view = after(standing(freeze_4=[0.9, None, None, None, None]), view=view)
    assert lane(view, "freeze@4").cells == (0.9, None, None, None, None)
    view = after(standing(freeze_4=[None] * 5, dropped=("freeze@4",)), view=view)
    assert lane(view, "freeze@4").accuracy is None
    assert states(view)["freeze@4"] == "dropped"


def test_mean_accuracy_is_that_of_the_blocks_so_far() -> None:
    view = after(PLAN, trial("probe", 0.8, 0), trial("probe", 1.0, 3))
    assert lane(view, "probe").accuracy == pytest.approx(0.9)
    (row,) = [line for line in drawn(view) if line.startswith("> probe")]
    assert row.split() == [">", "probe", "▁··█·", "0.900", "block", "4", "of", "5"]


def test_a_failed_trial_is_no_score_and_the_learning_curve_no_block() -> None:
    view = after(PLAN, trial("probe", 0.0, error="diverged"), trial("probe", 0.7, purpose="curve"))
    assert lane(view, "probe").accuracy is None


def test_a_strategy_alone_is_tuned_and_done() -> None:
    plan = Event(kind="plan", text="", data={"rows": [{"name": "finetune"}], "blocks": 0})
    view = after(plan, begins("finetune", "tune", rate=1e-4))
    assert states(view) == {"finetune": "tuning"}
    assert states(after(phase("race", "end"), view=view)) == {"finetune": "done"}


def test_the_bar_tells_phase_share_and_time_left() -> None:
    view = after(PLAN, phase("race", "begin"), begins("probe", "block"))
    last = drawn(view)[-1]
    assert last.startswith("race ")
    assert " 30 % about 2 min 05 s left" in last
    text = ProgressEvent(kind="progress", text="view 3 of 9", done=1.0, total=0.0, seconds_left=None)
    assert drawn(after(text, view=view))[-1].rstrip().endswith("0 %  view 3 of 9")


def test_levels_go_from_the_lowest_to_the_highest_accuracy() -> None:
    assert sparkline((0.5, 0.75, 1.0, None), (0.5, 1.0)) == "▁▅█·"
    assert sparkline((0.5, 1.0, None), (0.5, 1.0), DIGITS) == "18."
    assert sparkline((0.1, 2.0), (0.5, 1.0)) == "▁█"  # beyond the scale
    assert sparkline((0.5,) * 30 + (None,) * 10, (0.5, 1.0)) == "30 of 40"
    view = after(PLAN, trial("probe", 0.9), trial("freeze@4", 0.7), trial("scratch", 0.1))
    assert "▁ 0.10 █ 0.90" in drawn(view)[1]
    assert "▁ 0.70 █ 0.90" in drawn(after(told("eliminated", "scratch"), view=view))[1]  # of those in the race


def many(count: int) -> RaceView:
    """A long race: strategies in every situation, `freeze@7` the one that runs, `probe` the leader."""
    names = ["probe", *(f"freeze@{k}" for k in range(count - 1))]
    view = after(Event(kind="plan", text="", data={"rows": [{"name": name} for name in names], "blocks": 5}))
    view = after(*(trial("probe", 0.9, block) for block in range(5)), view=view)
    view = after(*(trial(f"freeze@{k}", 0.5) for k in range(10)), view=view)
    view = after(*(told("eliminated", f"freeze@{k}") for k in range(6)), view=view)
    return after(begins("freeze@7", "block", 1), view=view)


@pytest.mark.parametrize("height", [2, 4, 5, 6, 8, 12, 24, 60])
@pytest.mark.parametrize("width", [30, 80, 200])
def test_it_is_never_taller_than_the_terminal_nor_wider(width: int, height: int) -> None:
    view = many(40)
    lines = drawn(view, width, height)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)


def test_on_a_low_terminal_the_rows_that_matter_stay_and_the_others_are_counted() -> None:
    view = many(40)
    lines = drawn(view, height=10)
    assert [line[2:10] for line in lines[2:-2]] == ["probe   ", "freeze@6", "freeze@7", "freeze@8", "freeze@9"]
    assert lines[4].startswith("> freeze@7")
    assert lines[-2] == "  and 35 more: 29 waiting, 6 dropped"
    shown, others = chosen_lanes(view, 100)
    assert (len(shown), others) == (40, [])


def test_every_row_is_readable_at_80_columns_without_colour() -> None:
    view = after(PLAN, standing(forecast={"finetune": 0.85}, probe=[0.9] * 5), told("spared", "finetune"))
    longest = replace(view.lanes[0], name="reinit-freeze@12", rate=3e-5)
    lines = drawn(replace(view, lanes=(*view.lanes, longest)))
    assert any("finetune" in line and line.rstrip().endswith("forecast 0.85, not trained") for line in lines)
    assert any("reinit-freeze@12" in line and "3e-05" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_terminal_without_block_characters_gets_ascii() -> None:
    view = after(PLAN, trial("probe", 0.8, 0), trial("probe", 1.0, 3))
    table = "\n".join(drawn(view, marks=DIGITS)[:-1])
    assert table.isascii()
    assert "1..8." in table


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = ("plan", "trial", "standing", "eliminated", "spared", "resumed", "ended", "phase", "progress", "new")
KEYS = ("rows", "blocks", "strategy", "purpose", "block", "rate", "accuracy", "strategies", "forecast", "state", "name")
FIXED = {"strategy": "probe", "purpose": "block", "state": "end", "name": "race", "dropped": ["probe"]}
DATA = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6)
EVENTS = st.builds(
    lambda kind, text, data, fixed: Event(kind=kind, text=text, data={**(FIXED if fixed else {}), **data}),
    st.sampled_from(KINDS),
    st.text(max_size=8),
    DATA,
    st.booleans(),
) | st.builds(
    lambda done, total, left, data: ProgressEvent(
        kind="progress", text="x", done=done, total=total, seconds_left=left, data=data
    ),
    JSON,
    JSON,
    JSON,
    DATA,
)


@settings(max_examples=80, deadline=None)
@given(events=st.lists(EVENTS, max_size=4), planned=st.booleans())
def test_a_damaged_or_unknown_event_never_breaks_the_drawing(events: list[Event], planned: bool) -> None:
    view = after(*([PLAN] if planned else []), *events)
    assert all(situation(view, lane) in SITUATIONS for lane in view.lanes)
    assert len(drawn(view, height=12)) < 12


@pytest.mark.parametrize("data", [None, [], "x", {"rows": 3}, {"rows": [{"name": 1}]}, {"seconds": "long"}])
def test_lasting_lines_of_damaged_events_are_drawn_as_their_text(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    live = LiveTable(Session())
    with live.display:
        for kind in ("plan", "phase", "new", "verdict"):
            live.emit(Event(kind=kind, text=f"the text of {kind}", data=data))
    for kind in ("plan", "new", "verdict"):
        assert f"the text of {kind}" in stream.getvalue()


INTERRUPTED = """
import json, sys
from frostline.base.events import Event, ProgressEvent
from frostline.cli.draw import drawing

with drawing(plain=False, json_lines=False) as screen:
    for kind, text, data in json.loads(sys.argv[1]):
        screen.emit(Event(kind=kind, text=text, data=data))
    screen.display.refresh()
    raise KeyboardInterrupt
"""


def test_an_interrupted_run_leaves_the_terminal_clean(tmp_path: Path) -> None:
    events = [PLAN, trial("probe", 0.9), Event(kind="warning", text="1 image [x] can't be read.")]
    words = [(e.kind, e.text, e.data) for e in events]
    code, written = run_in_terminal([sys.executable, "-c", INTERRUPTED, json.dumps(words)], cwd=tmp_path)
    screen = Terminal()
    frames = []
    for piece in written:
        screen.write(piece)
        frames.append(screen.text)
    assert code != 0
    assert screen.unknown == []
    assert any("> probe" in frame and "block 1 of 5" in frame for frame in frames)
    assert "warning: 1 image [x] can't be read." in screen.text
    assert "block 1 of 5" not in screen.text
    assert "starting" not in screen.text
    assert not screen.hidden
