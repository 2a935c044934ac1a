"""The store: big arrays on disk, each written once under the hash of all that determines it.

An entry is `KEY.bin` (rows in order, no header) and `KEY.json` (shape, dtype, axis order, checksum). The JSON file is
renamed into place last, so an entry without it doesn't exist. Entries are memory-mapped; one whose checksum is wrong is
thrown away and computed again. Only for data that can be recomputed: there is no fsync, the checksum stands in for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frostline.base.errors import FrostlineError
from frostline.base.files import cache_folder, write_json

DEFAULT_CAP = 10 << 30  # bytes; the least recently used entries go first
_DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.uint8, torch.int32, torch.float32, torch.float64, torch.bfloat16, torch.float16)
}


@dataclass(frozen=True, slots=True)
class Array:
    """A stored tensor: physical rows-first layout, and the axis order that gives its logical form back.

    `order[i]` is the logical axis that stands i-th in memory; `rows(index)` gives logical tensors of the original
    memory format, bit for bit (a copy in another layout would change the last bits of a convolution).
    """

    physical: Tensor
    order: tuple[int, ...]

    def rows(self, index: Tensor) -> Tensor:
        inverse = [self.order.index(i) for i in range(len(self.order))]
        return self.physical.index_select(0, index).permute(inverse)


def axis_order(tensor: Tensor) -> tuple[int, ...]:
    """Axes by falling stride, the batch axis first: the layout in which rows of `tensor` lie densely."""
    strides = tensor.stride()
    rest = sorted(range(1, tensor.dim()), key=lambda axis: (-strides[axis], axis))
    return (0, *rest)


def canonical(tensor: Tensor) -> Tensor:
    """The tensor in the memory layout that the store would give it back in (a no-op for usual layouts)."""
    order = axis_order(tensor)
    inverse = [order.index(i) for i in range(len(order))]
    return tensor.permute(order).contiguous().permute(inverse)


@dataclass
class Store:
    """A folder of entries. `put` and `get` are safe among processes: the first complete writer wins."""

    root: Path
    cap: int = DEFAULT_CAP
    _open: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise FrostlineError(
                f"The store folder {self.root} can't be written ({error.strerror}).",
                "Give --store DIR, or --store off.",
            ) from error

    def get(self, key: str) -> Array | None:
        """The entry, its checksum verified when this process opens it first; None if there is none or it is broken."""
        if key not in self._open:
            array = self._load(key)
            if array is None:
                return None
            self._open[key] = array
        return self._open[key]

    @contextlib.contextmanager
    def writer(self, key: str) -> Iterator[Callable[[Tensor], None]]:
        """Append logical row tensors; the entry exists once the block has ended without an error."""
        data_path, _ = self._paths(key)
        data_path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{key[:8]}.", dir=data_path.parent)
        state = _Written()
        try:
            with os.fdopen(handle, "wb") as file:
                yield lambda rows: state.append(rows, file.write)
            Path(name).replace(data_path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._commit(key, state)

    def _commit(self, key: str, state: _Written) -> None:
        data_path, note_path = self._paths(key)
        note = {
            "shape": [state.rows, *state.row_shape],
            "dtype": state.dtype,
            "order": list(state.order),
            "crc32": state.crc,
        }
        write_json(note_path, note, durable=False)
        self._open[key] = _memory_mapped(data_path, note)  # just written by this process: no second checksum pass

    def _load(self, key: str) -> Array | None:
        data_path, note_path = self._paths(key)
        try:
            note = json.loads(note_path.read_text(encoding="utf-8"))
            array = _memory_mapped(data_path, note)
            if _crc(array.physical) != note["crc32"]:
                raise ValueError("checksum")
            os.utime(note_path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, RuntimeError):
            note_path.unlink(missing_ok=True)
            data_path.unlink(missing_ok=True)
            return None
        return array

    def _paths(self, key: str) -> tuple[Path, Path]:
        folder = self.root / key[:2]
        return folder / f"{key}.bin", folder / f"{key}.json"

    def bytes_used(self) -> int:
        return sum(f.stat().st_size for f in self.root.glob("??/*.bin"))

    def prune(self) -> None:
        """Remove the least recently used entries until the store is under its cap. Open entries stay readable."""
        self._sweep()
        notes = sorted(self.root.glob("??/*.json"), key=lambda f: f.stat().st_mtime)
        used = self.bytes_used()
        for note in notes:
            if used <= self.cap:
                break
            data = note.with_suffix(".bin")
            used -= data.stat().st_size if data.exists() else 0
            note.unlink(missing_ok=True)
            data.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed writers left behind a day ago or earlier: temporary files, and data without a note."""
        old = time.time() - 86400
        left = [f for f in self.root.glob("??/.*") if f.is_file()]
        left += [f for f in self.root.glob("??/*.bin") if not f.with_suffix(".json").exists()]
        for file in left:
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < old:
                    file.unlink()


@dataclass
class _Written:
    """What has been appended so far."""

    rows: int = 0
    row_shape: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    dtype: str = ""
    crc: int = 0

    def append(self, tensor: Tensor, write: Callable[[memoryview], int]) -> None:
        if not self.order:
            self.order = axis_order(tensor)
            self.row_shape = tuple(tensor.shape[axis] for axis in self.order[1:])
            self.dtype = str(tensor.dtype).removeprefix("torch.")
        data = _bytes(tensor.permute(self.order).contiguous())
        self.crc = zlib.crc32(data, self.crc)
        self.rows += tensor.shape[0]
        write(data)


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _crc(tensor: Tensor) -> int:
    return zlib.crc32(_bytes(tensor))


def _memory_mapped(path: Path, note: Mapping[str, Any]) -> Array:
    shape = tuple(int(n) for n in note["shape"])
    dtype = _DTYPES[note["dtype"]]
    size = math.prod(shape)
    if path.stat().st_size != size * dtype.itemsize:
        raise ValueError("size")
    flat = torch.from_file(str(path), shared=False, size=size, dtype=dtype)
    return Array(flat.view(shape), tuple(note["order"]))


def open_store(setting: str | None) -> Store | None:
    """The store that `--store` names: a folder, `off` (None), or the user's cache folder."""
    if setting == "off":
        return None
    store = Store(Path(setting) if setting else cache_folder() / "store")
    store.prune()
    return store
