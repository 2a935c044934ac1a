"""log.jsonl of a RUN folder: what happened, line by line, for whoever has to find out what went wrong.

Each line is one JSON object with the same fields (docs/record.md). A line is written by one call, so processes don't
mix theirs; one that a crash or a full disk cut short is ended before the next, and `read_log` counts it and goes on.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frostline.base.device import machine
from frostline.base.errors import describe
from frostline.base.events import Emit, Event, ProgressEvent, listening
from frostline.base.files import parse_json
from frostline.base.memory import anonymous_mb
from frostline.base.packages import package_versions
from frostline.base.version import VERSION
from frostline.base.worker import deaths
from frostline.bundle.runfolder import RunFolder

LOG = "log.jsonl"
SECONDS_BETWEEN_PROGRESS = 1.0
# What some readers take for the end of a line, terminals for a command, and what UTF-8 has no bytes for.
_TO_ESCAPE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class RunLog:
    """Passes events on to a listener and writes them to log.jsonl, from when there is a RUN folder; earlier ones then.

    A line that can't be written (the disk is full) is no reason to end a run: that is said once, and the next line
    that can be written says how many are missing.
    """

    listener: Emit
    started: float = field(default_factory=time.perf_counter)
    peak_anonymous_mb: float = 0.0  # at any event so far: the allocator keeps what it has, so little comes between
    _path: Path | None = None
    _early: list[dict[str, Any]] = field(default_factory=list)
    _missing: int = 0
    _complained: bool = False
    _progress_at: float = -math.inf

    def emit(self, event: Event) -> None:
        self.listener(event)
        now = anonymous_mb()
        self.peak_anonymous_mb = max(self.peak_anonymous_mb, now)
        if isinstance(event, ProgressEvent) and not event.data and not self._progress_is_due():
            return
        self._write(self._line(event, now))

    def attach(self, folder: RunFolder) -> None:
        """Write to this folder from now on, and name it to the listener. A log that lies there is continued."""
        path = folder.path / LOG
        facts = {
            "version": VERSION,
            "command": shlex.join(sys.argv),
            "machine": machine(),
            "packages": package_versions(),
        }
        first = Event(kind="begin", text=f"begun by frostline {VERSION}", data=facts)
        if _size(path):
            before = [asdict(death) for death in deaths()]
            first = Event(kind="resume", text=f"resumed by frostline {VERSION}", data={**facts, "deaths": before})
        self._path = path
        early = [self._line(first, anonymous_mb()), *self._early]
        self._early.clear()
        for line in early:
            self._write(line)
        self.emit(Event(kind="note", text=f"writing {folder.path}", data={"run": str(folder.path)}))

    def close(self, error: BaseException | None = None) -> None:
        """Write the last line: how the run ended. Nobody is told of it but the log, and nothing where there is none."""
        if self._path is None:
            return
        kind = "end"
        text = "complete"
        data: dict[str, Any] = {"peak_anonymous_mb": round(self.peak_anonymous_mb, 1)}
        if isinstance(error, KeyboardInterrupt):
            kind = "interrupted"
            text = "interrupted"
        elif error is not None:
            kind = "error"
            text = str(error) or type(error).__name__
            data = {**describe(error), **data}
        self._write(self._line(Event(kind=kind, text=text, data=data), anonymous_mb()))

    def _progress_is_due(self) -> bool:
        now = time.perf_counter()
        if now - self._progress_at < SECONDS_BETWEEN_PROGRESS:
            return False
        self._progress_at = now
        return True

    def _line(self, event: Event, memory_mb: float) -> dict[str, Any]:
        data = dict(event.data)
        if isinstance(event, ProgressEvent):
            data |= {"done": event.done, "total": event.total, "seconds_left": event.seconds_left}
        return {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "seconds": round(time.perf_counter() - self.started, 3),
            "pid": os.getpid(),
            "memory_mb": round(memory_mb, 1),
            "kind": event.kind,
            "text": event.text,
            "data": data,
        }

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is None:
            self._early.append(line)
            return
        try:
            if self._missing:
                text = f"{self._missing} lines are missing here: they couldn't be written."
                append(self._path, {**line, "kind": "missing", "text": text, "data": {"lines": self._missing}})
                self._missing = 0
            append(self._path, line)
        except OSError as error:
            self._missing += 1
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if self._complained:
            return
        self._complained = True
        text = f"{self._path} can't be written ({error.strerror}): the run goes on, and its log will lack lines."
        self.listener(Event(kind="warning", text=text))


@contextlib.contextmanager
def logged(log: RunLog) -> Iterator[None]:
    """Hear what is told in this block, and end the log with it: as complete, interrupted or with the error."""
    with listening(log.emit):
        try:
            yield
        except BaseException as error:
            log.close(error)
            raise
        log.close()


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line by one write, after the end of a line that was cut short. Raises OSError; half a line is taken
    back."""
    text = json.dumps(as_json_has_it(line), ensure_ascii=False, allow_nan=False)
    text = _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    content = text.encode() + b"\n"
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(file).st_size
        os.lseek(file, max(0, size - 1), os.SEEK_SET)
        if size and os.read(file, 1) != b"\n":
            content = b"\n" + content
        written = os.write(file, content)
        if written < len(content):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


def as_json_has_it(value: Any) -> Any:
    """Return a value as JSON has it: numbers that are none as null, what JSON doesn't know as its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "item") and not getattr(value, "shape", ()):  # a number of NumPy or torch
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json_has_it(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json_has_it(one) for one in value]
    if isinstance(value, int):
        return value
    return str(value)


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read the lines of a log, and count those that can't be read: cut short, or not ours. None where there is no file.

    Raises OSError where the file can't be read.
    """
    if not path.is_file():
        return [], 0
    lines = []
    damaged = 0
    for text in path.read_bytes().split(b"\n"):
        if not text.strip():
            continue
        try:
            found = parse_json(text)
        except ValueError:
            damaged += 1
            continue
        if isinstance(found, dict):
            lines.append(found)
        else:
            damaged += 1
    return lines, damaged


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
