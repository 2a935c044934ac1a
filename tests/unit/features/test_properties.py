"""A stored entry whose bytes have changed is thrown away; it is never read as something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from frostline.features.store import Array, Store
from helpers.odd_values import FEW, JSON, SEEDS, as_json, damaged, edited

KEY = "ab" + "0" * 62
NOTE, DATA = (Path("ab") / f"{KEY}{ending}" for ending in (".json", ".bin"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with one entry, whose channels come last in memory."""
    with Store(tmp_path).writer(KEY) as append:
        rows = torch.arange(96, dtype=torch.float32).view(8, 3, 2, 2)
        append(rows.contiguous(memory_format=torch.channels_last))
    return tmp_path


def read(array: Array | None) -> torch.Tensor | None:
    if array is None:
        return None
    return array.rows(torch.arange(8))


@FEW
@given(seed=SEEDS, value=JSON)
def test_a_changed_entry_is_the_same_or_none(root: Path, seed: int, value: Any) -> None:
    note, data = (root / NOTE).read_bytes(), (root / DATA).read_bytes()
    wanted = read(Store(root).get(KEY))
    assert wanted is not None
    changes = [
        (as_json(edited(json.loads(note), seed)), data),
        (damaged(note, seed), data),
        (as_json(value), data),
        (note, damaged(data, seed)),
    ]
    for changed_note, changed_data in changes:
        (root / NOTE).write_bytes(changed_note)
        (root / DATA).write_bytes(changed_data)
        found = read(Store(root).get(KEY))
        assert found is None or (torch.equal(found, wanted) and found.stride() == wanted.stride())
    (root / NOTE).write_bytes(note)
    (root / DATA).write_bytes(data)


@pytest.mark.parametrize(
    "changed",
    [{"shape": [3, 8, 2, 2]}, {"order": [0, 1, 2, 3]}, {"order": [0, 2, 2, 1]}, {"dtype": "int32"}, {"shape": 96}],
)
def test_an_entry_is_read_in_the_form_it_was_written_in(root: Path, changed: dict[str, Any]) -> None:
    note = json.loads((root / NOTE).read_bytes())
    (root / NOTE).write_text(json.dumps({**note, **changed}))
    assert Store(root).get(KEY) is None
    assert not (root / DATA).exists()


def test_a_note_that_is_no_object_is_no_entry(root: Path) -> None:
    (root / NOTE).write_text("[1, 2]")
    assert Store(root).get(KEY) is None
