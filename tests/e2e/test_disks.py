"""Full disks and read-only folders: one sentence, nothing spoilt, and the same bits once there is room again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cases.small_world import write_images
from frostline.base.files import cache_folder
from frostline.bundle.runfolder import hashes
from frostline.cli.main import main
from helpers.disks import Disk, small_disk

Fit = Callable[..., SimpleNamespace]
Refused = Callable[..., str]
WORDS = ("--strategies", "probe,freeze@4", "--epochs", "1", "--blocks", "2", "--lr", "0.001", "--threads", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"left": 10, "right": 10})


@pytest.fixture(scope="module")
def glyphs(fit: Fit, data: Path) -> Fit:
    """A fit of a second, on the data or a copy of them."""

    def run(*words: object, of: Path = data) -> SimpleNamespace:
        return fit(of, *WORDS, *words, model="glyphs", weights=None)

    return run


@pytest.fixture(scope="module")
def reference(glyphs: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    out = tmp_path_factory.mktemp("reference") / "run"
    done = glyphs("--out", out, "--store", tmp_path_factory.mktemp("store"))
    assert done.code == 0, done.err
    return out


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", "60m") as mounted:
        yield mounted


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """The sentence and the hint of a command that can't write."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        return one_sentence(capsys.readouterr().err)

    return run


def one_sentence(err: str) -> str:
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    told = err[err.index("error: ") :]
    assert told.splitlines()[0].endswith(".")
    assert "/." not in told.splitlines()[0], "a temporary file's name says nothing"
    return told


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("size", "with_store"), [("100k", False), ("500k", True)])
def test_a_full_disk_ends_a_run_that_goes_on_once_there_is_room(
    size: str, with_store: bool, disk: Disk, glyphs: Fit, reference: Path, tmp_path: Path
) -> None:
    disk.set(f"size={size}")
    out = disk.path / "run"
    store = disk.path / "store" if with_store else tmp_path / "store"
    told = one_sentence(glyphs("--out", out, "--store", store).err)
    assert f"Can't access {out}" in told
    assert "No space left on device." in told
    assert "--resume" in told
    assert disk.temporary_files() == []
    assert not (out / "result.json").exists()
    disk.set("size=60m")
    done = glyphs("--out", out, "--store", store, "--resume")
    assert done.code == 0, done.err
    assert hashes(out) == hashes(reference)
    assert [line["kind"] for line in log(out)].count("resume") == 1
    assert log(out)[-1]["kind"] == "end"


@pytest.mark.parametrize("size", ["60k", "300k"])  # full at once, and in the middle of training
def test_a_full_store_does_not_end_a_run(size: str, disk: Disk, glyphs: Fit, reference: Path, tmp_path: Path) -> None:
    disk.set(f"size={size}")
    out = tmp_path / "run"
    done = glyphs("--out", out, "--store", disk.path / "store")
    assert done.code == 0, done.err
    assert done.err.count("the run goes on without storing") == 1
    assert hashes(out) == hashes(reference)
    assert [line["text"] for line in log(out) if "without storing" in line["text"]]
    assert disk.temporary_files() == []


def test_a_disk_with_no_room_for_the_page_or_a_table(disk: Disk, refused: Refused, reference: Path, data: Path) -> None:
    disk.set("size=8k")
    table = disk.path / "table.csv"
    table.write_text("an older table\n", encoding="utf-8")
    (disk.path / "filler").write_bytes(b"x" * 4096)
    for words in (
        ("predict", reference, data, "--csv", table),
        ("report", reference, "--out", disk.path / "page.html"),
        ("check", data, "--model", "glyphs", "--sheet", disk.path / "sheet.png"),
        ("doctor", "--bundle", disk.path / "b.zip", "--run", reference),
    ):
        assert "No space left on device" in refused(*words)
    assert table.read_text(encoding="utf-8") == "an older table\n"
    assert sorted(p.name for p in disk.path.rglob("*")) == ["filler", "table.csv"]


def test_read_only_places(disk: Disk, glyphs: Fit, refused: Refused, reference: Path, data: Path) -> None:
    shutil.copytree(data, disk.path / "data")
    shutil.copytree(reference, disk.path / "run")
    disk.set("ro")
    run, table = disk.path / "run", disk.path / "t.csv"
    fit_words = ("fit", data, "--model", "glyphs", "--plain", *WORDS)
    for words in (
        (*fit_words, "--out", disk.path / "new", "--store", "off"),
        ("report", run),
        ("report", reference, "--out", disk.path / "page.html"),
        ("check", data, "--model", "glyphs", "--sheet", disk.path / "sheet.png"),
    ):
        assert "Read-only file system" in refused(*words)
    assert "--store off" in refused(*fit_words, "--store", disk.path / "store")
    assert "isn't allowed" in refused("predict", run, data, "--csv", table)
    assert "isn't allowed" in refused("doctor", "--bundle", disk.path / "b.zip", "--run", reference)


def test_data_and_network_are_only_read(
    disk: Disk, glyphs: Fit, reference: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data, disk.path / "data")
    disk.set("ro")
    monkeypatch.setenv("FROSTLINE_CACHE", str(disk.path / "cache"))
    monkeypatch.setenv("HOME", str(disk.path))
    monkeypatch.setenv("TMPDIR", str(disk.path))
    done = glyphs("--out", tmp_path / "run", "--store", tmp_path / "store", of=disk.path / "data")
    assert done.code == 0, done.err
    assert hashes(tmp_path / "run") == hashes(reference)


def test_without_a_home_folder_the_cache_asks_for_one(
    monkeypatch: pytest.MonkeyPatch, glyphs: Fit, tmp_path: Path
) -> None:
    for name in ("HOME", "FROSTLINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987654)  # a container's number that no list of users has
    with pytest.raises(Exception, match="no home folder"):
        cache_folder()
    told = one_sentence(glyphs("--out", tmp_path / "run").err)
    assert "FROSTLINE_CACHE" in told
