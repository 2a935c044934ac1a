"""How a Keras model scales its images itself, before its first layer with weights.

The layers and operations on the way there are run on plain colours: what they do in sum is affine, whatever its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from frostline.keras_torch.graph import GraphStep

SCALES = frozenset(
    {
        "Add",
        "Divide",
        "Flip",
        "GetItem",
        "Multiply",
        "Negative",
        "Normalization",
        "Rescaling",
        "Subtract",
        "TrueDivide",
    }
)
# What leaves a plain colour as it is in inference, as layers of augmentation (Random...) do.
PASSES = frozenset(
    {
        "Cast",
        "CenterCrop",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "ReversedChannels",
        "Resizing",
        "SpatialDropout2D",
        "Stack",
        "ZeroPadding2D",
    }
)
LARGEST = 255.0  # of a pixel
PIXELS_BELOW = 0.5  # change of a value per grey level; whatever scales pixels makes them much smaller
PIXELS_FROM = 16.0  # grey levels; who takes away so much of the mean, counts in them
SIDE = 64  # pixels, of a model that takes images of any size
AFFINE_WITHIN = 1e-2  # of the largest change

Range = Literal["unknown", "pixels", "unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputScaling:
    """`expects` are the values that the model's own scaling is made for: `pixels` from 0 to 255, `unit` from 0 to 1;
    `unknown` where it has none. `layers` are the classes of Keras that do it."""

    expects: Range = "unknown"
    layers: tuple[str, ...] = ()


def find_scaling(
    steps: Sequence[GraphStep],
    modules: Mapping[str, nn.Module],
    classes: Mapping[str, str],
    source: int,
    shape: tuple[int | None, int | None, int],
) -> InputScaling:
    """Run the steps behind the input that only scale or pass on, on plain colours of shape (H, W, C).

    `classes` are the names of the Keras classes that the modules come from. What the first other layers then read tells
    the range that the model was made for; where they read different things, it is unknown.
    """
    height, width, channels = shape
    values: dict[int, Tensor] = {source: _plain_colours(channels, height or SIDE, width or SIDE)}
    layers: list[str] = []
    rest: list[GraphStep] = []
    for step in steps:
        kind = classes.get(step.module, "")
        found = None
        if (kind in SCALES or kind in PASSES or kind.startswith("Random")) and values.keys() >= set(step.inputs):
            found = _applied(modules[step.module], [values[i] for i in step.inputs])
        if found is None or len(step.outputs) != 1:
            rest.append(step)
            continue
        values[step.outputs[0]] = found
        if kind in SCALES:
            layers.append(kind)
    read = {value for step in rest for value in step.inputs if value in values}
    ranges = {_expected_range(values[value], channels) for value in read}
    if not layers or len(ranges) != 1:
        return InputScaling()
    return InputScaling(expects=next(iter(ranges)), layers=tuple(dict.fromkeys(layers)))


def _plain_colours(channels: int, height: int, width: int) -> Tensor:
    """Make images (channels + 2, channels, height, width): black, each channel alone at its largest, grey."""
    values = torch.zeros(channels + 2, channels)
    values[1 : channels + 1] = torch.eye(channels) * LARGEST
    values[-1] = LARGEST / 2
    return values[:, :, None, None].expand(-1, -1, height, width).contiguous()


def _applied(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor | None:
    """Run a layer in inference mode; None where it doesn't run, or returns something else than a tensor."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            result = module(*inputs)
    except Exception:  # whatever Keras raises; the model's own check tells the user
        return None
    finally:
        module.train(training)
    return result if isinstance(result, Tensor) else None


def _expected_range(colours: Tensor, channels: int) -> Range:
    """Tell from what became of the plain colours which values were meant to come in."""
    if colours.ndim != 4 or colours.shape[1] != channels:
        return "unknown"
    middle = colours[:, :, colours.shape[2] // 2, colours.shape[3] // 2].double()
    black = middle[0]
    changes = middle[1 : channels + 1] - black
    largest = float(changes.abs().max())
    within = AFFINE_WITHIN * largest
    one_by_one = bool(((changes.abs() > within).sum(1) == 1).all())
    affine = torch.allclose(middle[-1], black + changes.sum(0) / 2, rtol=0, atol=within)
    if not one_by_one or not affine:
        return "unknown"
    slope = largest / LARGEST
    shift = float(black.abs().max())
    if slope < PIXELS_BELOW or shift >= PIXELS_FROM:
        return "pixels"
    if slope == 1 and shift == 0:  # the order of the channels alone
        return "unknown"
    return "unit"
