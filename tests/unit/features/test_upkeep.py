"""What the store holds, how it is kept under its cap, and what clearing it touches."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest
import torch

from frostline.base.hashing import hash_values
from frostline.features import upkeep
from frostline.features.store import Store, open_store

KEYS = [hash_values(n) for n in range(4)]


def fill(store: Store, key: str, kind: str = "views", size: int = 1000) -> None:
    with store.writer(key, kind) as append:
        append(torch.zeros(size // 4))


def used(root: Path, key: str, ago: float) -> None:
    """Make an entry look as if it was used so many seconds ago."""
    then = time.time() - ago
    os.utime(root / key[:2] / f"{key}.json", (then, then))


def there(root: Path) -> list[str]:
    return [entry.key for entry in upkeep.entries(root)]


def test_the_cap_holds_during_a_run_and_what_it_uses_stays(tmp_path: Path) -> None:
    for n, key in enumerate(KEYS[:3]):
        fill(Store(tmp_path), key)
        used(tmp_path, key, 100 - n)
    store = Store(tmp_path, cap=2600)
    assert store.get(KEYS[0]) is not None  # used from now on
    used(tmp_path, KEYS[0], 1000)
    fill(store, KEYS[3])
    assert sorted(there(tmp_path)) == sorted([KEYS[0], KEYS[3]])
    assert store.has_room(500)
    assert not store.has_room(700)  # beside what is open, and all else may go


def test_an_entry_that_another_process_removes_is_still_read(tmp_path: Path) -> None:
    fill(Store(tmp_path), KEYS[0])
    reader = Store(tmp_path)
    array = reader.get(KEYS[0])
    assert len(upkeep.clear(tmp_path)) == 1
    assert array is not None
    assert torch.equal(array.physical, torch.zeros(250))
    assert Store(tmp_path).get(KEYS[0]) is None


@pytest.mark.parametrize("writable", [True, False])
def test_last_use_is_noted_where_times_cannot_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    fill(Store(tmp_path), KEYS[0])
    used(tmp_path, KEYS[0], 5000)
    monkeypatch.setattr(os, "utime", refused)
    if not writable:
        monkeypatch.setattr(upkeep, "write_json", refused)
    assert Store(tmp_path).get(KEYS[0]) is not None
    (entry,) = upkeep.entries(tmp_path)
    assert (time.time() - entry.used < 1000) == writable


def test_data_without_a_note_is_no_entry_and_is_written_again(tmp_path: Path) -> None:
    fill(Store(tmp_path), KEYS[0])
    (tmp_path / KEYS[0][:2] / f"{KEYS[0]}.json").unlink()
    store = Store(tmp_path)
    assert store.get(KEYS[0]) is None
    fill(store, KEYS[0])
    assert Store(tmp_path).get(KEYS[0]) is not None


def test_clearing_by_age_takes_what_was_not_used(tmp_path: Path) -> None:
    for key, ago in zip(KEYS, (10, 3000, 9000, 20), strict=True):
        fill(Store(tmp_path), key)
        used(tmp_path, key, ago)
    gone = upkeep.clear(tmp_path, older_than=1000)
    assert [entry.key for entry in gone] == [KEYS[2], KEYS[1]]
    assert sorted(there(tmp_path)) == sorted([KEYS[0], KEYS[3]])


def test_files_that_are_not_the_stores_and_links_are_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "store"
    fill(Store(root), KEYS[0])
    folder = root / KEYS[0][:2]
    mine = [root / "notes.json", folder / "image.json", folder / ".hidden", folder / f"{KEYS[0]}.txt"]
    for file in mine:
        file.write_text("mine", encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / f"{'ff' + KEYS[1][2:]}.json"
    target.write_text("{}", encoding="utf-8")
    (root / "ff").symlink_to(outside)
    link = folder / f"{KEYS[0][:2] + KEYS[2][2:]}.json"
    link.symlink_to(target)
    for file in (*mine, target):
        os.utime(file, (0, 0))
    assert len(upkeep.clear(root)) == 1
    upkeep.prune(root, cap=0)
    assert all(file.exists() for file in (*mine, target))
    assert link.is_symlink()


def test_what_a_writer_is_at_is_no_entry_and_stays_for_a_day(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writer(KEYS[0], "views") as append:
        append(torch.zeros(10))
        assert upkeep.clear(tmp_path) == []
        assert len(upkeep.unfinished(tmp_path)) == 1
    assert there(tmp_path) == [KEYS[0]]


def test_kinds_are_told_and_notes_of_earlier_versions_are_other(tmp_path: Path) -> None:
    for key, kind in zip(KEYS, ("views", "activations", "forecasts", "other"), strict=True):
        fill(Store(tmp_path), key, kind)
    note = tmp_path / KEYS[0][:2] / f"{KEYS[0]}.json"
    earlier = json.loads(note.read_text(encoding="utf-8"))
    del earlier["kind"]
    note.write_text(json.dumps(earlier), encoding="utf-8")
    kinds = {entry.key: entry.kind for entry in upkeep.entries(tmp_path)}
    assert [kinds[key] for key in KEYS] == ["other", "activations", "forecasts", "other"]
    assert Store(tmp_path).get(KEYS[0]) is not None


@pytest.mark.parametrize("content", [None, '{"bytes": 5000}', "{", "[]", '{"bytes": "x"}'])
def test_a_limit_that_was_set_holds_for_later_runs(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / upkeep.LIMIT).write_text(content, encoding="utf-8")
    store = open_store(str(tmp_path))
    assert store is not None
    assert store.cap == (5000 if content == '{"bytes": 5000}' else upkeep.DEFAULT_CAP)


def test_a_lower_limit_makes_room_at_once(tmp_path: Path) -> None:
    for n, key in enumerate(KEYS):
        fill(Store(tmp_path), key)
        used(tmp_path, key, 100 - n)
    upkeep.write_cap(tmp_path, 2600)
    assert there(tmp_path) == KEYS[2:]
    assert upkeep.read_cap(tmp_path) == 2600


def test_many_entries_are_open_at_a_time_with_few_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    keys = [hash_values("many", n) for n in range(60)]
    open_now = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else soft - 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 10, hard))
    try:
        store = Store(tmp_path)
        for key in keys:
            fill(store, key, size=40)
        again = Store(tmp_path)
        found = [again.get(key) for key in keys]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert None not in found
