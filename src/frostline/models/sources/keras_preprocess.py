"""Keras' preprocessing modes as a Preprocess record; what a record can't say, the order BGR, becomes a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline.base.errors import ModelError
from frostline.data.preprocess import Preprocess
from frostline.keras_torch.scaling import LARGEST, InputScaling
from frostline.models.network import NetworkOptions
from frostline.models.weight_files import in_words

MODES = ("tf", "torch", "caffe", "none")
ASK = (
    '--mean M and --std S (--mean 0.5 --std 0.5 for [-1, 1]), or --model-args \'{"preprocess": "caffe"}\' '
    f"({', '.join(MODES)})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What a preprocessing function does: mean and std of RGB in units of [0, 1], and whether it turns RGB to BGR."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reverse: bool

    @property
    def uniform(self) -> bool:
        """The same for every channel, whatever their number."""
        return len(set(self.mean)) == 1 and len(set(self.std)) == 1 and not self.reverse


RAW = Scaling(mean=(0.0,) * 3, std=(1 / 255,) * 3, reverse=False)  # the network wants 0 to 255


def measured(function: Callable[[Any], Any]) -> Scaling:
    """Read off a preprocessing function of Keras, which is affine, by giving it black and the three pure colours.

    Its result for value v of channel c is v / (255 std_c) - mean_c / std_c, at the place of c. Raises ValueError for
    any other function.
    """
    black = np.asarray(function(np.zeros((1, 1, 1, 3))), dtype=np.float64).reshape(3)
    slopes = np.stack([np.asarray(function(_pure(c)), dtype=np.float64).reshape(3) - black for c in range(3)])
    places = [int(np.flatnonzero(row)[0]) if np.count_nonzero(row) == 1 else -1 for row in slopes]
    if places not in ([0, 1, 2], [2, 1, 0]):
        raise ValueError(f"not a scaling of each channel: {slopes.tolist()}")
    std = [1 / float(slopes[c, place]) for c, place in enumerate(places)]
    mean = [-float(black[place]) * std[c] for c, place in enumerate(places)]
    return Scaling(mean=tuple(m + 0.0 for m in mean), std=tuple(std), reverse=places[0] == 2)


def _pure(channel: int) -> Any:
    image = np.zeros((1, 1, 1, 3))
    image[..., channel] = 255.0
    return image


def scaling_of_mode(keras: Any, mode: str) -> Scaling:
    """Of a mode that the user names; `none` is pixels from 0 to 255."""
    if mode not in MODES:
        raise ModelError(f"--model-args: preprocess {mode!r} is no mode.", f"Known: {', '.join(MODES)}.")
    if mode == "none":
        return RAW
    function = keras.applications.imagenet_utils.preprocess_input
    return measured(lambda x: function(x, data_format="channels_last", mode=mode))


def make_preprocess(
    spec: str, scaling: Scaling | None, inside: InputScaling, shape: tuple[int, int, int], options: NetworkOptions
) -> Preprocess:
    """The record for images of (H, W, C). The user's mean and std come before the source's, and those before what the
    model's own scaling (`inside`) was made for. Raises ModelError where nothing says them."""
    height, width, channels = shape
    if scaling is None and inside.expects == "pixels":
        scaling = RAW
    usable = scaling is not None and (channels == 3 or scaling.uniform)
    mean = options.mean
    std = options.std
    if usable:
        assert scaling is not None
        mean = mean or (scaling.mean if channels == 3 else scaling.mean[:1])
        std = std or (scaling.std if channels == 3 else scaling.std[:1])
    if mean is None or std is None:
        if inside.expects == "unit":
            raise ModelError(
                f"{spec} scales its images itself ({in_words(inside.layers)}), but not from 0 to 255.",
                "Give --mean 0 --std 1 if it was trained on values from 0 to 1.",
            )
        raise ModelError(f"{spec} doesn't say how its images are scaled.", f"Give {ASK}.")
    return Preprocess.default((height, width), mean, std, channels)


def twice_scaled(spec: str, inside: InputScaling, preprocess: Preprocess, options: NetworkOptions) -> tuple[str, ...]:
    """Say where images are scaled before a model that scales them itself, as options of the user's may do."""
    if inside.expects == "unknown":
        return ()
    as_it_expects = 1 / LARGEST if inside.expects == "pixels" else 1.0
    if all(m == 0 for m in preprocess.mean) and all(math.isclose(s, as_it_expects) for s in preprocess.std):
        return ()
    how = f"--mean {_as_typed(preprocess.mean)} --std {_as_typed(preprocess.std)} scale"
    if options.mean is None and options.std is None:
        how = "--model-args preprocess scales"
    advice = "leave that out" if inside.expects == "pixels" else "give --mean 0 --std 1"
    return (f"{spec} scales its images itself ({in_words(inside.layers)}), and {how} them a second time: {advice}.",)


def _as_typed(values: tuple[float, ...]) -> str:
    """One number, or one per channel where they differ, as they are typed."""
    return ",".join(f"{value:.6g}" for value in (values[:1] if len(set(values)) == 1 else values))
