"""What the events of a run say of every strategy: the state of the live table (`live_table` draws it).

`follow` is a pure function of what was seen so far and an event. An event that isn't known, or can't be read, changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from frostline.base.events import Event, ProgressEvent

MOST_BLOCKS = 10_000  # that an event is believed
LARGEST = 1e300
OUT = ("dropped", "failed", "not trained", "not run")
# what a strategy is doing, the most relevant first
SITUATIONS = ("running", "in the race", "done", "waiting", *OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One strategy: accuracy on each block (None where it is open), the rate that is tried or chosen, the forecast
    accuracy, whether it was tuned, and its `fate` (one of SITUATIONS) once that is known."""

    name: str
    cells: tuple[float | None, ...] = ()
    rate: float | None = None
    forecast: float | None = None
    tuned: bool = False
    fate: str = ""

    @property
    def measured(self) -> list[float]:
        """Accuracies on the blocks that are done."""
        return [cell for cell in self.cells if cell is not None]

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy on the blocks so far."""
        if not self.measured:
            return None
        return sum(self.measured) / len(self.measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceView:
    """All that is drawn. `running` names the strategy that trains now, `block` its block (None while it is tuned).

    `done` and `total` are counted operations; `detail` is the latest of what is worth a glance.
    """

    lanes: tuple[Lane, ...] = ()
    blocks: int = 0
    running: str | None = None
    block: int | None = None
    phase: str = "starting"
    detail: str = ""
    done: float = 0.0
    total: float = 0.0
    seconds_left: float | None = None

    def with_lane(self, name: object, **changes: Any) -> RaceView:
        """Return the view with one lane changed; the same where there is no such lane."""
        return replace(self, lanes=tuple(replace(x, **changes) if x.name == name else x for x in self.lanes))


def follow(view: RaceView, event: Event) -> RaceView:
    """Return what is seen after an event."""
    data = _read_dict(event.data)
    reader = READERS.get(str(event.kind))
    if isinstance(event, ProgressEvent):
        view = _after_progress(view, event, data)
    elif reader is not None:
        view = reader(view, data)
    if event.kind == "trial":
        view = replace(view, detail=one_line(event.text))
    if event.kind == "phase" and data.get("state") == "begin":
        view = replace(view, phase=one_line(event.text or data.get("name", "")), detail="")
    return view


def _after_plan(view: RaceView, data: Mapping[str, Any]) -> RaceView:
    blocks = _read_count(data.get("blocks"))
    rows = [row.get("name") for row in _read_list(data.get("rows")) if isinstance(row, dict)]
    names = dict.fromkeys(name for name in rows if isinstance(name, str))
    lanes = tuple(Lane(name=name, cells=(None,) * blocks) for name in names)
    return replace(view, lanes=lanes, blocks=blocks, running=None, block=None)


def _after_progress(view: RaceView, event: ProgressEvent, data: Mapping[str, Any]) -> RaceView:
    names = {lane.name for lane in view.lanes}
    detail = view.detail
    if event.text and event.text not in names:  # a strategy's name is marked in the table
        detail = one_line(event.text)
    view = replace(
        view,
        detail=detail,
        done=_read_number(event.done) or 0.0,
        total=_read_number(event.total) or 0.0,
        seconds_left=_read_number(event.seconds_left),
    )
    if data.get("state") != "begin":
        return view
    return _running(view, data)


def _running(view: RaceView, data: Mapping[str, Any]) -> RaceView:
    """Mark the strategy that a trial belongs to, and its rate."""
    name = data.get("strategy")
    purpose = data.get("purpose")
    if purpose not in ("tune", "block") or not isinstance(name, str):
        return view
    block = None
    if purpose == "block":
        block = _read_count(data.get("block"))
    rate = _read_number(data.get("rate"))
    if rate is not None:
        view = view.with_lane(name, rate=rate)
    return replace(view, running=name, block=block)


def _after_trial(view: RaceView, data: Mapping[str, Any]) -> RaceView:
    name = data.get("strategy")
    view = _running(view, data)
    accuracy = _read_share(data.get("accuracy"))
    block = data.get("block")
    if data.get("purpose") == "tune":
        return view.with_lane(name, tuned=True)
    if data.get("purpose") != "block" or data.get("error") or accuracy is None or type(block) is not int:
        return view
    for lane in view.lanes:
        if lane.name == name and 0 <= block < len(lane.cells):
            return view.with_lane(name, cells=(*lane.cells[:block], accuracy, *lane.cells[block + 1 :]))
    return view


def _after_standing(view: RaceView, data: Mapping[str, Any]) -> RaceView:
    """Take over what counts: a trial that was only tried may have stood in a cell."""
    strategies = _read_dict(data.get("strategies"))
    forecast = _read_dict(data.get("forecast"))
    for lane in view.lanes:
        found = strategies.get(lane.name)
        if isinstance(found, dict):
            cells = [_read_share(value) for value in _read_list(found.get("accuracy"))[: view.blocks]]
            cells += [None] * (view.blocks - len(cells))
            view = view.with_lane(lane.name, cells=tuple(cells), rate=_read_number(found.get("rate")) or lane.rate)
        foreseen = _read_share(forecast.get(lane.name))
        if foreseen is not None:
            view = view.with_lane(lane.name, forecast=foreseen)
    for fate in ("dropped", "failed"):
        for name in _read_list(data.get(fate)):
            view = view.with_lane(name, fate=fate)
    return view


def _after_ended(view: RaceView, _data: Mapping[str, Any]) -> RaceView:
    """No further block is run: what is still in the race is done."""
    for lane in view.lanes:
        if lane.measured and not lane.fate:
            view = view.with_lane(lane.name, fate="done")
    return replace(view, running=None, block=None)


def _after_phase(view: RaceView, data: Mapping[str, Any]) -> RaceView:
    if data.get("name") != "race" or data.get("state") != "end":
        return view
    view = _after_ended(view, data)
    fate = "done"  # a strategy alone runs no blocks
    if view.blocks:
        fate = "not run"
    for lane in view.lanes:
        if not lane.fate:
            view = view.with_lane(lane.name, fate=fate)
    return view


def _fate_reader(fate: str) -> Callable[[RaceView, Mapping[str, Any]], RaceView]:
    """Return a reader of events that settle one strategy."""

    def read(view: RaceView, data: Mapping[str, Any]) -> RaceView:
        return view.with_lane(data.get("strategy"), fate=fate)

    return read


READERS: Mapping[str, Callable[[RaceView, Mapping[str, Any]], RaceView]] = {
    "plan": _after_plan,
    "trial": _after_trial,
    "standing": _after_standing,
    "eliminated": _fate_reader("dropped"),
    "spared": _fate_reader("not trained"),
    "resumed": _fate_reader(""),
    "ended": _after_ended,
    "phase": _after_phase,
}


def _read_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        return None
    return float(value)


def _read_share(value: object) -> float | None:
    number = _read_number(value)
    if number is None or not 0.0 <= number <= 1.0:
        return None
    return number


def _read_count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST_BLOCKS:
        return 0
    return value


def _read_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        return []
    return value


def _read_dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return value


def one_line(text: object) -> str:
    """Return a text on one line, without control characters."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(printable.split())


def situation(view: RaceView, lane: Lane) -> str:
    """Return what a strategy is doing: one of SITUATIONS."""
    if lane.fate:
        return lane.fate
    if lane.name == view.running:
        return "running"
    if view.blocks and len(lane.measured) == view.blocks:
        return "done"
    if lane.measured or lane.tuned:
        return "in the race"
    return "waiting"
