"""What the files and texts of a data set are like: formats, sizes in pixels, lengths, and pixels that say little."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from frostline.base.records import DataWarning
from frostline.data.decode import FORMATS, Lazy, Source, check_is_file
from frostline.data.images import Images, Pixels
from frostline.data.notices import noticed
from frostline.data.raw import RawImage
from frostline.data.traits import Trait, misnamed

LOOKED_AT = 2000  # files, spread evenly over the data
DARK = 64  # of 255: 14 bits in a file of 16 end here, 12 bits at 16
SHARE = 0.5  # of the images that have to be dark before it is the range that is doubted


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Of the images that were looked at: how many have which format and colour mode, their sizes, wrong endings.

    `sizes` are the smallest, the median and the largest by area, each (width, height) in pixels. `misnamed` are files
    whose ending names another format than they have.
    """

    looked_at: int
    formats: dict[str, int]
    modes: dict[str, int]
    sizes: tuple[tuple[int, int], ...]
    misnamed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFacts:
    """Of all texts: the fewest, the median and the most words, and tokens where a network's tokenizer is known."""

    words: tuple[int, int, int]
    tokens: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Header:
    format: str
    mode: str
    size: tuple[int, int]
    misnamed: str = ""


def image_facts(sources: Sequence[Source], threads: int) -> ImageFacts:
    """Look at the headers of at most 2,000 images; those that can't be read don't count."""
    step = max(1, len(sources) // LOOKED_AT)
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, threads)) as pool:
        warnings.simplefilter("ignore")
        found = [header for header in pool.map(_header, sources[::step]) if header is not None]
    by_area = sorted((header.size for header in found), key=lambda size: (size[0] * size[1], size))
    sizes: tuple[tuple[int, int], ...] = ()
    if by_area:
        sizes = (by_area[0], by_area[len(by_area) // 2], by_area[-1])
    return ImageFacts(
        looked_at=len(found),
        formats=dict(Counter(header.format for header in found).most_common()),
        modes=dict(Counter(header.mode for header in found).most_common()),
        sizes=sizes,
        misnamed=tuple(header.misnamed for header in found if header.misnamed),
    )


def frames_warning(
    sources: Sequence[Source], names: Sequence[str], traits: Sequence[Trait], threads: int
) -> tuple[DataWarning, ...]:
    """A warning of animations and of files of several pages, of which the first image is read.

    `traits` are those of all images; files that may hold several are opened once more.
    """
    may = [i for i, its in enumerate(traits) if Trait.PAGES in its and isinstance(sources[i], Path)]
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, threads)) as pool:
        warnings.simplefilter("ignore")
        counts = pool.map(lambda i: _frames(sources[i]), may)
        found = [f"{names[i]} with {count}" for i, count in zip(may, counts, strict=True) if count > 1]
    return noticed("several-images", found, "only the first image of each file is read")


def _frames(source: Source) -> int:
    try:
        with Image.open(source, formats=FORMATS) as image:  # type: ignore[arg-type]
            if getattr(image, "is_animated", False):  # sooner told than the count
                return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged files are told elsewhere
        return 1
    return 1


def text_facts(words: Sequence[str], tokens: Sequence[int] | None) -> TextFacts:
    """Lengths of the texts; `tokens` are counted by the caller's tokenizer."""
    counts = [len(text.split()) for text in words]
    return TextFacts(words=_range_of(counts), tokens=_range_of(tokens) if tokens else None)


def _range_of(counts: Sequence[int]) -> tuple[int, int, int]:
    return min(counts), int(np.median(counts)), max(counts)


def _header(source: Source) -> _Header | None:
    if isinstance(source, RawImage):
        height, width = (n for k, n in enumerate(source.values.shape) if k != source.axis)
        return _Header("array", str(source.values.dtype), (width, height))
    try:
        held = source.fetch() if isinstance(source, Lazy) else source
        if isinstance(held, Path):
            check_is_file(held)
        with Image.open(BytesIO(held) if isinstance(held, bytes) else held, formats=FORMATS) as image:
            form = image.format or "?"
            return _Header(form, image.mode, image.size, misnamed(held, form))
    except Exception:  # Pillow raises nearly every type on damaged files, which are told elsewhere
        return None


def range_warnings(images: Images, names: list[str], rows: Iterable[int]) -> tuple[DataWarning, ...]:
    """Look through the decoded images of these rows (uint8, H x W x C); `names` are those of all rows."""
    constant = []
    dark = []
    count = 0
    brightest = 0
    for row in rows:
        image = images[row]
        count += 1
        if _is_constant(image):
            constant.append(names[row])
            continue
        top = int(image.max())
        if top <= DARK:
            dark.append(names[row])
            brightest = max(brightest, top)
    handled = "kept; each has a single colour, as files have that were converted wrongly"
    found = noticed("constant-images", constant, handled)
    if len(dark) <= SHARE * count:
        return found
    handled = (
        f"kept, but nearly black: no pixel is above {brightest} of 255. Values of 10 to 14 bits in files of 16, or of "
        "another range, have to be brought to the full range first"
    )
    return (*found, *noticed("pixel-range", dark, handled))


def _is_constant(image: Pixels) -> bool:
    """Whether all pixels are alike; corners first, as they nearly always tell."""
    first = image[0, 0]
    if (image[-1, -1] != first).any() or (image[0, -1] != first).any():
        return False
    return bool((image == first).all())
