"""Names that would steer a terminal or a spreadsheet: what the command prints shows them and doesn't obey."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.base.errors import DataError
from frostline.base.events import Event, ProgressEvent
from frostline.bundle.predict import Prediction
from frostline.cli import screen
from frostline.cli.draw import JsonLines, LiveTable, PlainLines
from frostline.cli.main import main
from frostline.cli.predict import print_csv, print_predictions, warn_of_file, write_csv
from frostline.cli.problems import handle
from frostline.cli.session import Session

NAMES = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;pwned\x07",
    "clipboard": "\x1b]52;c;aGk=\x07",
    "link": "\x1b]8;;http://example.com\x1b\\click\x1b]8;;\x1b\\",
    "eight bits": "\x9b31mred\x9d0;x\x9c",
    "overwritten": "honest\rforged",
    "next line": "x\nVERDICT  forged\x85z",
    "backwards": "a\u202egnp.exe",
    "isolated": "\u2066a\u2069",
    "separators": "a\u2028b\u2029c",
    "no text": "\udcff\udcfe",
    "bell": "\a\b\b\b",
}
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")


def assert_shown(text: str, name: str) -> None:
    """Nothing steers, no line begins with what the name has behind a line end, and the plain letters are there."""
    assert not STEERS.search(text)
    assert not re.search(r"^(VERDICT  )?forged", text, re.MULTILINE)
    assert name.encode("unicode_escape").decode().replace("\\\\", "\\") in text.replace("\\\\", "\\")


@pytest.mark.parametrize("case", NAMES)
def test_errors_and_warnings_show_names(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = NAMES[case]
    assert handle(DataError(f"{name} is no image.", f"Leave {name.splitlines()[0]} out."), Session()) == 2
    assert handle(RuntimeError(name), Session()) == 1
    screen.print_warning(f"{name} was left out")
    warn_of_file(name, "no image")
    told = capsys.readouterr()
    assert not told.out
    assert_shown(told.err, name)


@pytest.mark.parametrize("case", NAMES)
def test_events_show_names(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = NAMES[case]
    row = {"name": name, "happens": name, "trained_parameters": 1, "trials": 1, "operations": 1.0}
    events = [
        Event(kind="warning", text=f"{name} was left out"),
        Event(kind="note", text=name),
        Event(kind="plan", text=name, data={"rows": [row], "sentence": name}),
        Event(kind="phase", text=name, data={"state": "begin", "name": name}),
        Event(kind="trial", text=name),
    ]
    lines = PlainLines(Session(), clock=iter([0.0, 10.0, 20.0]).__next__)
    for event in events:
        lines.emit(event)
    lines.emit(ProgressEvent(kind="progress", text=name, done=1.0, total=2.0))
    assert_shown(capsys.readouterr().err, name)
    live = LiveTable(Session())
    live.emit(events[2])
    live.console.print(live._draw())
    assert not STEERS.search(capsys.readouterr().err)
    JsonLines(Session()).emit(events[0])
    out = capsys.readouterr().out
    assert not STEERS.search(out)
    assert json.loads(out)["text"] == events[0].text


@pytest.mark.parametrize("case", NAMES)
def test_results_show_names_and_json_keeps_them(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = NAMES[case]
    screen.print_table(("name", "value"), [(name, "1")])
    screen.print_text(f"a\n{name.splitlines()[0]}\n")
    print_predictions([Prediction(file=name, predicted=name, probabilities={name: 1.0})])
    assert not STEERS.search(capsys.readouterr().out)
    screen.print_json({name: [name]})
    out = capsys.readouterr().out
    assert not STEERS.search(out)
    assert json.loads(out) == {name: [name]}


def test_a_message_is_never_longer_than_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    handle(DataError("a" * 5_000_000), Session())
    assert len(capsys.readouterr().err) < 2100


@pytest.mark.parametrize("name", ["=cmd|'/C calc'!A1", "+1", "-1+2", "@SUM(A1)", "\t=1", "a;=1", "\uff1d1"])
def test_predictions_as_csv_hold_no_formula(name: str) -> None:
    text = io.StringIO()
    write_csv(text, [Prediction(file=f"{name}.png", predicted=name, probabilities={name: -0.5, "=b": 1.5})])
    header, row = csv.reader(io.StringIO(text.getvalue(), newline=""))
    assert row[2:] == ["-0.5", "1.5"]
    for cell in (*header, *row[:2]):
        assert re.match(r"'|p:|[a-z]|[+-]?\d+$", cell)
        assert ";=" not in cell


def test_csv_goes_to_a_pipe_as_it_is_and_to_a_terminal_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Prediction(file="\x1b[31mred.png", predicted="a", probabilities={"a": 1.0})]
    print_csv(found)
    assert "\x1b[31mred.png" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_csv(found)
    assert "\\x1b[31mred.png" in capsys.readouterr().out


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes and files with such names, as far as a file system lets them."""
    root = tmp_path_factory.mktemp("odd") / "two\n\x1b[31mlines"
    for number, name in enumerate(sorted(n for n in NAMES.values() if "/" not in n and n.isprintable() is False)):
        if re.search("[\ud800-\udfff]", name):
            continue
        folder = root / name
        folder.mkdir(parents=True)
        for index in range(6):
            noise = np.random.default_rng([number, index]).integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{name}{index}.png")
        (folder / f"{name}.jpg").write_bytes(b"no image")
    return root


@pytest.mark.parametrize("json_form", [False, True])
def test_check_on_a_folder_of_such_names_steers_nothing(
    odd_folder: Path, json_form: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", str(odd_folder), *(["--json"] if json_form else [])])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert not STEERS.search(told.out + told.err)
    assert not re.search(r"^(VERDICT  )?forged", told.out, re.MULTILINE)
    if json_form:
        assert NAMES["colour"] in json.dumps(json.loads(told.out), ensure_ascii=False).replace("\\u001b", "\x1b")


def test_a_record_forges_no_line_of_what_is_shown(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((trained_run / "result.json").read_text())
    record["verdict"]["reason"] = "x\nforged \x1b[2J"
    record["data"]["path"] = "y\nforged"
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert main(["show", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "x\\nforged \\x1b[2J" in out
    assert not STEERS.search(out)
    assert not re.search("^forged", out, re.MULTILINE)
    assert main(["show", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["reason"] == "x\nforged \x1b[2J"
