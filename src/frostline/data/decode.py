"""Decodes picture files once, into uint8 arrays whose short side is the one that the preprocessing asks for."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from frostline.base.errors import DataError
from frostline.base.hashing import hash_file
from frostline.base.records import IntArray
from frostline.data.preprocess import Preprocess

Picture = NDArray[np.uint8]  # (H, W, C)
Progress = Callable[[int, int], None]  # done, total

# Only formats whose readers are plain decoders: others (EPS) would start programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 90_000_000  # to be decoded, after a JPEG's own shrinking; Pillow refuses twice as many in the file
MAX_ASPECT = 8  # a longer strip keeps its middle, else one line of pixels would grow to gigabytes
SPILL_BYTES = 1 << 30  # decoded pictures beyond this lie in a memory-mapped temporary file
CHUNK = 256  # pictures in flight

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
ORIENTATION = 0x0112  # EXIF tag
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A file that can't be decoded; the text is the reason, without the file's name."""


class Pictures(Sequence[Picture]):
    """Pictures of varying size (uint8, H x W x C, read-only) in one flat buffer, in memory or in a temporary file."""

    def __init__(self, buffer: NDArray[np.uint8], offsets: IntArray, shapes: IntArray) -> None:
        """`offsets` (N) are where pictures start in the flat buffer, `shapes` (N, 3) their H, W and C."""
        self._buffer, self._offsets, self._shapes = buffer, offsets, shapes

    @classmethod
    def from_arrays(cls, arrays: Sequence[Picture]) -> Pictures:
        writer = _Writer(sum(a.size for a in arrays), None)
        for array in arrays:
            writer.add(array)
        return writer.finish()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Picture:  # type: ignore[override]  # no slices: select() is meant for that
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start, shape = self._offsets[index], self._shapes[index]
        view = self._buffer[start : start + int(shape.prod())].reshape(shape)
        view.flags.writeable = False
        return view

    def select(self, indices: Sequence[int] | IntArray) -> Pictures:
        """The pictures of these rows, in this order, on the same memory."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Pictures(self._buffer, self._offsets[chosen], self._shapes[chosen])

    @property
    def nbytes(self) -> int:
        return int(self._shapes.prod(axis=1).sum()) if len(self) else 0

    @property
    def spilled(self) -> bool:
        return isinstance(self._buffer, np.memmap)


def read_picture(source: Path | bytes, preprocess: Preprocess) -> Picture:
    """The picture as uint8 (H, W, C), upright, in the colour mode and with the short side of `preprocess`.

    Transparency is laid on white, 16-bit values are divided by 257, an animation gives its first frame, and strips
    beyond 8 : 1 keep their middle. Raises PictureError with the reason for files that are damaged, cut short, too
    large or no pictures.
    """
    image, orientation = _load(source, preprocess)
    image = _shrink(_to_mode(image, preprocess.mode), preprocess)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    return np.asarray(image).reshape(image.height, image.width, preprocess.channels)


def decode_all(
    paths: Sequence[Path],
    preprocess: Preprocess,
    *,
    threads: int,
    spill_dir: Path | None,
    progress: Progress | None,
) -> tuple[Pictures, dict[int, str]]:
    """All pictures, and for each file that can't be read its index and reason (its entry is an empty array).

    `threads` files are decoded at a time. Beyond 1 GiB the pictures lie in a file in `spill_dir` (the system's folder
    for temporary files where None) that has no name any more: the system frees it with the last reference, also after
    a crash. `progress` is called in the calling thread. Raises DataError where that file finds no room.
    """
    largest = preprocess.resize**2 * MAX_ASPECT * preprocess.channels
    writer, bad = _Writer(largest * len(paths), spill_dir), {}
    with _pillow_rules(), ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(paths), CHUNK):
            results = pool.map(lambda path: _try_read(path, preprocess), paths[start : start + CHUNK])
            for index, result in enumerate(results, start):
                if isinstance(result, str):
                    bad[index] = result
                    result = np.empty((0, 0, preprocess.channels), dtype=np.uint8)
                writer.add(result)
                if progress is not None:
                    progress(index + 1, len(paths))
    return writer.finish(), bad


def hash_files(paths: Sequence[Path], threads: int) -> list[str]:
    """SHA-256 of each file's bytes; empty text for a file that can't be opened."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(_try_hash, paths))


