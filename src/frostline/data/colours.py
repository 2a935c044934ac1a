"""A Pillow image in the colour mode of a network, upright, in 8 bits: the same for files and for images in Python."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from PIL import Image

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


class ImageError(ValueError):
    """An image that can't be read; the text is the reason, without the file's name."""


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; damaged EXIF data don't make an image unreadable."""
    with suppress(Exception):
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright, from the orientation that its EXIF data state."""
    if orientation in TRANSPOSE:
        return image.transpose(TRANSPOSE[orientation])
    return image


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image as RGB or L, transparency laid on white. Raises ImageError for pixels that can't be brought there."""
    image = on_white(to_eight_bits(image))
    if image.mode == "P" and mode == "L":
        image = image.convert("RGB")
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ImageError(f"of colour mode {image.mode}, which can't be brought to {mode}") from error


def plain_image(image: Image.Image) -> Image.Image:
    """An image that Python handed over as a file of it would be read: upright, RGB or grey (16-bit grey as it is)."""
    image = turned(image, orientation_of(image))
    if image.mode in ("L", "RGB") or image.mode.startswith("I;16"):
        if not image.has_transparency_data:
            return image
    elif image.mode[0] in "IF":
        return to_eight_bits(image)
    return to_mode(image, "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """The image without transparency; RGB where there was any."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey (0 to 65535) and floating-point grey (0 to 1) as 8 bits; other ranges can't be known."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        top = 1.0
        name = "floating-point pixels outside 0 to 1"
    else:
        top = 65535.0
        name = "pixels above 16 bits"
    if not (values.min() >= 0 and values.max() <= top):
        raise ImageError(name)
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
