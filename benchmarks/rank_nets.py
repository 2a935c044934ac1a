"""MobileNet V1 (width 0.75) whole and cut short, at 64 x 64 pixels: sources of benchmarks/rank.py.

Names of parameters are those of the shared MobileNet, so its weights fit; a network that is cut short ends in a head of
its own, which no weights are there for.
"""

from typing import Any

from timm.models.efficientnet import _gen_mobilenet_v1
from torch import nn

MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
INPUT_SIZE = (3, 64, 64)
WIDTHS = {3: 192, 4: 384, 5: 768}  # channels after so many groups of blocks


def mobilenet() -> nn.Module:
    """Return the whole network."""
    return _cut(5)


def mobilenet_cut4() -> nn.Module:
    """Return it without its last group of blocks."""
    return _cut(4)


def mobilenet_cut3() -> nn.Module:
    """Return it without its last two groups of blocks."""
    return _cut(3)


def _cut(groups: int) -> nn.Module:
    make: Any = _gen_mobilenet_v1
    model = make("mobilenetv1_100", 0.75, pad_type="same", bn_eps=1e-3, num_classes=1000)
    model.blocks = model.blocks[:groups]
    if groups < 5:
        model.classifier = nn.Linear(WIDTHS[groups], 1000)
    whole: nn.Module = model
    return whole
