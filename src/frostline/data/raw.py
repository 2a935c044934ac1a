"""Images that come as arrays: which types are taken, which axis holds the channels, and their pixels as uint8.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.base.errors import DataError
from frostline.base.hashing import hash_bytes
from frostline.data.colours import ImageError, plain_image
from frostline.data.images import Pixels
from frostline.data.preprocess import Preprocess

Values = NDArray[Any]
FIRST, LAST = 0, 2  # the axis of the channels in (C, H, W) and in (H, W, C)
TYPES = "Give uint8 (0 to 255), uint16 (0 to 65535) or floats from 0 to 1."
SHAPES = "Give (N, H, W), (N, H, W, C) or (N, C, H, W), or a list of such images."


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """One image as it was given: (H, W), or three axes with the channels on `axis`."""

    values: Values
    axis: int | None = None

    def pixels(self) -> Pixels:
        """uint8 (H, W, C); 16-bit values are divided by 257, floats multiplied by 255, both rounded to the nearest."""
        if self.axis is None:
            values = self.values[:, :, None]
        else:
            values = np.moveaxis(self.values, self.axis, LAST)
        if values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        top = 65535.0
        if values.dtype.kind == "f":
            top = 1.0
        return np.rint(values.astype(np.float64) * (255 / top)).astype(np.uint8)

    def sha256(self) -> str:
        """Hash of shape, type and bytes of the pixels: the same however the image was given."""
        return hash_array(self.pixels())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawImages:
    """Images as they were given, with their axes not yet told apart: that takes the network's number of channels."""

    items: Sequence[Values | Path]
    stacked: bool  # one array for all
    rounded: int = field(default=0)  # images of floats: rounded to 8 bits


def hash_array(values: Values) -> str:
    """SHA-256 of shape, type and bytes (in C order)."""
    return hash_bytes(f"{values.shape}{values.dtype.str}".encode() + values.tobytes())


def raw_images(given: Any, name: str = "X") -> RawImages:
    """Check what a user gave for images; nothing is copied.

    Args:
        given: an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), or a list of such images, of Pillow
            images, or of paths of image files.
        name: what the user calls it.

    Raises:
        DataError: no images, another shape, another type of numbers, floats outside 0 to 1.
    """
    if not is_array(given) and not isinstance(given, Sequence):
        raise DataError(f"{name} is a {type(given).__name__}, but images were expected.", SHAPES)
    if isinstance(given, (str, bytes)):
        raise DataError(f"{name} is text, but images were expected.", SHAPES)
    if is_array(given):
        values = as_numpy(given)
        if values.dtype.kind not in "OU":
            return _stacked(values, name)
        given = list(values)
    items = [_item(item, f"{name}[{i}]") for i, item in enumerate(given)]
    if not items:
        raise DataError(f"{name} holds no images.", SHAPES)
    rounded = sum(not isinstance(item, Path) and item.dtype.kind == "f" for item in items)
    return RawImages(items=items, stacked=False, rounded=rounded)


def is_array(value: Any) -> bool:
    """Whether a value is an array of numpy, a tensor of torch, or says itself how it becomes an array."""
    return isinstance(value, np.ndarray) or (hasattr(value, "__array__") and not isinstance(value, Image.Image))


