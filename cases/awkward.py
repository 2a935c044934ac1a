"""Small networks, each awkward in one way. Inputs are (N, 3, 8, 8) and outputs (N, 5) unless a docstring differs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.cutting.inputs import Call


def block(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class Residual(nn.Module):
    """An Identity passes on its input, which the caller holds for the sum."""

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
    """One block is called three times, with other blocks in between."""

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
    """Two linear layers share one matrix. Inputs (N, 6)."""

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


def sentences(rows: list[list[int]]) -> dict[str, Tensor]:
    """Return token numbers with their mask, as keywords."""
    ids = torch.tensor(rows)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


class _OfWords(nn.Module):
    """Called by keyword with padded sentences."""

    @staticmethod
    def example() -> tuple[tuple[()], dict[str, Tensor], Call]:
        """Return two sentences, and three other ones."""
        other = sentences([[7, 0, 0, 0], [1, 2, 3, 0], [9, 8, 7, 6]])
        return (), sentences([[3, 4, 0, 0], [5, 6, 7, 1]]), Call.of((), other)


@dataclass
class Answer:
    """A network's output that isn't a dictionary."""

    logits: Tensor
    names: tuple[str, ...] = ("a",)


class Keyworded(_OfWords):
    """A transformer of torch's own layers with a padding mask, called by keyword, that returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor, scale: float = 1.0) -> Answer:
        padding = attention_mask == 0
        x = functional.dropout(self.embed(input_ids) * scale, 0.1, self.training)  # the root draws before the layers
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return Answer(self.head(x[:, 0]))


class Dropping(_OfWords):
    """Python code leaves the mask out where there is no padding; rotary constants come from a module."""

    class Rotary(nn.Module):
        rate: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rate", torch.linspace(1.0, 0.1, 4))

        def forward(self, length: int) -> tuple[Tensor, Tensor]:
            angle = torch.arange(length)[:, None] * self.rate
            return angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor, *, turn: tuple[Tensor, Tensor], mask: Tensor | None) -> tuple[Tensor]:
            y = self.linear(x * turn[0] + x.roll(4, -1) * turn[1])
            return (x + (y if mask is None else y * mask),)

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rotary = nn.Embedding(10, 8), Dropping.Rotary()
        self.layers = nn.ModuleList(Dropping.Layer() for _ in range(4))
        self.head = nn.Linear(8, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        mask = None if attention_mask.all() else attention_mask[..., None].float()
        turn = self.rotary(input_ids.shape[1])
        x = self.embed(input_ids)
        for layer in self.layers:
            (x,) = layer(x, turn=turn, mask=mask)
        return {"logits": self.head(x.mean(1))}


class Remembering(_OfWords):
    """A module keeps its mask as an attribute, and another one reads it there."""

    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 8)
            self.kept = torch.zeros(())

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            self.kept = mask[..., None].float() * 0.5
            return self.table(ids)

    def __init__(self) -> None:
        super().__init__()
        self.embed = Remembering.Embed()
        self.one, self.two, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = torch.tanh(self.one(self.embed(input_ids, attention_mask)))
        x = torch.tanh(self.two(x * self.embed.kept))
        return self.head(x.mean(1))


class Noting(nn.Module):
    """The first stage writes into a buffer that the last one reads."""

    note: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = block(3, 4), block(4, 4), block(4, 4)
        self.register_buffer("note", torch.zeros(4))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.note.copy_(x.detach().mean((0, 2, 3)))
        x = self.two(self.one(x))
        return self.head(x.mean((2, 3)) + self.note)


class EncoderDecoder(_OfWords):
    """The decoder reads the encoder's output in every layer, and its own words."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.cross = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
            x = x + torch.tanh(self.own(x))
            return x if memory is None else x + torch.tanh(self.cross(memory)).mean(1, keepdim=True)

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(10, 8)
        self.encoder = nn.ModuleList(EncoderDecoder.Layer() for _ in range(3))
        self.decoder = nn.ModuleList(EncoderDecoder.Layer() for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        memory = self.shared(input_ids) * attention_mask[..., None]
        for layer in self.encoder:
            memory = layer(memory)
        x = self.shared(input_ids.roll(1, 1))
        for layer in self.decoder:
            x = layer(x, memory)
        return self.head(x[:, -1])


class Biased(_OfWords):
    """Like T5: the first layer makes a bias from its weights, and every layer passes it on beside its result."""

    class Layer(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 8) if first else None
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            if self.table is not None:
                bias = self.table(torch.arange(x.shape[1]))
            assert bias is not None
            return x + torch.tanh(self.linear(x) + bias), bias

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.layers = nn.ModuleList(Biased.Layer(first=i == 0) for i in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x, bias = self.embed(input_ids) * attention_mask[..., None], None
        for layer in self.layers:
            x, bias = layer(x, bias)
        return self.head(x.mean(1))


class Gated(nn.Module):
    """Values from the first stage decide which branch runs, and how the features are pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.top = block(3, 4), block(4, 4), block(4, 4), block(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        high = bool(x.mean() > 0)
        x = self.top(self.left(x) if high else self.right(x))
        return self.head(x.mean((2, 3)) if high else x.amax((2, 3)))


class Recurrent(nn.Module):
    """Two directions of an LSTM over rows of pixels, between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 4)
        self.lstm = nn.LSTM(32, 6, batch_first=True, bidirectional=True, num_layers=2, dropout=0.2)
        self.mix, self.head = nn.Linear(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.stem(x).permute(0, 2, 1, 3).flatten(2)
        states, _ = self.lstm(rows)
        return self.head(torch.relu(self.mix(states)).mean(1))


EVERY = (
    Residual,
    UNet,
    Shared,
    Mixed,
    InPlace,
    Plain,
    RandomRoot,
    Keyworded,
    Dropping,
    Remembering,
    Noting,
    EncoderDecoder,
    Biased,
    Gated,
    Recurrent,
)
