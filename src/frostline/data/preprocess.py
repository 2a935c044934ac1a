"""The preprocessing contract: everything that turns an image's file into a network's input, in one record.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from frostline.base.errors import DataError

if TYPE_CHECKING:
    import torch

Mode = Literal["RGB", "L", "N"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Fit = Literal["crop", "squash"]
Centre = Literal["round", "floor"]

CHANNELS: dict[str, int] = {"RGB": 3, "L": 1}  # mode N, images that only arrays can hold, has any number
MOST_CHANNELS = 4096
LARGEST_SIDE = 8192  # pixels of a network's input
CROP_FRACTION = 0.875  # of the resized short side, where a source doesn't say
# Written beside the fields, so that the saved record tells a reader everything; other values are refused on reading.
FIXED: dict[str, Any] = {"exif": "applied", "crop": "centre", "scale": 255}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How a file becomes a tensor: EXIF orientation, colour mode, short side to `resize`, centre crop of `size`, scale.

    `size` is (H, W) of the network's input in pixels, `resize` the short side in pixels before the crop. `mean` and
    `std` are in units of [0, 1]; one number stands for every channel. `channels` follows from the modes RGB and L, and
    is given for N. `fit` is `squash` where the whole image is brought to a square of `resize`, whatever its shape.

    `centre` says where a centre crop begins if it can't lie in the middle: half a pixel is rounded to the even number,
    as torchvision does, or cut off, as transformers does.

    Raises DataError for values that can't be used.
    """

    mode: Mode
    size: tuple[int, int]
    resize: int
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 0
    fit: Fit = "crop"
    centre: Centre = "round"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise DataError(f"Colour mode {self.mode!r} is not known.", "Use RGB, L (grey) or N (any channels).")
        object.__setattr__(self, "channels", self.channels or CHANNELS.get(self.mode, 0))
        if not 1 <= self.channels <= MOST_CHANNELS or self.channels != CHANNELS.get(self.mode, self.channels):
            raise DataError(
                f"{self.channels} channels don't go with colour mode {self.mode}.",
                f"RGB has 3, L has 1, N has any number up to {MOST_CHANNELS:,}.",
            )
        if self.interpolation not in get_args(Interpolation):
            raise DataError(
                f"Interpolation {self.interpolation!r} is not known.", f"Known: {', '.join(get_args(Interpolation))}."
            )
        if len(self.size) != 2 or min(*self.size, self.resize) < 1 or max(*self.size, self.resize) > LARGEST_SIDE:
            raise DataError(
                f"Input size {self.size} with short side {self.resize} is not an image's size.",
                f"Give --size in pixels, such as 224, and {LARGEST_SIDE} at most.",
            )
        if self.fit not in get_args(Fit) or (
            self.fit == "squash" and (self.size[0] != self.size[1] or self.size[0] > self.resize)
        ):
            raise DataError(
                f"Fitting {self.fit!r} doesn't go with size {self.size} and short side {self.resize}.",
                "squash is for square inputs, no larger than what they are cut from.",
            )
        if self.centre not in get_args(Centre):
            raise DataError(f"Centre {self.centre!r} of a crop is not known.", "Known: round, floor.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            object.__setattr__(self, name, _per_channel(name, values, self.channels))

    @classmethod
    def default(
        cls, size: int | tuple[int, int], mean: Sequence[float], std: Sequence[float], channels: int
    ) -> Preprocess:
        """Where a source is silent: short side to size / 0.875, bilinear with antialias, centre crop.

        `channels` is 3 (RGB), 1 (grey) or any other number (mode N). Raises DataError for no channels, and for a mean
        or std of another length.
        """
        modes: dict[int, Mode] = {3: "RGB", 1: "L"}
        if isinstance(size, int):
            height = size
            width = size
        else:
            height, width = size
        return cls(
            mode=modes.get(channels, "N"),
            channels=channels,
            size=(height, width),
            resize=round(max(height, width) / CROP_FRACTION),
            interpolation="bilinear",
            mean=tuple(mean),
            std=tuple(std),
        )

    def to_json(self) -> dict[str, Any]:
        record = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**record, **FIXED}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Preprocess:
        """The record that :meth:`to_json` wrote; raises DataError for unknown or missing keys and for wrong values.

        Records without `channels` are older, and those of RGB and grey images; so are those without `fit`, `centre`.
        """
        record = {"channels": 0, "fit": "crop", "centre": "round", **record}
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(record) - names - set(FIXED))
        missing = sorted(names - set(record))
        if unknown or missing:
            if unknown:
                found = f"unknown key {unknown[0]!r}"
            else:
                found = f"no key {missing[0]!r}"
            raise DataError(f"The preprocessing record has {found}.", "It was written by another version of frostline.")
        for name, value in FIXED.items():
            if record.get(name, value) != value:
                raise DataError(
                    f"The preprocessing record says {name}={record[name]!r}, but only {value!r} is known.",
                    "It was written by another version of frostline.",
                )
        return cls(**_typed({name: record[name] for name in names}))


def to_input(
    images: torch.Tensor, preprocess: Preprocess, *, device: torch.device | str, channels_last: bool
) -> torch.Tensor:
    """(x / 255 - mean) / std as float32 (N, C, H, W) on `device`, from uint8 (N, C, H, W) anywhere.

    One multiplication and one addition per value, each rounded by itself, so that a sample's bits depend neither on
    its batch nor on its place in it. The layout in memory is exactly the one asked for, also where C is 1.
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != preprocess.channels:
        raise ValueError(f"expected uint8 (N, {preprocess.channels}, H, W), not {images.dtype} {images.shape}")
    if channels_last:
        layout = torch.channels_last
    else:
        layout = torch.contiguous_format
    scales = torch.tensor([1 / (255 * s) for s in preprocess.std], dtype=torch.float32)
    shifts = torch.tensor([-m / s for m, s in zip(preprocess.mean, preprocess.std, strict=True)], dtype=torch.float32)
    result = torch.empty(images.shape, dtype=torch.float32, device=device, memory_format=layout)
    result.copy_(images.to(device))
    n, channels, height, width = images.shape
    if channels_last:  # whole rows of pixels at a time: spreading three numbers over the last axis is 7 times slower
        rows = result.permute(0, 2, 3, 1).view(n * height, width * channels)
        rows.mul_(scales.repeat(width).to(device)).add_(shifts.repeat(width).to(device))
    else:
        result.mul_(scales.view(-1, 1, 1).to(device)).add_(shifts.view(-1, 1, 1).to(device))
    return result


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        if channels == 1:
            wanted = "one number"
        else:
            wanted = f"one number or {channels}"
        raise DataError(
            f"--{name} has {len(values)} numbers for a network with {channels} input channel(s).",
            f"Give --{name} {wanted}.",
        )
    if not all(math.isfinite(v) for v in values) or (name == "std" and min(values) <= 0):
        limit = ""
        if name == "std":
            limit = " above 0"
        raise DataError(f"--{name} {','.join(f'{v:g}' for v in values)} can't be used.", f"Give finite numbers{limit}.")
    return tuple(float(v) for v in values) * (channels if len(values) == 1 else 1)


def _typed(record: dict[str, Any]) -> dict[str, Any]:
    try:
        height, width = (int(v) for v in record["size"])
        mean, std = (tuple(float(v) for v in record[name]) for name in ("mean", "std"))
        counts = {name: int(record[name]) for name in ("resize", "channels")}
        return {**record, **counts, "size": (height, width), "mean": mean, "std": std}
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"The preprocessing record holds a value of another type ({error}).", "Run frostline fit again."
        ) from error
