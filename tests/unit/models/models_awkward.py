"""Small networks, each awkward in one way. Inputs are (N, 3, 8, 8) and outputs (N, 5) unless said otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def block(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class Residual(nn.Module):
    """An Identity hands on its input, which the caller holds for the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 4)
        self.hold = nn.Identity()
        self.one = block(4, 4)
        self.two = block(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.hold(x) + self.one(x)
        x = x + self.two(x)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """A skip connection keeps two tensors alive in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2, self.mid = block(3, 4), block(4, 6), block(6, 6)
        self.dec = block(10, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enc1(x)
        b = self.mid(self.enc2(functional.max_pool2d(a, 2)))
        x = self.dec(torch.cat([a, functional.interpolate(b, scale_factor=2.0)], 1))
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One block is called three times, with others between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = block(3, 4), block(4, 4)
        self.between, self.later = block(4, 4), block(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.block(self.stem(x)))
        x = self.later(self.block(x))
        return self.head(self.block(x).mean((2, 3)))


class Mixed(nn.Module):
    """In-place writes, functional dropout in a module, a branch on the data, a dictionary out, a scale at the root."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(self.conv(x), 0.5, self.training)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, 4, 1, 1), 0.5))
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.norm = nn.BatchNorm2d(4)
        self.one, self.two = Mixed.Body(), Mixed.Body()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = functional.relu_(self.norm(self.stem(x))) * self.scale
        x = self.one(x)
        x = self.two(x.relu_())
        features = x.mean((2, 3)) if x.sum() > -1e9 else x.amax((2, 3))
        return {"logits": self.head(features)}


class InPlace(nn.Module):
    """The layer after the first stage overwrites what the stage returned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 1, 1))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Tied(nn.Module):
    """Two linear layers read one matrix. Inputs (N, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.three.weight = self.one.weight
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.three(torch.tanh(self.two(torch.tanh(self.one(x)))))))


class Masked(nn.Module):
    """Whole numbers in; a module makes a mask from them that every layer reads. Inputs (N, T) of 0..9, 0 = padding."""

    class Mask(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return (ids != 0).float()[..., None]

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return torch.tanh(self.linear(x)) * weight

    def __init__(self) -> None:
        super().__init__()
        self.mask = Masked.Mask()
        self.embed = nn.Embedding(10, 8)
        self.layers = nn.ModuleList(Masked.Layer() for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        weight = self.mask(ids) * 0.9
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, weight=weight)
        return self.head(x.mean(1))


class RandomRoot(nn.Module):
    """The root itself draws at random before its cuts, which no module's mode can switch off."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = block(3, 4), block(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(functional.dropout(x, 0.5, self.training))
        return self.head(self.body(x).mean((2, 3)))


class Plain(nn.Module):
    """Three stages with batch norm, a layer that is never called, and a head of one 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.s1, self.s2, self.s3 = block(3, 4), block(4, 4), block(4, 4)
        self.auxiliary = nn.Linear(4, 5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.s3(self.s2(self.s1(x))))).flatten(1)


EVERY = (Residual, UNet, Shared, Mixed, InPlace, Plain, RandomRoot)
