"""Augmented views of decoded images: each is a pure function of (seed, sample, view).

Shapes: N images, C channels, H rows, W columns. View 0 is the evaluation view, views 1, 2, ... are random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.base.seeds import numpy_generator
from frostline.data.decode import FILTERS, Images, Pixels
from frostline.data.preprocess import Preprocess
from frostline.recipe.settings import Augment

MOST_VIEWS = 10
SMALL = 32  # pixels; up to here, and for grey images, mirror images may be another class (b and d, 2 and 5)
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's own conversion

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a random view may do. Ranges are drawn from evenly (`ratio` on a log scale)."""

    name: Augment
    area: tuple[float, float] = (1.0, 1.0)  # of the largest box with the input's aspect that fits the image
    ratio: tuple[float, float] = (1.0, 1.0)  # width / height of the box, times the input's own
    flip: bool = False  # left to right, every second time
    rotate: float = 0.0  # degrees to either side
    light: float = 0.0  # brightness and contrast, factors 1 - light to 1 + light
    saturation: float = 0.0  # likewise

    @property
    def still(self) -> bool:
        """Every view equals view 0."""
        return self.name == "none"


def number_of_views(epochs: int) -> int:
    """V: as many random views as there are epochs, up to 10."""
    return min(epochs, MOST_VIEWS)


def view_of_epoch(epoch: int, views: int) -> int:
    """The view that an epoch (counted from 0) trains on: 1 + (epoch mod views)."""
    return 1 + epoch % views


def augment_policy(setting: Augment | None, preprocess: Preprocess) -> Policy:
    """The policy of `--augment`, made exact for one input.

    Rule: where nothing is set, colour images over 32 pixels get `standard`, others `light`. Flips are off for grey
    images and for inputs of 32 pixels or less, whatever is set. `standard` is a random resized crop (area 0.35 to 1,
    ratio 3/4 to 4/3) with mild colour changes; on grey or small images, where a crop soon cuts the object, the area
    is 0.6 to 1 and turns by up to 10 degrees are added. What other channels than grey and RGB mean isn't known: they
    count as such images, and their values stay as they are. `light` shifts the evaluation crop and varies its side by
    about a tenth. `none` gives view 0 always.
    """
    colour = preprocess.mode == "RGB"
    photo = colour and max(preprocess.size) > SMALL
    name = setting or ("standard" if photo else "light")
    if name == "none":
        return Policy(name="none")
    if name == "light":
        return Policy(name="light", area=(0.65, 0.95), flip=photo)
    return Policy(
        name="standard",
        area=(0.35, 1.0) if photo else (0.6, 1.0),
        ratio=(3 / 4, 4 / 3) if photo else (0.9, 1 / 0.9),
        flip=photo,
        rotate=0.0 if photo else 10.0,
        light=0.0 if preprocess.mode == "N" else 0.2,
        saturation=0.2 if colour else 0.0,
    )


def make_view(picture: Pixels, preprocess: Preprocess, policy: Policy, *, seed: int, sample: str, view: int) -> Pixels:
    """One view as uint8 (H, W, C) of `preprocess.size`; depends on nothing but its arguments.

    View 0 is the centre crop; where the image is smaller than the crop, its largest box of that aspect is enlarged.
    `sample` names the image (its hash or id).
    """
    if view == 0 or policy.still:
        return _evaluation_view(picture, preprocess)
    draws = [float(u) for u in numpy_generator(seed, "view", sample, view).random(9)]
    height, width = picture.shape[:2]
    box = _random_box((height, width), preprocess.size, policy, draws[:4])
    if policy.rotate:
        picture = _rotate(picture, box, policy.rotate * (2 * draws[4] - 1))
    result = _crop(picture, box, preprocess)
    if preprocess.mode != "N":
        result = _pixels(_colour(_image(result), policy, draws[5:8]))
    if policy.flip and draws[8] < 0.5:
        return result[:, ::-1]
    return result


def make_views(
    pictures: Images,
    samples: Sequence[str],
    preprocess: Preprocess,
    policy: Policy,
    *,
    seed: int,
    view: int,
    threads: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """One view of every image as uint8 (N, C, H, W); `samples[i]` names image i.

    Written to `out` (any memory layout) where given, else to new memory in channels-last order.
    """
    if len(samples) != len(pictures):
        raise ValueError(f"{len(samples)} names for {len(pictures)} images")
    height, width = preprocess.size
    if out is None:
        out = np.empty((len(pictures), height, width, preprocess.channels), dtype=np.uint8).transpose(0, 3, 1, 2)
    target = out.transpose(0, 2, 3, 1)

    def fill(start: int) -> None:
        for i in range(start, len(pictures), workers):
            target[i] = make_view(pictures[i], preprocess, policy, seed=seed, sample=samples[i], view=view)

    workers = max(1, min(threads, len(pictures)))
    if workers == 1:
        fill(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, range(workers)))
    return out


