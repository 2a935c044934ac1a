"""A small network for colour pictures of 48 pixels, which is trained from random weights: see pretraining.py."""

from __future__ import annotations

from torch import Tensor, nn

MEAN = 0.5
STD = 0.25
INPUT_SIZE = (3, 48, 48)


class SmallColourNet(nn.Module):
    """Five stages of 3 x 3 convolutions with BatchNorm and ReLU, a mean over the image, a linear head: 0.3 M values."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        w = width
        self.stem = layer(3, w, stride=2)
        self.s1 = layer(w, 2 * w)
        self.s2 = nn.Sequential(layer(2 * w, 2 * w), layer(2 * w, 4 * w, stride=2))
        self.s3 = nn.Sequential(layer(4 * w, 4 * w), layer(4 * w, 8 * w, stride=2))
        self.s4 = layer(8 * w, 8 * w)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8 * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute class scores (N, classes) of pictures (N, 3, 48, 48)."""
        x = self.s4(self.s3(self.s2(self.s1(self.stem(x)))))
        scores: Tensor = self.head(self.pool(x).flatten(1))
        return scores


def layer(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Make a convolution with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def small_colour_net(classes: int = 10, width: int = 16) -> nn.Module:
    """Make the network; 10 outputs that are always replaced."""
    return SmallColourNet(classes, width)
