"""Listeners that write a run's events for a tracker of experiments: today TensorBoard (docs/tracking.md).

They listen to the events and do nothing else, so a run with one is the run without: same bits, same record.
"""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.base.errors import RecipeError
from frostline.base.events import Emit, Event, silent
from frostline.base.files import write_atomic
from frostline.bundle.runfolder import TENSORBOARD

EVENTS_FILE = "events.out.tfevents.frostline"  # one in each TensorBoard run; always this name, so nothing doubles
FORMAT = "brain.Event:2"  # of the file, as its first record has to say
WRITTEN_WITH = (  # asked for at once, so that what is missing is said before anything is computed
    *("tensorboard", "tensorboard.compat.proto.event_pb2", "tensorboard.summary.writer.record_writer"),
    *("tensorboard.plugins.hparams.summary_v2", "tensorboard.plugins.text.summary_v2"),
)
Summaries = Iterator[tuple[int, Any]]  # each of them at a step


def listener(track: str | None) -> Emit:
    """Return the listener that `--track` names. Raises RecipeError for a tracker that isn't known or installed."""
    if track is None:
        return silent
    if track not in TRACKERS:
        raise RecipeError(f"--track {track!r} is not known.", f"Known: {', '.join(TRACKERS)}.")
    return TRACKERS[track]()


def both(first: Emit, second: Emit) -> Emit:
    """Return a listener that hands every event to two others."""

    def emit(event: Event) -> None:
        first(event)
        second(event)

    return emit


def tensorboard(folder: str | Path | None = None) -> Emit:
    """Return a listener that writes one TensorBoard run per trial, and the verdict as text; `emit` of `fit` takes it.

    A trial that is met again, as an interrupted run goes on, is written again in its place.

    Args:
        folder: where the TensorBoard runs go. By default `tensorboard` in the RUN folder, which a run's events name.

    Raises:
        RecipeError: where the extra `track` isn't installed.
    """
    try:
        for module in WRITTEN_WITH:
            importlib.import_module(module)
    except ImportError as error:
        raise RecipeError(
            f"--track tensorboard needs a package that isn't installed ({error.name}).",
            "pip install 'frostline[track]'",
        ) from error
    return _Board(fixed=Path(folder) if folder else None).emit


TRACKERS: Mapping[str, Callable[[], Emit]] = {"tensorboard": tensorboard}


@dataclass
class _Board:
    """Knows from earlier events which RUN folder is written, and what the plan says of each strategy."""

    fixed: Path | None
    run: str | None = None
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def emit(self, event: Event) -> None:
        """Write what a trial or the verdict brings; a run names its folder before either."""
        self.run = event.data.get("run", self.run)
        if event.kind == "plan":
            self.rows = {row["name"]: row for row in event.data["rows"]}
        if self.run is None:
            return
        folder = self.fixed or Path(self.run) / TENSORBOARD
        if event.kind == "trial":
            name = _TrialName.of(event.data["key"])
            summaries = _trial_summaries(name, self.run, event.data, self.rows.get(name.strategy, {}))
            _write_events(folder / name.run, summaries)
        elif event.kind == "verdict":
            _write_events(folder / "verdict", _verdict_summaries(event))


@dataclass(frozen=True)
class _TrialName:
    """What tells a trial from all others, read from the key of recipe.Trial: `block/freeze@4/0/0.001/150 steps`."""

    strategy: str
    purpose: str
    block: int
    others: Mapping[str, str]  # rate, steps and labels, where the key has them

    @classmethod
    def of(cls, key: str) -> _TrialName:
        purpose, strategy, block, rate, *rest = key.split("/")
        others = {}
        if rate != "-":
            others["rate"] = rate
        for part in rest:
            count, _, unit = part.partition(" ")
            others[unit or "labels"] = count
        return cls(strategy, purpose, int(block), others)

    @property
    def run(self) -> str:
        """Its TensorBoard run: `freeze@4/block-1-rate-0.001-steps-150`, blocks counted from 1."""
        return self._joined(f"{self.purpose}-{self.block + 1}")

    @property
    def group(self) -> str:
        """The name that it shares with the trials on other blocks: `freeze@4/block-rate-0.001-steps-150`."""
        return self._joined(self.purpose)

    def _joined(self, first: str) -> str:
        return f"{self.strategy}/" + "-".join([first, *(f"{name}-{value}" for name, value in self.others.items())])


def _trial_summaries(name: _TrialName, run: str, data: Mapping[str, Any], row: Mapping[str, Any]) -> Summaries:
    """Yield parameters, loss curve, metrics and end of a trial. `row` is the plan's, of its strategy."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    now = time.time()
    steps = data["steps"]
    failed = data["error"] is not None
    # trials of one group are one row of TensorBoard's HPARAMS, with the mean of their metrics
    group = f"{run}/{name.group}"
    yield 0, hparams_pb(_parameters(name, data, row), trial_id=group, start_time_secs=now - data["seconds"])
    for point in data["curve"]:
        losses = {"loss/train": point["train_loss"], "loss/validation": point["validation_loss"]}
        yield point["step"], _scalars(losses)
    if failed:
        yield steps, text_pb("error", data["error"])
    else:
        yield steps, _scalars({tag: data[tag] for tag in ("accuracy", "log_loss")})
    yield steps, _scalars({tag: data[tag] for tag in ("rate", "steps", "seconds")})
    yield steps, _end(now, failed=failed)


def _parameters(name: _TrialName, data: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the trial was run with, for TensorBoard's HPARAMS; what it doesn't have is left out."""
    values = {
        "strategy": name.strategy,
        "purpose": name.purpose,
        "rate": data["rate"],
        "steps": data["steps"],
        "weights": row.get("happens"),
        "trained_parameters": row.get("trained_parameters"),
    }
    if "labels" in name.others:
        values["labels"] = int(name.others["labels"])
    return {parameter: value for parameter, value in values.items() if value is not None}


def _scalars(values: Mapping[str, float | None]) -> Any:
    """Return a summary of those values that are there, in float32."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    there = {tag: value for tag, value in values.items() if value is not None}
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in there.items()])


def _end(now: float, *, failed: bool) -> Any:
    """Return the summary that ends a session of TensorBoard's HPARAMS, whose own function for it needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = api_pb2.STATUS_SUCCESS
    if failed:
        status = api_pb2.STATUS_FAILURE
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=now))
    described = metadata.create_summary_metadata(content)
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=described, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _verdict_summaries(event: Event) -> Summaries:
    from tensorboard.plugins.text.summary_v2 import text_pb

    yield 0, text_pb("verdict", f"**{event.data['strategy']}**\n\n{event.text}")


def _write_events(folder: Path, summaries: Summaries) -> None:
    """Write the events file of one TensorBoard run.

    tensorboard's EventFileWriter and torch's SummaryWriter aren't used: they import TensorFlow where it is installed,
    run a thread per file, and put the machine's name into the file's.
    """
    from tensorboard.compat.proto.event_pb2 import Event as Record
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Record(wall_time=now, file_version=FORMAT).SerializeToString())
    for step, summary in summaries:
        writer.write(Record(wall_time=now, step=step, summary=summary).SerializeToString())
    # a TensorBoard that is running opens whatever has `tfevents` in its name, so that comes last
    unfinished = folder / "unfinished"
    write_atomic(unfinished, content.getvalue())
    unfinished.replace(folder / EVENTS_FILE)
