"""`frostline doctor --bundle`: a bug report has what it needs, and no name of anybody's data, places or machine."""

from __future__ import annotations

import base64
import getpass
import json
import platform
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from cases.small_world import write_images
from frostline.base.errors import DataError
from frostline.base.events import silent
from frostline.bundle.runfolder import RunFolder
from frostline.bundle.runlog import RunLog, logged
from frostline.cli.main import main

Fit = Callable[..., SimpleNamespace]
CLASSES = ("Grünspan Kröte 🐸", "zwölf,=2+3", "Ωmega<b>&", "quuxling")
ODD_FILE = "Frau Mümmelmann's Röntgen №7"
PLACES = ("Haus am Szczęście", "geheimprojekt-xyzzy")
WORDS = ("--strategies", "probe,freeze@4", "--epochs", "1", "--blocks", "2", "--lr", "0.001", "--threads", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("support").joinpath(*PLACES)


@pytest.fixture(scope="module")
def run(fit: Fit, place: Path) -> Path:
    """A run on data with odd names, one image of which is cut short."""
    data = write_images(place / "sammlung_daten", dict.fromkeys(CLASSES, 6))
    for name in CLASSES:
        for index, file in enumerate(sorted((data / name).iterdir())):
            file.rename(file.with_name(f"{ODD_FILE} {name[:2]}{index}.png"))
    cut = data / CLASSES[0] / f"kaputt {ODD_FILE}.png"
    cut.write_bytes(next((data / CLASSES[1]).iterdir()).read_bytes()[:90])
    out = place / "lauf_eins"
    done = fit(data, *WORDS, "--store", "off", "--out", out, model="glyphs", weights=None)
    assert done.code == 0, done.err
    return out


def written(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name: file.read(name).decode("ascii") for name in file.namelist()}


def spellings(name: str) -> set[str]:
    """A name as it is, and as encodings and escapes would have it."""
    forms = {name, unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)}
    found = set(forms)
    for form in forms:
        found |= {json.dumps(form)[1:-1], repr(form)[1:-1], ascii(form)[1:-1], quote(form)}
        found |= {form.encode().decode("latin-1"), form.encode("unicode_escape").decode(), form.lower(), form.upper()}
        found |= {form.encode().hex(), base64.b64encode(form.encode()).decode()}
    return found


def names(run: Path, place: Path) -> set[str]:
    """What may not be in a bundle: classes, files, folders, user, host."""
    data = place / "sammlung_daten"
    files = {part for p in data.rglob("*") for part in (p.name, p.stem)}
    places = {part for part in run.resolve().parts if part not in ("/", "tmp")} | {data.name, str(data), str(run)}
    pieces = {"Mümmelmann", "Röntgen", "Kröte", "Grünspan", "Szczęście", "xyzzy", "kaputt"}
    machine = {getpass.getuser(), platform.node()}
    return {*CLASSES, *files, *places, *pieces, *machine} - {""}


def fail(folder: RunFolder, file: Path) -> None:
    """End a run with an error that names all it can."""
    log = RunLog(silent)
    with logged(log):
        log.attach(folder)
        try:
            file.with_name(f"nicht da {ODD_FILE}").read_bytes()
        except OSError as error:
            raise DataError(f"{file} can't be read: {error}.", f"Look at {file.name!r} of {CLASSES[3]}.") from error


def assert_nameless(members: dict[str, str], hidden: set[str]) -> None:
    everything = "\n".join([*members, *members.values()])
    found = {name for name in hidden for form in spellings(name) if len(form) > 2 and form in everything}
    assert not found


def test_a_bundle_of_a_run_has_what_a_report_needs_and_no_names(
    run: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    target = run.parent / "report.zip"
    assert main(["doctor", "--bundle", str(target), "--run", str(run)]) == 0
    told = capsys.readouterr().out
    members = written(target)
    assert_nameless(members, names(run, place) | {"hf_abcdefgh", "SECRET_TOKEN"})
    assert "Nothing was sent" in told
    assert all(name in told for name in members)
    about: dict[str, Any] = json.loads(members["run.json"])
    assert about["log_ends_with"] == "complete"
    assert about["settings"]["model"] == "glyphs"
    assert about["model"]["stages"][0]["name"] == "stem"
    assert about["model"]["stages"][0]["output_shape"]
    assert {s["name"] for s in about["strategies"]} == {"probe", "freeze@4"}
    assert about["data"]["warnings"][0]["kind"] == "unreadable"
    assert about["packages"]["torch"]
    assert json.loads(members["environment.json"])["OMP_NUM_THREADS"] == "1"
    lines = [json.loads(line) for line in members["log.jsonl"].splitlines()]
    assert lines[0]["kind"] == "begin"
    assert "command" not in lines[0]["data"]
    (classes,) = [line for line in lines if line["kind"] == "classes"]
    assert set(classes["data"]) == {"class-1", "class-2", "class-3", "class-4"}
    assert "'class-1' (5 to learn from" in classes["text"]


def test_a_bundle_of_a_run_that_failed_has_its_traceback_and_no_names(
    run: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = run.parent / "lauf_zwei"
    shutil.copytree(run / "model", failed / ".work" / "model")
    cut = place / "sammlung_daten" / CLASSES[0] / f"kaputt {ODD_FILE}.png"
    with pytest.raises(DataError):
        fail(RunFolder(failed), cut)
    with (failed / "log.jsonl").open("ab") as file:
        file.write(b'{"time": "2026-11-28T08:09:48.678Z", "text": "Gr\xc3\xbcns')
    target = tmp_path / "report.zip"
    assert main(["doctor", "--bundle", str(target), "--run", str(failed), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    members = written(target)
    assert {m["name"] for m in told["files"]} == set(members)
    assert_nameless(members, names(run, place) | {"nicht da", failed.name})
    about = json.loads(members["run.json"])
    assert (about["log_ends_with"], about["log_lines_that_cannot_be_read"]) == ("error", 1)
    last = json.loads(members["log.jsonl"].splitlines()[-1])
    assert last["data"]["class"] == "DataError"
    assert last["data"]["docs"] == "docs/errors.md#dataerror"
    assert last["data"]["causes"][0]["class"] == "FileNotFoundError"
    assert "can't be read" in last["data"]["message"]
    assert last["data"]["traceback"][0].startswith("frostline/bundle/runlog.py:")


def test_the_newest_run_is_taken_and_no_file_is_replaced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--bundle", "none.zip"]) == 0
    assert "no run in runs/" in capsys.readouterr().out
    assert "run.json" not in written(tmp_path / "none.zip")
    shutil.copytree(run, tmp_path / "runs" / "older")
    (tmp_path / "runs" / "newer").mkdir()
    (tmp_path / "runs" / "newer" / "log.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "runs" / "no-run").mkdir()
    assert main(["doctor", "--bundle", "one.zip"]) == 0
    assert "runs/newer" in capsys.readouterr().out
    before = (tmp_path / "one.zip").read_bytes()
    for words, says in (
        (("--bundle", "one.zip"), "exists already"),
        (("--bundle", "none/two.zip"), "there is no folder none"),
        (("--bundle", "two.zip", "--run", "runs/no-run"), "is no RUN folder"),
        (("--run", "runs/newer"), "--run doesn't apply"),
    ):
        assert main(["doctor", *words]) == 2
        assert says in capsys.readouterr().err
    assert (tmp_path / "one.zip").read_bytes() == before
    assert not (tmp_path / "two.zip").exists()