def _evaluation_view(picture: Pixels, preprocess: Preprocess) -> Pixels:
    (height, width), (rows, columns) = picture.shape[:2], preprocess.size
    if height >= rows and width >= columns:
        whole: Callable[[float], int]
        if preprocess.centre == "floor":
            whole = math.floor
        else:
            whole = round
        top = whole((height - rows) / 2)
        left = whole((width - columns) / 2)
        return np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    scale = min(height / rows, width / columns)
    top = (height - rows * scale) / 2
    left = (width - columns * scale) / 2
    return _crop(picture, (left, top, left + columns * scale, top + rows * scale), preprocess)


def _random_box(shape: tuple[int, int], size: tuple[int, int], policy: Policy, draws: Sequence[float]) -> Box:
    (height, width), (rows, columns) = shape, size
    scale = min(height / rows, width / columns)
    area = rows * columns * scale**2 * _between(policy.area, draws[0])
    low, high = policy.ratio
    ratio = columns / rows * math.exp(_between((math.log(low), math.log(high)), draws[1]))
    box_width = min(width, math.sqrt(area * ratio))
    box_height = min(height, math.sqrt(area / ratio))
    left = draws[2] * (width - box_width)
    top = draws[3] * (height - box_height)
    return left, top, left + box_width, top + box_height


def _between(limits: tuple[float, float], draw: float) -> float:
    low, high = limits
    return low + (high - low) * draw


def _crop(picture: Pixels, box: Box, preprocess: Preprocess) -> Pixels:
    """The box, resized to the input's size; only the pixels that it touches are handed to Pillow."""
    height, width = picture.shape[:2]
    left = math.floor(box[0])
    top = math.floor(box[1])
    right = min(width, math.ceil(box[2]))
    bottom = min(height, math.ceil(box[3]))
    inner = (box[0] - left, box[1] - top, min(box[2] - left, right - left), min(box[3] - top, bottom - top))
    (rows, columns), kernel = preprocess.size, FILTERS[preprocess.interpolation]
    return _each(picture[top:bottom, left:right], lambda image, _: image.resize((columns, rows), kernel, box=inner))


def _rotate(picture: Pixels, box: Box, degrees: float) -> Pixels:
    """Turned about the box's centre; the corners that appear take the mean colour of the image's rim."""
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    means = [int(v) for v in np.rint(rim.mean(axis=0))]
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)

    def turn(image: Image.Image, bands: slice) -> Image.Image:
        fill = tuple(means[bands])
        colour: int | tuple[int, ...] = fill
        if len(fill) == 1:
            colour = fill[0]
        return image.rotate(degrees, Image.Resampling.BILINEAR, center=centre, fillcolor=colour)

    return _each(picture, turn)


def _each(picture: Pixels, change: Callable[[Image.Image, slice], Image.Image]) -> Pixels:
    """Pillow's images have 1 or 3 channels; others are changed one by one. `change` is told which channels it gets."""
    channels = picture.shape[2]
    if channels in (1, 3):
        return _pixels(change(_image(picture), slice(0, channels)))
    bands = [slice(k, k + 1) for k in range(channels)]
    return np.concatenate([_pixels(change(_image(picture[:, :, band]), band)) for band in bands], axis=2)


def _colour(image: Image.Image, policy: Policy, draws: Sequence[float]) -> Image.Image:
    """Brightness, contrast (about the mean grey) and saturation, which together are one affine map of the colours."""
    brightness, contrast = (1 + policy.light * (2 * u - 1) for u in draws[:2])
    saturation = 1 + policy.saturation * (2 * draws[2] - 1)
    if (brightness, contrast, saturation) == (1.0, 1.0, 1.0):
        return image
    gain = brightness * contrast
    offset = brightness * (1 - contrast) * _mean_grey(image)
    if image.mode == "L":
        table = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255).astype(int)
        return image.point(table.tolist())
    rows = np.outer(np.ones(3), np.array(GREY)) * (1 - saturation) + np.eye(3) * saturation
    matrix = np.concatenate([rows * gain, np.full((3, 1), offset + 0.5)], axis=1)  # Pillow cuts off, so + 0.5 rounds
    return image.convert("RGB", tuple(matrix.ravel().tolist()))


def _mean_grey(image: Image.Image) -> float:
    mean = np.asarray(image.resize((1, 1), Image.Resampling.BOX), dtype=np.float64).reshape(-1)
    if mean.size == 3:
        return float(mean @ np.array(GREY))
    return float(mean[0])


def _image(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)


def _pixels(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        return pixels
    return pixels[:, :, None]
