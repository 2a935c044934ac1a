"""The architecture of `glyphs`, the small network that the package brings along (DESIGN 4.13)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

SIDE = 32  # pixels of its grey input
CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
WIDTH = 16  # channels of the stem; the last stage has eight times as many


class Glyphs(nn.Module):
    """Five stages of 3 x 3 convolutions with BatchNorm and ReLU, a mean over the picture, a linear head: 0.3 M values.

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
