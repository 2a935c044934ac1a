"""Files of weights that were made to do harm: refused with a sentence, nothing run, nothing unpacked."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from frostline.base.errors import ModelError
from frostline.models.sources.keras_safe import check_hdf5, read_architecture
from frostline.models.sources.keras_weights import load_keras_weights
from frostline.models.weight_files import read_weights

GOOD = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def saved(value: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **how)
    return stream.getvalue()


def as_array(value: Any, write: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    write(stream, np.array([value], dtype=object))
    return stream.getvalue()


DISGUISES: dict[str, Callable[[Payload], bytes]] = {
    "zip.pt": lambda p: saved({"w": p}),
    "zip.bin": lambda p: saved({**GOOD, "w": p}),
    "zip.safetensors": lambda p: saved({"w": p}),
    "zip.jpg": lambda p: saved(p),
    "old.pt": lambda p: saved({"w": p}, _use_new_zipfile_serialization=False),
    "old.ckpt": lambda p: saved({"state_dict": GOOD, "hooks": p}, _use_new_zipfile_serialization=False),
    "protocol0.pkl": lambda p: pickle.dumps({"w": p}, protocol=0),
    "protocol2.pkl": lambda p: pickle.dumps({"w": p}, protocol=2),
    "protocol5.joblib": lambda p: pickle.dumps({"w": p}, protocol=5),
    "renamed.safetensors": lambda p: pickle.dumps({"w": p}, protocol=4),
    "renamed.jpg": lambda p: pickle.dumps({"w": p}, protocol=4),
    "renamed.h5": lambda p: pickle.dumps({"w": p}, protocol=2),
    "object.npy": lambda p: as_array(p, np.save),
    "object.npz": lambda p: as_array(p, np.savez),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_pickle_in_any_disguise_is_refused_and_never_run(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(DISGUISES[name](Payload(tmp_path / "mark")))
    with pytest.raises(ModelError) as found:
        read_weights(file)
    assert name in found.value.message
    assert not (tmp_path / "mark").exists()


def with_entries(content: bytes, *entries: tuple[str, bytes], claims: int | None = None) -> bytes:
    """A saved state_dict with further entries in its archive; `claims` is written as the size of its first tensor."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for name, data in entries:
            new.writestr(name, data)
        if claims is not None:
            next(e for e in new.infolist() if e.filename.endswith("/data/0")).file_size = claims
    return stream.getvalue()


