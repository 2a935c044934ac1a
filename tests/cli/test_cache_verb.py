"""frostline cache: what it shows, clears and limits, and what it refuses."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from frostline.base.hashing import hash_values

KEYS = [hash_values(n) for n in range(3)]


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of three entries, used an hour, a day and 40 days ago."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    root = tmp_path / "store"
    for key, kind, ago in zip(KEYS, ("views", "views", "forecasts"), (3700, 90_000, 40 * 86_400), strict=True):
        folder = root / key[:2]
        folder.mkdir(parents=True)
        (folder / f"{key}.bin").write_bytes(bytes(1 << 20))
        note = folder / f"{key}.json"
        note.write_text(json.dumps({"kind": kind}), encoding="utf-8")
        then = time.time() - ago
        os.utime(note, (then, then))
    return root


def test_it_shows_what_is_there_by_kind(command, filled: Path) -> None:
    done = command("cache")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert ["views", "2", "2.0", "1", "h", "ago", "1", "d", "ago"] in lines
    assert ["forecasts", "1", "1.0", "40", "d", "ago", "40", "d", "ago"] in lines
    assert f"{filled} holds 3 of 10,240 MB" in done.out


def test_json_has_the_same_facts(command, filled: Path) -> None:
    facts = json.loads(command("cache", "--json").out)
    assert (facts["folder"], facts["entries"], facts["limit_mb"]) == (str(filled), 3, 10_240)
    assert facts["kinds"]["views"]["entries"] == 2
    assert facts["free_mb"] > 0
    assert facts["cleared"]["entries"] == 0


def test_clearing_says_what_went(command, filled: Path) -> None:
    done = command("cache", "--clear", "--older-than", "30d")
    assert f"1 entry removed from {filled}: 1 MB." in done.out
    done = command("cache", "--clear")
    assert f"2 entries removed from {filled}: 2 MB." in done.out
    assert f"{filled} holds nothing; it may grow to 10,240 MB." in done.out
    assert not list(filled.rglob("*.bin"))


def test_a_limit_is_kept_and_makes_room(command, filled: Path) -> None:
    assert f"{filled} holds 2 of 2 MB" in command("cache", "--limit", "2.5MB").out
    assert json.loads(command("cache", "--json").out)["limit_mb"] == 2.5


def test_a_store_elsewhere_may_be_empty_or_missing(command, tmp_path: Path) -> None:
    done = command("cache", "--store", tmp_path / "none", "--clear")
    assert done.code == 0
    assert "holds nothing" in done.out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--clear", "--older-than", "soon"), "--older-than soon is not an age."),
        (("--older-than", "3d"), "Add --clear."),
        (("--limit", "much"), "--limit much is not a size."),
    ],
)
def test_what_is_not_understood_is_refused_before_anything_goes(
    command, filled: Path, words: tuple[str, ...], said: str
) -> None:
    done = command("cache", *words)
    assert done.code == 2
    assert said in done.err
    assert len(list(filled.rglob("*.bin"))) == 3
