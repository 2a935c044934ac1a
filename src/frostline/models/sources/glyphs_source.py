"""`glyphs`: the network bundled with the package, with its weights, classes and preprocessing.

It was pre-trained by `frostline pretrain` on letters from fonts (tools/make_glyphs.py; the card lies beside it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.data.preprocess import Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried

WEIGHTS = Path(__file__).with_name("glyphs.safetensors")
CARD = Path(__file__).with_name("glyphs.md")
MEAN, STD = 0.25, 0.35  # of bright ink on a dark ground, rounded


def load_glyphs(options: NetworkOptions) -> Network:
    """The network with the package's weights, with those of a file, or with random ones.

    Raises ModelError for another input size, for arguments that the architecture doesn't have, and for weights that
    don't fit.
    """
    if options.size not in (None, SIDE):
        raise ModelError(f"--size {options.size}: glyphs reads {SIDE} x {SIDE} pixels.", "Leave --size out.")
    weights, name = _glyphs_weights(options)
    own_classes = weights is not None and "classes" not in options.model_args
    network = Network(
        spec="glyphs",
        source="glyphs",
        build=seeded(_glyphs_factory(options.model_args)),
        weights=weights,
        weights_name=name,
        preprocess=preprocess(options),
        self_loading=False,
        classes=CLASSES if own_classes else None,
        code=None,
    )
    return tried(network, identity={"spec": "glyphs", "args": dict(options.model_args)})


def preprocess(options: NetworkOptions) -> Preprocess:
    """The whole image (its centre square), brought to 32 pixels; grey, ink bright."""
    return Preprocess(
        mode="L",
        size=(SIDE, SIDE),
        resize=SIDE,
        interpolation="bilinear",
        mean=options.mean or (MEAN,),
        std=options.std or (STD,),
    )


def _glyphs_factory(arguments: Mapping[str, Any]) -> Callable[[], nn.Module]:
    unknown = sorted(set(arguments) - {"classes", "width"})
    if unknown or not all(type(v) is int and v > 0 for v in arguments.values()):
        what = "whole numbers above 0 as arguments"
        if unknown:
            what = f"no argument {unknown[0]!r}"
        raise ModelError(f"--model-args: glyphs takes {what}.", "It takes classes and width, whole numbers above 0.")
    return lambda: Glyphs(**arguments)


def _glyphs_weights(options: NetworkOptions) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    return read_weights(WEIGHTS), WEIGHTS.name


SIDE = 32  # pixels of its grey input

CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

WIDTH = 16  # channels of the stem; the last stage has eight times as many


class Glyphs(nn.Module):
    """Five stages of 3 x 3 convolutions with BatchNorm and ReLU, a mean over the image, a linear head: 0.3 M values.

    Input (N, 1, 32, 32), standardised grey; output (N, classes), scores.
    """

    def __init__(self, classes: int = len(CLASSES), width: int = WIDTH) -> None:
        super().__init__()
        w = width
        self.stem = _layer(1, w)
        self.s1 = _layer(w, 2 * w, stride=2)
        self.s2 = nn.Sequential(_layer(2 * w, 2 * w), _layer(2 * w, 4 * w, stride=2))
        self.s3 = nn.Sequential(_layer(4 * w, 4 * w), _layer(4 * w, 8 * w, stride=2))
        self.s4 = _layer(8 * w, 8 * w)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8 * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s4(self.s3(self.s2(self.s1(self.stem(x)))))
        return cast(Tensor, self.head(self.pool(x).flatten(1)))


def _layer(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )
