"""Decodes image files once, into uint8 arrays whose short side is the one that the preprocessing asks for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from frostline.base.errors import DataError
from frostline.base.hashing import hash_bytes, hash_file
from frostline.data.colours import TRANSPOSE, ImageError, orientation_of, to_mode, turned
from frostline.data.formats import HEAD, what_it_is
from frostline.data.images import Images, Pixels, Writer
from frostline.data.preprocess import Preprocess
from frostline.data.raw import RawImage
from frostline.data.traits import LONGEST, NOTHING, Trait, traits_of

__all__ = [
    "FILTERS",
    "ImageError",
    "Images",
    "Lazy",
    "Pixels",
    "Source",
    "check_is_file",
    "decode_all",
    "hash_files",
    "in_threads",
    "read_image",
]


@dataclass(frozen=True, slots=True)
class Lazy:
    """An image file that is fetched (its bytes, or where it lies) each time it is needed."""

    fetch: Callable[[], Path | bytes]


T = TypeVar("T")
R = TypeVar("R")

Source = Path | bytes | Lazy | RawImage  # where an image comes from
Progress = Callable[[int, int], None]  # done, total

# Only formats whose readers are plain decoders: others (EPS) would start programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 90_000_000  # to be decoded, after a JPEG's own shrinking; Pillow refuses twice as many in the file
MAX_ASPECT = LONGEST  # a longer strip keeps its middle, else one line of pixels would grow to gigabytes
CHUNK = 256  # images in flight, at most
IN_FLIGHT = 1 << 26  # bytes of them, about

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read_image(source: Source, preprocess: Preprocess) -> Pixels:
    """The image as uint8 (H, W, C), upright, in the colour mode and with the short side of `preprocess`.

    Transparency is laid on white, 16-bit values are divided by 257, an animation gives its first frame, and strips
    beyond 8 : 1 keep their middle. Raises ImageError with the reason for files that are damaged, cut short, too
    large or no images.
    """
    return _read_noticing(source, preprocess)[0]


def _read_noticing(source: Source, preprocess: Preprocess) -> tuple[Pixels, Trait]:
    """What :func:`read_image` returns, and what is unusual about the file."""
    if isinstance(source, RawImage):
        return _fit_array(source.pixels(), preprocess), NOTHING
    image, orientation, traits = _load(_fetch_source(source), preprocess)
    image = _shrink(to_mode(image, preprocess.mode), preprocess)
    if orientation in TRANSPOSE:
        image = turned(image, orientation)
        traits |= Trait.TURNED
    pixels = np.asarray(image).reshape(image.height, image.width, preprocess.channels)
    if preprocess.mode == "RGB" and _is_grey(pixels):
        traits |= Trait.GREY
    return pixels, traits


def _is_grey(pixels: Pixels) -> bool:
    """Whether all channels are alike; the first rows, then all of them."""
    return all((part[..., 0] == part[..., k]).all() for part in (pixels[:2], pixels) for k in (1, 2))


def _fit_array(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """An array is treated as a file with the same pixels is; many channels are resized one by one."""
    if preprocess.mode == "N":
        bands = [_shrink(Image.fromarray(band), preprocess) for band in np.moveaxis(pixels, 2, 0).copy()]
        return np.stack([np.asarray(band) for band in bands], axis=2)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image = _shrink(to_mode(image, preprocess.mode), preprocess)
    return np.asarray(image).reshape(image.height, image.width, preprocess.channels)


def decode_all(
    sources: Sequence[Source],
    preprocess: Preprocess,
    *,
    threads: int,
    spill_dir: Path | None,
    progress: Progress | None,
    traits: list[Trait] | None = None,
) -> tuple[Images, dict[int, str]]:
    """All images, and for each file that can't be read its index and reason (its entry is an empty array).

    `threads` files are decoded at a time. Beyond 64 MiB the images lie in a file in `spill_dir` (the system's folder
    for temporary files where None) that has no name any more: the system frees it with the last reference, also after
    a crash. `progress` is called in the calling thread, `traits` gets what is unusual about each file. Raises
    DataError where that file finds no room, and for image files where the network reads other channels than these.
    """
    if preprocess.mode == "N" and not all(isinstance(source, RawImage) for source in sources):
        raise DataError(
            f"The network reads {preprocess.channels} channels, but image files have 1 (grey) or 3 (RGB).",
            f"Give arrays with {preprocess.channels} channels in Python: frostline.fit((X, y), ...).",
        )
    largest = preprocess.resize**2 * MAX_ASPECT * preprocess.channels
    writer = Writer(largest * len(sources), spill_dir)
    bad = {}
    few = max(threads, IN_FLIGHT // (preprocess.resize**2 * preprocess.channels))
    with _pillow_rules():
        results = in_threads(lambda source: _try_read(source, preprocess), sources, threads, min(few, CHUNK))
        for index, (result, seen) in enumerate(results):
            if traits is not None:
                traits.append(seen)
            if isinstance(result, str):
                bad[index] = result
                result = np.empty((0, 0, preprocess.channels), dtype=np.uint8)
            writer.add(result)
            if progress is not None:
                progress(index + 1, len(sources))
    return writer.finish(), bad


def hash_files(sources: Sequence[Source], threads: int) -> list[str]:
    """SHA-256 of each file's bytes (of an array's shape, type and bytes); empty text for what can't be opened."""
    return list(in_threads(_try_hash, sources, threads))


