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
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frostline.base.errors import FULL, FrostlineError
from frostline.base.files import parse_json, write_json
from frostline.features import upkeep

SCANS = 20  # the folder is looked through again when a 20th of the cap was written: other processes write too
_DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.uint8, torch.int32, torch.float32, torch.float64, torch.bfloat16, torch.float16)
}


class StoreError(OSError):
    """An entry can't be written (the disk is full, the folder was taken away). The caller goes on without storing."""

    def sentence(self) -> str:
        """Say what that means for the run, and what may be done."""
        return (
            f"The store {self.filename} can't be written ({self.strerror}): the run goes on without storing, which "
            "takes longer. To make room: frostline cache --clear; or give --store DIR."
        )


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
    cap: int = upkeep.DEFAULT_CAP  # bytes; the least recently used entries go first
    was_told: bool = False  # that it can't be written
    _open: dict[str, Array] = field(default_factory=dict)
    _room: int = 0  # bytes that were free under the cap when the folder was looked through last
    _unseen: int = 0  # bytes written since

    def __post_init__(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            if error.errno in FULL:  # what is stored can be read, and a run does without the rest
                return
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
    def writer(self, key: str, kind: str = "other") -> Iterator[Callable[[Tensor], None]]:
        """Append logical row tensors; the entry exists once the block has ended without an error. `kind` is what
        people call such entries (`upkeep.KINDS`).

        Raises StoreError where it can't be written.
        """
        data_path, _ = self._paths(key)
        with self._writing():
            data_path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{key[:8]}.", dir=data_path.parent)
        file = os.fdopen(handle, "wb")
        state = _Written()

        def append(rows: Tensor) -> None:
            with self._writing():
                state.append(rows, file.write)

        try:
            yield append
            with self._writing():
                file.close()
                Path(name).replace(data_path)
                self._commit(key, kind, state)
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            Path(name).unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(error.errno, error.strerror, str(self.root)) from error

    def _commit(self, key: str, kind: str, state: _Written) -> None:
        data_path, note_path = self._paths(key)
        note: dict[str, Any] = {
            "kind": kind,
            "shape": [state.rows, *state.row_shape],
            "dtype": state.dtype,
            "order": list(state.order),
        }
        note["crc32"] = _with_form(state.crc, note)
        try:
            write_json(note_path, note, durable=False)
        except OSError:
            if not note_path.exists():  # of another process
                data_path.unlink(missing_ok=True)
            raise
        self._open[key] = _memory_mapped(data_path, note)  # just written by this process: no second checksum pass
        self._unseen += self._open[key].physical.nbytes
        if self._unseen > self._room or self._unseen > self.cap // SCANS:
            self.prune()

    def _load(self, key: str) -> Array | None:
        data_path, note_path = self._paths(key)
        try:
            note = parse_json(note_path.read_text(encoding="utf-8"))
            array = _memory_mapped(data_path, note)
            if _with_form(_crc(array.physical), note) != note["crc32"]:
                raise ValueError("checksum")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError):
            with contextlib.suppress(OSError):  # in a folder that is only read it stays, and is never used
                note_path.unlink(missing_ok=True)
                data_path.unlink(missing_ok=True)
            return None
        upkeep.mark_used(note_path)
        return array

    def _paths(self, key: str) -> tuple[Path, Path]:
        folder = self.root / key[:2]
        return folder / f"{key}.bin", folder / f"{key}.json"

    def bytes_used(self) -> int:
        """Return the size of all entries."""
        return sum(entry.size for entry in upkeep.entries(self.root))

    def has_room(self, size: float) -> bool:
        """True where so many bytes fit under the cap beside what this process uses; all else may go for them."""
        return size + sum(array.physical.nbytes for array in self._open.values()) <= self.cap

    def prune(self) -> None:
        """Remove the least recently used entries, but none that this process has open, until the store is under its
        cap."""
        left = upkeep.prune(self.root, self.cap, self._open)
        self._room = self.cap - left
        self._unseen = 0


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


def _with_form(crc: int, note: Mapping[str, Any]) -> int:
    """The checksum of the bytes and of what says how they are read."""
    form = [note["shape"], note["dtype"], note["order"]]
    return zlib.crc32(json.dumps(form).encode(), crc)


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
    root = upkeep.store_folder(setting)
    store = Store(root, upkeep.read_cap(root))
    store.prune()
    return store
