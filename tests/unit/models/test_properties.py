"""Files of weights: whatever bytes are in one, it is read or refused as a ModelError."""

from __future__ import annotations

import contextlib
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from safetensors.torch import save_file

from frostline.base.errors import ModelError
from frostline.models.weight_files import read_weights
from helpers.odd_values import FEWER, JSON, SEEDS, as_json, damaged

STATE = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}
WRITERS: dict[str, Callable[[Path], None]] = {
    "w.safetensors": lambda path: save_file(STATE, path),
    "w.pt": lambda path: torch.save({"state_dict": STATE, "epoch": 3}, path),
    "old.bin": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", WRITERS)
@FEWER
@given(seed=SEEDS)
def test_damaged_weights_are_read_or_refused(name: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    path.write_bytes(damaged(path.read_bytes(), seed))
    with contextlib.suppress(ModelError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_weights(path).values())


@FEWER
@given(header=JSON)
def test_any_header_of_safetensors_is_refused_where_it_lies(header: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    text = as_json({"x": header})
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    with pytest.raises(ModelError, match=r"w\.safetensors"):
        read_weights(path)


# What tools/fuzz.py has found, in the smallest form.


def central_directory(data: bytes) -> int:
    return data.index(b"PK\x01\x02")


@pytest.mark.parametrize("damage", ["directory", "name", "disks"])
def test_a_zip_archive_whose_directory_is_damaged_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(STATE, path)
    data = bytearray(path.read_bytes())
    place = central_directory(bytes(data))
    if damage == "directory":
        data[place] ^= 0xFF
    elif damage == "name":
        data[place + 9] |= 0x08  # says that names are UTF-8
        data[place + 46] = 0xFF
    else:
        data[data.index(b"PK\x06\x07") + 16] = 2
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"w\.pt"):
        read_weights(path)


@pytest.mark.parametrize("damage", ["cut short", "a group's tree"])
def test_damaged_weights_of_keras_are_refused(damage: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from frostline.models.sources.keras_safe import check_hdf5

    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers/dense").create_dataset("0", data=[1.0, 2.0])
    data = path.read_bytes()
    if damage == "cut short":
        data = data[:-8]
    else:
        data = data.replace(b"TREE", b"TRXX")
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is damaged"):
        check_hdf5(path)


def test_an_archive_of_keras_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    from frostline.models.sources.keras_safe import read_architecture

    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "x" * 99, "config": {}}))
    data = bytearray(path.read_bytes())
    data[central_directory(bytes(data)) + 8] |= 1  # says that it is encrypted
    data[6] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"net\.keras"):
        read_architecture(path)
