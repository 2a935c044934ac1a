"""The store gives back the same bits in the same memory format, and recomputes what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from frostline.base.errors import FrostlineError
from frostline.base.hashing import hash_values
from frostline.features.store import Store, axis_order, canonical, open_store


def filled(store: Store, key: str, *parts: torch.Tensor) -> None:
    with store.writer(key) as append:
        for part in parts:
            append(part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("form", ["contiguous", "channels_last", "tokens_first"])
def test_rows_come_back_bit_for_bit_in_their_memory_format(tmp_path: Path, dtype: torch.dtype, form: str) -> None:
    x = (torch.randn(7, 3, 5, 4) * 50).to(dtype)
    if form == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    if form == "tokens_first":
        x = x.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3)
    filled(Store(tmp_path), "k1", x[:4], x[4:])
    array = Store(tmp_path).get("k1")
    assert array is not None
    index = torch.tensor([6, 0, 3])
    rows = array.rows(index)
    assert rows.dtype == dtype
    assert torch.equal(rows, x[index])
    assert rows.stride() == canonical(x[index]).stride()
    assert axis_order(rows) == axis_order(x)


def test_flipped_bit_is_found_and_the_entry_is_gone(tmp_path: Path) -> None:
    filled(Store(tmp_path), "k2", torch.arange(100.0).view(10, 10))
    (data,) = tmp_path.glob("*/k2.bin")
    raw = bytearray(data.read_bytes())
    raw[17] ^= 1
    data.write_bytes(raw)
    assert Store(tmp_path).get("k2") is None
    assert not data.exists()


@pytest.mark.parametrize("damage", ["cut short", "note is no JSON", "note without a checksum"])
def test_damaged_entries_count_as_absent(tmp_path: Path, damage: str) -> None:
    filled(Store(tmp_path), "k3", torch.arange(100.0).view(10, 10))
    (data,), (note,) = tmp_path.glob("*/k3.bin"), tmp_path.glob("*/k3.json")
    if damage == "cut short":
        data.write_bytes(data.read_bytes()[:-4])
    elif damage == "note is no JSON":
        note.write_text("{", encoding="utf-8")
    else:
        value = json.loads(note.read_text(encoding="utf-8"))
        del value["crc32"]
        note.write_text(json.dumps(value), encoding="utf-8")
    assert Store(tmp_path).get("k3") is None


def test_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def interrupted() -> None:
        with store.writer("k4") as append:
            append(torch.zeros(2, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.get("k4") is None
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []


def test_prune_drops_the_least_recently_used_first(tmp_path: Path) -> None:
    import os

    keys = [hash_values(n) for n in range(3)]
    for n, key in enumerate(keys):
        filled(Store(tmp_path), key, torch.zeros(250))  # 1000 bytes each, and its note
        (note,) = tmp_path.glob(f"*/{key}.json")
        os.utime(note, (n, n))
    Store(tmp_path, cap=2600).prune()
    assert [Store(tmp_path).get(key) is not None for key in keys] == [False, True, True]


def test_unwritable_store_is_refused_with_the_option_to_give(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FrostlineError, match="--store off"):
        open_store(str(tmp_path / "file"))