def as_numpy(value: Any) -> Values:
    """An array or tensor (any device, attached to a graph or not) as numpy, without a copy where that is possible."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # numpy has no such type
            value = value.float()
        return np.asarray(value.numpy())
    return np.asarray(value)


def arrange(given: RawImages, preprocess: Preprocess, name: str = "X") -> list[RawImage | Path]:
    """Images with the axis of their channels, which is the one that fits the network.

    A network for RGB or grey images takes the other kind too, as it takes such files. Raises DataError where no axis
    fits, or both do.
    """
    shapes = [item.shape for item in given.items if not isinstance(item, Path)]
    flat = any(len(shape) == 2 for shape in shapes)
    if flat and preprocess.mode == "N":
        raise _mismatch(name, next(s for s in shapes if len(s) == 2), 1, preprocess)
    if flat and given.stacked:
        _check_single(name, (len(shapes), *shapes[0]), preprocess)
    solid = list(dict.fromkeys(shape for shape in shapes if len(shape) == 3))
    axis = None
    if solid:
        axis = _channel_axis(name, solid, preprocess)

    def arranged(item: Path | Values) -> Path | RawImage:
        if isinstance(item, Path):
            return item
        return RawImage(item, axis if item.ndim == 3 else None)

    return [arranged(item) for item in given.items]


def _stacked(values: Values, name: str) -> RawImages:
    if values.ndim not in (3, 4):
        found = ""
        if values.ndim == 2:
            found = " (rows of numbers, not images)"
        raise DataError(f"{name} has shape {values.shape}{found}, but images were expected.", SHAPES)
    if not len(values):
        raise DataError(f"{name} holds no images: its shape is {values.shape}.", SHAPES)
    _check_values(values, name)
    rounded = 0
    if values.dtype.kind == "f":
        rounded = len(values)
    return RawImages(items=list(values), stacked=True, rounded=rounded)


def _item(item: Any, name: str) -> Values | Path:
    if isinstance(item, (str, Path)):
        return Path(item)
    if isinstance(item, Image.Image):
        item = _pixels_of(item, name)
    if not is_array(item):
        raise DataError(f"{name} is a {type(item).__name__}, but an image was expected.", SHAPES)
    values = as_numpy(item)
    if values.ndim not in (2, 3):
        raise DataError(f"{name} has shape {values.shape}, but an image has 2 or 3 axes.", SHAPES)
    _check_values(values, name)
    return values


def _pixels_of(image: Image.Image, name: str) -> Values:
    try:
        return np.asarray(plain_image(image))
    except ImageError as error:
        raise DataError(f"{name} is an image with {error}.", TYPES) from error


def _check_values(values: Values, name: str) -> None:
    if not values.size:
        raise DataError(f"{name} has shape {values.shape}: images without pixels.", SHAPES)
    if values.dtype.kind == "f":
        low = float(values.min())
        high = float(values.max())
        if not (low >= 0 and high <= 1):
            raise DataError(f"{name} holds floats from {low:g} to {high:g}, but they have to lie in 0 to 1.", TYPES)
    elif values.dtype.kind != "u" or values.dtype.itemsize > 2:
        raise DataError(f"{name} holds {values.dtype} values, and what their range means isn't known.", TYPES)


def _check_single(name: str, shape: tuple[int, ...], preprocess: Preprocess) -> None:
    """(H, W, 3) and (3, H, W) are most likely one colour image, and not grey ones: guessing would be silent."""
    if shape[-1] <= 4 or (shape[0] == preprocess.channels and preprocess.channels > 1):
        raise DataError(
            f"{name} of shape {shape} can be one image with channels, or {shape[0]} grey ones.",
            "Give one image as X[None], grey ones as X[..., None].",
        )


def _channel_axis(name: str, shapes: Sequence[tuple[int, ...]], preprocess: Preprocess) -> int:
    if preprocess.mode == "N":
        accepted = {preprocess.channels}
    else:
        accepted = {1, 3}
    for wanted in ({preprocess.channels}, accepted):
        axes = [axis for axis in (LAST, FIRST) if all(shape[axis] in wanted for shape in shapes)]
        if len(axes) == 1:
            return axes[0]
        if axes:
            raise DataError(
                f"Images of shape {shapes[0]} in {name} can have their channels on the first or on the last axis.",
                "Give images in which only one of them has as many values as the network has channels.",
            )
    odd = next((s for s in shapes if s[LAST] not in accepted and s[FIRST] not in accepted), shapes[0])
    raise _mismatch(name, odd, min(odd[FIRST], odd[LAST]), preprocess)


def _mismatch(name: str, shape: tuple[int, ...], channels: int, preprocess: Preprocess) -> DataError:
    kind = {"RGB": "3 channels (RGB)", "L": "1 channel (grey)"}.get(preprocess.mode, f"{preprocess.channels} channels")
    return DataError(
        f"An image in {name} of shape {shape} has {channels} channel(s), but the network reads {kind}.",
        "Give images with as many channels, or another network.",
    )
