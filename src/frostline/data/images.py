"""Decoded images: one flat buffer of bytes for all of them, in memory or, beyond a limit, in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from frostline.base.errors import DataError
from frostline.base.records import IntArray

Pixels = NDArray[np.uint8]  # (H, W, C)

# Decoded images beyond this lie in a memory-mapped temporary file: its pages give way where memory is short.
SPILL_BYTES = 1 << 26


class Images(Sequence[Pixels]):
    """Images of varying size (uint8, H x W x C, read-only) in one flat buffer, in memory or in a temporary file."""

    def __init__(self, buffer: NDArray[np.uint8], offsets: IntArray, shapes: IntArray) -> None:
        """`offsets` (N) are where images start in the flat buffer, `shapes` (N, 3) their H, W and C."""
        self._buffer = buffer
        self._offsets = offsets
        self._shapes = shapes

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]  # no slices: select() is meant for that
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start = self._offsets[index]
        shape = self._shapes[index]
        view = self._buffer[start : start + int(shape.prod())].reshape(shape)
        view.flags.writeable = False
        return view

    def select(self, indices: Sequence[int] | IntArray) -> Images:
        """The images of these rows, in this order, on the same memory."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Images(self._buffer, self._offsets[chosen], self._shapes[chosen])

    @property
    def nbytes(self) -> int:
        if len(self):
            return int(self._shapes.prod(axis=1).sum())
        return 0


class Writer:
    """Appends images to memory, and beyond SPILL_BYTES to a nameless temporary file."""

    def __init__(self, bytes_at_most: int, spill_dir: Path | None) -> None:
        # Pages that are never written cost nothing, so reserving the most that can come saves a second copy.
        self._memory = np.empty(min(bytes_at_most, SPILL_BYTES), dtype=np.uint8)
        self._file: BinaryIO | None = None
        self._spill_dir = spill_dir
        self._size = 0
        self._offsets: list[int] = []
        self._shapes: list[tuple[int, ...]] = []

    def add(self, image: Pixels) -> None:
        end = self._size + image.size
        if self._file is None and end > len(self._memory):
            self._spill()
        if self._file is None:
            self._memory[self._size : end] = image.reshape(-1)
        else:
            self._write(image)
        self._offsets.append(self._size)
        self._shapes.append(image.shape)
        self._size = end

    def finish(self) -> Images:
        buffer: NDArray[np.uint8] = self._memory[: self._size]
        if self._file is not None:
            self._file.flush()
            buffer = np.memmap(self._file, dtype=np.uint8, mode="r", shape=(self._size,))
            self._file.close()
        shapes = np.array(self._shapes, dtype=np.int64).reshape(-1, 3)
        return Images(buffer, np.array(self._offsets, dtype=np.int64), shapes)

    def _spill(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self._spill_dir)  # noqa: SIM115  # outlives this call
        self._write(self._memory[: self._size])
        self._memory = np.empty(0, dtype=np.uint8)

    def _write(self, values: NDArray[np.uint8]) -> None:
        assert self._file is not None
        try:
            self._file.write(np.ascontiguousarray(values).data)
        except OSError as error:
            raise DataError(
                f"The decoded images filled the disk after {self._size >> 20} MiB ({error.strerror}).",
                "Free some space, or set --store to a folder on a larger disk.",
            ) from error
