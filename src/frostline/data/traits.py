"""What is unusual about an image file, noticed while it is decoded: its name, colours, depth, orientation and size."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag, auto
from pathlib import Path

from PIL import Image

from frostline.base.records import DataWarning
from frostline.data.formats import ending
from frostline.data.notices import noticed

SMALL = 4  # pixels: a side below this shows nothing
LARGE = 50_000_000  # pixels: from here an image takes time and memory
LONGEST = 8  # times the short side; of longer strips the middle is read
DEEP = ("I", "F")  # beginnings of Pillow's names of modes with more than 8 bits
GREYS = ("1", "L", "LA", "La")
# Endings that Pillow's names of formats go with; others say something else than the file is.
NAMED = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
}


class Trait(IntFlag):
    """What was noticed of one image file. PAGES: its format may hold several images."""

    MISNAMED = auto()
    PAGES = auto()
    CMYK = auto()
    PALETTE = auto()
    DEEP = auto()
    TRANSPARENT = auto()
    TURNED = auto()
    GREY = auto()
    SMALL = auto()
    STRIP = auto()
    LARGE = auto()


NOTHING = Trait(0)
# How each is called in a warning, and what is done with it.
HANDLED = {
    Trait.MISNAMED: ("misnamed", "read as what they are: their endings name another format"),
    Trait.CMYK: ("cmyk", "brought to the network's colours without their printer's profile"),
    Trait.PALETTE: ("palette", "brought to the network's colours"),
    Trait.DEEP: ("deep-pixels", "16 bits or floating point, brought to 8 bits"),
    Trait.TRANSPARENT: ("transparency", "laid on white"),
    Trait.TURNED: ("turned", "turned upright, as their EXIF data say"),
    Trait.GREY: ("grey-among-colour", "kept; if grey goes with a class, that alone can be learnt"),
    Trait.SMALL: ("tiny-images", f"kept, though they are less than {SMALL} pixels wide or high"),
    Trait.STRIP: ("strips", f"only the middle is read: they are over {LONGEST} times as long as wide"),
    Trait.LARGE: ("huge-images", f"kept; with over {LARGE // 10**6} million pixels they take time and memory"),
}


def traits_of(image: Image.Image, source: Path | bytes) -> Trait:
    """The traits that an opened image shows before it is decoded (all but TURNED)."""
    form = image.format or "?"
    width, height = image.size
    deep = image.mode.startswith(DEEP) or ";16" in str(getattr(image, "tile", ())[:1])
    shown = {
        Trait.MISNAMED: bool(misnamed(source, form)),
        Trait.PAGES: form in ("GIF", "TIFF", "WEBP", "PNG") and _may_hold_several(image, form),
        Trait.CMYK: image.mode == "CMYK",
        Trait.PALETTE: image.mode in ("P", "PA"),
        Trait.DEEP: deep,
        Trait.TRANSPARENT: image.has_transparency_data,
        Trait.GREY: image.mode in GREYS or image.mode.startswith(DEEP),
        Trait.SMALL: min(width, height) < SMALL,
        Trait.STRIP: max(width, height) > LONGEST * min(width, height),
        Trait.LARGE: width * height > LARGE,
    }
    found = NOTHING
    for trait, there in shown.items():
        if there:
            found |= trait
    return found


def misnamed(source: Path | bytes, form: str) -> str:
    """`x.png is JPEG` where a file's ending names another format than it has; else nothing."""
    if isinstance(source, bytes):
        return ""
    by_name = NAMED.get(ending(source.name), "JPEG")
    if by_name == form or {by_name, form} == {"JPEG", "MPO"}:
        return ""
    return f"{source.name} is {form}"


def trait_warnings(traits: Sequence[Trait], names: Sequence[str]) -> tuple[DataWarning, ...]:
    """A warning for each trait that readable images have; `traits` and `names` are those of all of them."""
    found: list[DataWarning] = []
    unusual = [(name, its) for name, its in zip(names, traits, strict=True) if its]
    for trait, (kind, handled) in HANDLED.items():
        having = [name for name, its in unusual if trait in its]
        if trait is not Trait.GREY or len(having) < len(names):
            found.extend(noticed(kind, having, handled))
    return tuple(found)


def _may_hold_several(image: Image.Image, form: str) -> bool:
    """Whether it is worth counting a file's images; of PNG and WebP the header tells."""
    return form in ("GIF", "TIFF") or bool(getattr(image, "is_animated", False))