class _Writer:
    """Appends pictures to memory, and beyond SPILL_BYTES to a nameless temporary file."""

    def __init__(self, bytes_at_most: int, spill_dir: Path | None) -> None:
        # Pages that are never written cost nothing, so reserving the most that can come saves a second copy.
        self._memory = np.empty(min(bytes_at_most, SPILL_BYTES), dtype=np.uint8)
        self._file: BinaryIO | None = None
        self._spill_dir = spill_dir
        self._size = 0
        self._offsets: list[int] = []
        self._shapes: list[tuple[int, ...]] = []

    def add(self, picture: Picture) -> None:
        end = self._size + picture.size
        if self._file is None and end > len(self._memory):
            self._spill()
        if self._file is None:
            self._memory[self._size : end] = picture.reshape(-1)
        else:
            self._write(picture)
        self._offsets.append(self._size)
        self._shapes.append(picture.shape)
        self._size = end

    def finish(self) -> Pictures:
        buffer: NDArray[np.uint8] = self._memory[: self._size]
        if self._file is not None:
            self._file.flush()
            buffer = np.memmap(self._file, dtype=np.uint8, mode="r", shape=(self._size,))
            self._file.close()
        shapes = np.array(self._shapes, dtype=np.int64).reshape(-1, 3)
        return Pictures(buffer, np.array(self._offsets, dtype=np.int64), shapes)

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
                f"The decoded pictures found no room on the disk after {self._size >> 20} MiB ({error.strerror}).",
                "Free some space, or set --store to a folder on a larger disk.",
            ) from error


def _try_read(path: Path, preprocess: Preprocess) -> Picture | str:
    try:
        return read_picture(path, preprocess)
    except PictureError as error:
        return str(error)


def _try_hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError:
        return ""


@contextmanager
def _pillow_rules() -> Iterator[None]:
    """While many files are read: cut-off files are damaged ones, whatever other code has set; Pillow says nothing."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _load(source: Path | bytes, preprocess: Preprocess) -> tuple[Image.Image, int]:
    """Decoded pixels and the EXIF orientation that is still to be applied (1 to 8)."""
    short = preprocess.resize
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            image.draft(preprocess.mode, (short, short))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below `short`
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"too large ({image.width} x {image.height} pixels)")
            image.load()
            orientation = 1
            with suppress(Exception):  # damaged EXIF data doesn't make a picture unreadable
                orientation = int(image.getexif().get(ORIENTATION, 1))
            return image, orientation
    except PictureError:
        raise
    except Exception as error:  # readers raise nearly every type on damaged files: SyntaxError, struct.error, KeyError
        raise PictureError(_reason(error, source)) from error


def _reason(error: Exception, source: Path | bytes) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too large (more pixels than a picture should have)"
    if isinstance(error, UnidentifiedImageError):
        empty = not source if isinstance(source, bytes) else source.stat().st_size == 0
        return "an empty file" if empty else "not a picture, or damaged at its start"
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be opened ({error.strerror})"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "cut short (the end is missing)" if "truncated" in text.lower() else f"damaged ({text})"


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer).convert("RGB")
    if image.mode == "P" and mode == "L":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey (0 to 65535) and floating-point grey (0 to 1) as 8 bits; other ranges can't be known."""
    values = np.asarray(image).astype(np.float64)
    top, name = (
        (1.0, "floating-point pixels outside 0 to 1") if image.mode == "F" else (65535.0, "pixels above 16 bits")
    )
    if not (values.min() >= 0 and values.max() <= top):
        raise PictureError(name)
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _shrink(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Short side to `resize` pixels, up or down; the long side is rounded down, as torchvision does."""
    short, (width, height) = preprocess.resize, image.size
    side = min(width, height)
    used_width, used_height = min(width, side * MAX_ASPECT), min(height, side * MAX_ASPECT)
    left, top = (width - used_width) // 2, (height - used_height) // 2
    size = (short * used_width // side, short * used_height // side)
    if size == image.size:
        return image
    box = (left, top, left + used_width, top + used_height)
    return image.resize(size, FILTERS[preprocess.interpolation], box=box)
