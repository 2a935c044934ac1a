"""log.jsonl: lines that programs can read, whatever is told and whatever cuts them short."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.base.errors import TrialError
from frostline.base.events import Event, ProgressEvent, silent, tell
from frostline.bundle.runfolder import RunFolder
from frostline.bundle.runlog import LOG, RunLog, append, logged, read_log

FIELDS = ["time", "seconds", "pid", "memory_mb", "kind", "text", "data"]


def log_of(folder: Path, *events: Event, error: BaseException | None = None) -> list[dict[str, Any]]:
    """The lines of a run that emits these events."""
    log = RunLog(silent)
    log.emit(Event(kind="note", text="before there was a folder"))
    log.attach(RunFolder(folder))
    for event in events:
        log.emit(event)
    log.close(error)
    return read_log(folder / LOG)[0]


def failing(folder: Path) -> None:
    """End a run with an error."""
    log = RunLog(silent)
    with logged(log):
        log.attach(RunFolder(folder))
        raise TrialError("The loss is nan.", "Give a lower --lr.") from KeyError("weight")


def test_every_line_has_the_same_fields(tmp_path: Path) -> None:
    lines = log_of(tmp_path, Event(kind="trial", text="probe", data={"accuracy": 0.5, "error": "diverged"}))
    assert all(list(line) == FIELDS for line in lines)
    assert [line["kind"] for line in lines] == ["begin", "note", "note", "trial", "end"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert {"version", "command", "machine", "packages"} == set(lines[0]["data"])
    assert lines[3]["data"] == {"accuracy": 0.5, "error": "diverged"}
    assert {line["pid"] for line in lines} == {os.getpid()}


def test_a_run_that_is_taken_up_says_so(tmp_path: Path) -> None:
    log_of(tmp_path)
    lines = log_of(tmp_path)
    assert [line["kind"] for line in lines] == ["begin", "note", "note", "end", "resume", "note", "note", "end"]


def test_an_error_is_told_with_our_own_lines_and_its_causes(tmp_path: Path) -> None:
    with pytest.raises(TrialError):
        failing(tmp_path)
    data = read_log(tmp_path / LOG)[0][-1]["data"]
    assert (data["class"], data["message"], data["hint"]) == ("TrialError", "The loss is nan.", "Give a lower --lr.")
    assert data["docs"] == "docs/errors.md#trialerror"
    assert data["causes"] == [{"class": "KeyError", "message": "'weight'", "traceback": []}]
    assert all(re.fullmatch(r"frostline/[\w/]+\.py:\d+ in \w+", line) for line in data["traceback"])
    assert data["elsewhere"] > 0


def test_an_interrupted_run_says_so_and_one_without_a_folder_nothing(tmp_path: Path) -> None:
    assert log_of(tmp_path, error=KeyboardInterrupt())[-1]["kind"] == "interrupted"
    with logged(RunLog(silent)):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [LOG]


@pytest.mark.parametrize(
    "text",
    [
        "Ünïcode ✓",
        "two\nlines\r\n",
        "seen as\u2028line\x85ends",
        "bytes \udcff\udc80",
        "\x1b[31mred\x9b",
        "\u202egnp.exe",
    ],
)
def test_any_text_is_one_line_of_json_for_every_reader(text: str, tmp_path: Path) -> None:
    lines = log_of(tmp_path, Event(kind="warning", text=text, data={text: text}))
    assert lines[-2]["text"] == text
    assert lines[-2]["data"] == {text: text}
    content = (tmp_path / LOG).read_bytes().decode("utf-8")
    assert len(content.splitlines()) == len(lines)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", content)


def test_numbers_that_are_none_are_null_and_others_stay(tmp_path: Path) -> None:
    data = {"loss": float("nan"), "worst": [float("inf"), np.float32(0.5), np.int64(3)], "path": tmp_path, "x": (1,)}
    line = log_of(tmp_path, Event(kind="trial", text="", data=data))[-2]
    assert line["data"] == {"loss": None, "worst": [None, 0.5, 3], "path": str(tmp_path), "x": [1]}


def test_progress_is_written_once_a_second_but_each_trial_that_begins(tmp_path: Path) -> None:
    plain = [ProgressEvent(kind="progress", text="probe", done=float(i), total=9.0) for i in range(5)]
    begins = ProgressEvent(kind="progress", text="probe", done=5.0, total=9.0, data={"state": "begin"})
    lines = log_of(tmp_path, *plain, begins)
    assert [line["data"] for line in lines if line["kind"] == "progress"] == [
        {"done": 0.0, "total": 9.0, "seconds_left": None},
        {"state": "begin", "done": 5.0, "total": 9.0, "seconds_left": None},
    ]


@pytest.mark.parametrize("cut", [b'{"time": "2026', b'{"text": "Gr\xc3', b"\x00\x00", b"[1, 2]", b'{"a": ' * 9999])
def test_a_line_that_was_cut_short_spoils_no_other(cut: bytes, tmp_path: Path) -> None:
    whole = log_of(tmp_path)
    with (tmp_path / LOG).open("ab") as file:
        file.write(cut)
    append(tmp_path / LOG, {"kind": "resume"})
    assert read_log(tmp_path / LOG) == ([*whole, {"kind": "resume"}], 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_log_that_cannot_be_written_is_said_once_and_ends_no_run(tmp_path: Path) -> None:
    path = tmp_path / LOG
    path.symlink_to("/dev/full")
    heard: list[Event] = []
    log = RunLog(heard.append)
    with logged(log):
        log.attach(RunFolder(tmp_path))
        log.emit(Event(kind="note", text="lost"))
        path.unlink()  # there is room again
        tell(Event(kind="warning", text="from deep within"))
    warnings = [event.text for event in heard if event.kind == "warning"]
    assert len(warnings) == 2
    assert "No space left on device" in warnings[0]
    assert "the run goes on" in warnings[0]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["missing", "warning", "end"]
    assert lines[0]["data"] == {"lines": 3}
    assert lines[1]["text"] == "from deep within"


def test_a_folder_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert read_log(tmp_path / LOG) == ([], 0)