def in_threads(work: Callable[[T], R], items: Sequence[T], threads: int, at_once: int = CHUNK) -> Iterator[R]:
    """Yield what `work` returns for each item, in their order; `at_once` of the results at most wait to be taken."""
    if threads <= 1:
        yield from map(work, items)
        return
    size = max(1, at_once // (4 * threads))  # items of a task: one by one, small images spend their time on locks

    def part(first: int, end: int) -> list[R]:
        return [work(items[i]) for i in range(first, min(first + size, end))]

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), at_once):
            end = min(start + at_once, len(items))
            for results in pool.map(lambda first, end=end: part(first, end), range(start, end, size)):
                yield from results


def _try_read(source: Source, preprocess: Preprocess) -> tuple[Pixels | str, Trait]:
    try:
        return _read_noticing(source, preprocess)
    except ImageError as error:
        return str(error), NOTHING


def _try_hash(source: Source) -> str:
    try:
        if isinstance(source, RawImage):
            return source.sha256()
        found = source.fetch() if isinstance(source, Lazy) else source
        if isinstance(found, bytes):
            return hash_bytes(found)
        if os.path.isfile(found):  # a pipe or a device would never end
            return hash_file(found)
        return ""
    except OSError:
        return ""


def _fetch_source(source: Path | bytes | Lazy) -> Path | bytes:
    if not isinstance(source, Lazy):
        return source
    try:
        return source.fetch()
    except OSError as error:
        raise ImageError(f"can't be opened ({error.strerror or error})") from error


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


def _load(source: Path | bytes, preprocess: Preprocess) -> tuple[Image.Image, int, Trait]:
    """Decoded pixels, the EXIF orientation that is still to be applied (1 to 8), and what is unusual about the file."""
    short = preprocess.resize
    if isinstance(source, Path):
        check_is_file(source)
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            traits = traits_of(image, source)
            image.draft(preprocess.mode, (short, short))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below `short`
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"too large ({image.width} x {image.height} pixels)")
            image.load()
            return image, orientation_of(image), traits
    except ImageError:
        raise
    except Exception as error:  # readers raise nearly every type on damaged files: SyntaxError, struct.error, KeyError
        raise ImageError(_why_unreadable(error, source)) from error


def check_is_file(path: Path) -> None:
    """Raise ImageError for a folder, a device or a pipe (which would never end), and for a link to nothing."""
    there = os.path.exists(path)  # False, and no error, also for names that are too long
    if there and not os.path.isfile(path):
        raise ImageError("not a file")
    if not there and os.path.islink(path):
        raise ImageError("a link to a file that isn't there (dvc pull or git annex get fetches such files)")


def _head_of(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD]
    with source.open("rb") as file:
        return file.read(HEAD)


def _why_unreadable(error: Exception, source: Path | bytes) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too large (more pixels than an image should have)"
    if isinstance(error, UnidentifiedImageError):
        head = _head_of(source)
        if not head:
            return "an empty file"
        return what_it_is(head) or "not an image, or damaged at its start"
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be opened ({error.strerror})"
    if str(error):
        text = str(error).splitlines()[0]
    else:
        text = type(error).__name__
    if "truncated" in text.lower():
        return "cut short (the end is missing)"
    return f"damaged ({text})"


def _shrink(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Short side to `resize` pixels, up or down; the long side is rounded down, as torchvision does. Or all to a
    square."""
    short, (width, height) = preprocess.resize, image.size
    if preprocess.fit == "squash":
        return image.resize((short, short), FILTERS[preprocess.interpolation])
    side = min(width, height)
    used_width = min(width, side * MAX_ASPECT)
    used_height = min(height, side * MAX_ASPECT)
    left = (width - used_width) // 2
    top = (height - used_height) // 2
    size = (short * used_width // side, short * used_height // side)
    if size == image.size:
        return image
    box = (left, top, left + used_width, top + used_height)
    return image.resize(size, FILTERS[preprocess.interpolation], box=box)
