"""Pixels that say little: images of one colour, and images so dark that their values were read in another range."""

from __future__ import annotations

from collections.abc import Iterable

from frostline.base.records import DataWarning
from frostline.data.images import Images, Pixels

DARK = 64  # of 255: 14 bits in a file of 16 end here, 12 bits at 16
SHARE = 0.5  # of the images that have to be dark before it is the range that is doubted
EXAMPLES = 3


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
    found = []
    if constant:
        handled = "kept; each has a single colour, as files have that were converted wrongly"
        found.append(_warning("constant-images", constant, handled))
    if len(dark) > SHARE * count:
        handled = (
            f"kept, but nearly black: no pixel is above {brightest} of 255. Values of 10 to 14 bits in files of 16, or "
            "of another range, have to be brought to the full range first"
        )
        found.append(_warning("pixel-range", dark, handled))
    return tuple(found)


def _is_constant(image: Pixels) -> bool:
    """Whether all pixels are alike; corners first, as they nearly always tell."""
    first = image[0, 0]
    if (image[-1, -1] != first).any() or (image[0, -1] != first).any():
        return False
    return bool((image == first).all())


def _warning(kind: str, names: list[str], handled: str) -> DataWarning:
    return DataWarning(kind=kind, count=len(names), examples=tuple(names[:EXAMPLES]), handled=handled)