def link(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return stream.getvalue()


class Growing:
    def __reduce__(self) -> Any:
        return bytearray, (1 << 40,)


def sparse() -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.zeros(1, 0, dtype=torch.long), torch.zeros(0), (1 << 40,), check_invariants=True
    )


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (lambda: with_entries(saved(GOOD), claims=3 << 30), "would unpack to 3,2"),
    "parent": (lambda: with_entries(saved(GOOD), ("../../x", b"x")), "leads out of it"),
    "absolute": (lambda: with_entries(saved(GOOD), ("/absolute/x", b"x")), "leads out of it"),
    "backslash": (lambda: with_entries(saved(GOOD), ("..\\x", b"x")), "leads out of it"),
    "twice": (lambda: with_entries(saved(GOOD), ("archive/data.pkl", b"x")), "twice"),
    "link": (lambda: link("archive/data.pkl"), "as a link"),
    "scripted": (lambda: with_entries(saved(GOOD), ("archive/constants.pkl", b"")), "TorchScript"),
    "growing": (lambda: saved({**GOOD, "x": Growing()}), "bytearray"),
    "growing, old": (lambda: saved({"x": Growing()}, _use_new_zipfile_serialization=False), "bytearray"),
    "expanded": (lambda: saved({"weight": torch.zeros(1).expand(1 << 40)}), "repeated to 1,099,511,627,776"),
    "sparse": (lambda: saved({"weight": sparse()}), "sparse"),
    "meta": (lambda: saved({"weight": torch.zeros(1 << 45, device="meta")}), "without values"),
    "tuples": (lambda: saved({("a",): torch.zeros(1)}), "under a tuple"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_and_tensors_that_are_not_what_they_seem_are_refused(case: str, tmp_path: Path) -> None:
    make, words = ARCHIVES[case]
    file = tmp_path / "w.pt"
    file.write_bytes(make())
    with pytest.raises(ModelError) as found:
        read_weights(file)
    assert words in found.value.message
    assert list(tmp_path.iterdir()) == [file]


def header(entries: Any, body: int = 0) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS: dict[str, bytes] = {
    "length of 2^60": struct.pack("<Q", 1 << 60) + b"{}",
    "length beyond the file": struct.pack("<Q", 90_000_000) + b"{}",
    "long header": struct.pack("<Q", 1 << 25) + bytes(1 << 25),
    "offset outside": header({"a": entry([4], 0, 1 << 50)}),
    "overlapping": header({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, 24),
    "backwards": header({"a": entry([4], 16, 0)}, 16),
    "negative": header({"a": entry([-4], 0, 16)}, 16),
    "huge shape": header({"a": entry([1 << 62, 1 << 62], 0, 16)}, 16),
    "shape that overflows": header({"a": entry([1 << 33, 1 << 31], 0, 0)}),
    "unknown type": header({"a": entry([4], 0, 16, "EVIL")}, 16),
    "nested": header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "one name twice": header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        4,
    ),
    "bytes behind": header({"a": entry([1], 0, 4)}, 9),
}


@pytest.mark.parametrize("case", HEADERS)
def test_lying_headers_of_safetensors_are_refused(case: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(HEADERS[case])
    with pytest.raises(ModelError) as found:
        read_weights(file)
    assert "w.safetensors" in found.value.message


LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
SHELL = {"module": "os", "class_name": "system", "config": {"command": "id"}}
CONFIGS: dict[str, tuple[bytes, str]] = {
    "lambda": (json.dumps({"class_name": "Sequential", "config": {"layers": [LAMBDA]}}).encode(), "Lambda"),
    "other code": (json.dumps({"class_name": "Sequential", "config": {"layers": [SHELL]}}).encode(), "system from os"),
    "function": (b'{"class_name": "function", "config": "eval", "registered_name": "eval"}', "function"),
    "nested": (b"[" * 100_000 + b"]" * 100_000, "too deeply"),
    "huge number": (b'{"class_name": ' + b"9" * 9000 + b"}", "too many digits"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_architectures_of_keras_that_could_run_code_or_never_end_are_refused(case: str, tmp_path: Path) -> None:
    config, words = CONFIGS[case]
    file = tmp_path / "m.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", config)
    with pytest.raises(ModelError) as found:
        read_architecture(file)
    assert words in found.value.message


@pytest.mark.parametrize("name", ["../config.json", "/config.json", "assets\\..\\x"])
def test_archives_of_keras_with_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "m.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")
        archive.writestr(name, "x")
    with pytest.raises(ModelError, match="leads out"):
        read_architecture(file)
    with pytest.raises(ModelError, match="leads out"):
        load_keras_weights(None, None, file, None)


def test_arrays_of_hdf5_that_are_far_larger_than_their_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.weights.h5"
    with h5py.File(file, "w") as made:
        made.create_dataset("a", (1 << 17, 1 << 17), dtype="f4", chunks=(1 << 10, 1 << 10), compression="gzip")
    with pytest.raises(ModelError, match="would unpack to 68,719,476,736"):
        check_hdf5(file)


def test_groups_of_hdf5_that_hold_themselves_or_others_come_to_an_end(tmp_path: Path) -> None:
    file = tmp_path / "w.weights.h5"
    with h5py.File(file, "w") as made:
        made.create_group("a")["self"] = made["/"]
        made.create_dataset("a/values", data=np.zeros(4, dtype="f4"))
    check_hdf5(file)
    with h5py.File(file, "a") as made:
        made["b"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(ModelError, match="another file"):
        check_hdf5(file)
