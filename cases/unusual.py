"""More small networks, each unusual in a way that people do write.

Inputs are (N, 3, 8, 8) and outputs (N, 5) unless a docstring differs.
"""

from __future__ import annotations

import random
from collections import namedtuple
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cases.awkward import block
from frostline.cutting.inputs import Call


class Four(nn.Module):
    """Four blocks and a head; the base of most of the others."""

    a: nn.Module
    b: nn.Module
    c: nn.Module
    d: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = block(3, 4), block(4, 4), block(4, 6), block(6, 6)
        self.head = nn.Linear(6, 5)

    def scores(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.scores(self.d(self.c(self.b(self.a(x)))))


class Rested(Four):
    """Keeps no gradients of its first half: it has a `no_grad` of its own."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.b(self.a(x))
        return self.scores(self.d(self.c(x)))


class Checkpointed(Four):
    """Each block runs a second time for its gradients, by reentrant checkpointing."""

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.a, self.b, self.c, self.d):
            x = checkpoint(part, x, use_reentrant=True)
        return self.scores(x)


class Hooked(Four):
    """The user's hooks change a module's arguments and its result, including the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.a.register_forward_hook(lambda _m, _a, out: out * 2)
        self.b.register_forward_pre_hook(lambda _m, args: (args[0] + 1,))
        self.b.register_forward_hook(lambda _m, _a, out: out.mean((2, 3)))
        self.c, self.d = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.d(torch.tanh(self.c(self.b(self.a(x)))))))


class Skipping(Four):
    """Leaves out a block at random in training, by a number from Python's own generator."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if not (self.training and random.random() < 0.5):
            x = x + self.b(x)
        return self.scores(self.d(self.c(x)))


class Routed(nn.Module):
    """A gate decides which samples go through which expert, so values decide how large tensors are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Linear(192, 8), nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.after, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x.flatten(1)))
        weight, chosen = self.gate(x).softmax(-1).topk(1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (chosen[:, 0] == number).nonzero()[:, 0]
            if len(rows):
                y.index_add_(0, rows, expert(x[rows]) * weight[rows])
        return self.head(torch.tanh(self.after(x + y)))


class Restless(Four):
    """Drops at random in inference too, by mistake."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.d(functional.dropout(self.c(self.b(self.a(x))), 0.5)))


class Box:
    """Not a container that torch knows."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class Boxed(Four):
    """Stages pass on an object that holds the tensor."""

    class Stage(nn.Module):
        def __init__(self, cin: int, cout: int) -> None:
            super().__init__()
            self.body = block(cin, cout)

        def forward(self, box: Box) -> Box:
            return Box(self.body(box.value))

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = Boxed.Stage(3, 4), Boxed.Stage(4, 4), Boxed.Stage(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.d(self.c(self.b(self.a(Box(x)))).value))


class Twice(nn.Module):
    """One tensor in several places: a stage returns it twice, and attention takes it three times."""

    class Pair(nn.Module):
        def __init__(self, cin: int, cout: int) -> None:
            super().__init__()
            self.body = block(cin, cout)

        def forward(self, pair: list[Tensor]) -> list[Tensor]:
            x = self.body(pair[0] + pair[1])
            return [x, x]

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Twice.Pair(3, 4), Twice.Pair(4, 4)
        self.attend, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a([x, x]))[0].flatten(2).transpose(1, 2) * 2
        return self.head(self.attend(x, x, x)[0].mean(1))


Answer = namedtuple("Answer", ["logits", "aux"])


class Auxiliary(Four):
    """Returns a second answer from the middle, in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Answer:
        x = self.b(self.a(x))
        aux = self.aux(x.mean((2, 3))) if self.training else None
        return Answer(self.scores(self.d(self.c(x))), aux)


class Listening(Four):
    """A hook keeps the first block's output, and the last sum reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        self.a.register_forward_hook(lambda _m, _a, out: self.kept.__setitem__("a", out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.d(self.c(self.b(self.a(x))))
        return self.scores(x + self.kept["a"].mean(1, keepdim=True))


class Normed(nn.Sequential):
    """Weights computed afresh in each run, by hooks and by parametrizations."""

    def __init__(self) -> None:
        new, old = nn.utils.parametrizations, nn.utils
        super().__init__(
            old.weight_norm(nn.Conv2d(3, 4, 3)),
            nn.ReLU(),
            old.spectral_norm(nn.Conv2d(4, 4, 3)),
            nn.ReLU(),
            new.spectral_norm(nn.Conv2d(4, 4, 3)),
            nn.Flatten(),
            new.orthogonal(nn.Linear(16, 8)),
            nn.Tanh(),
            nn.Linear(8, 5),
        )


class Nested(Four):
    """Called with a dictionary of tensors and lists."""

    @staticmethod
    def example() -> tuple[tuple[()], dict[str, Any], Call]:
        def batch(rows: int) -> dict[str, Any]:
            x = torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(rows))
            return {"batch": {"x": x, "w": [torch.linspace(0.5, 1, rows).view(-1, 1, 1, 1), 3]}, "flag": True}

        return (), batch(2), Call.of((), batch(3))

    def forward(self, *, batch: dict[str, Any], flag: bool) -> dict[str, Tensor]:  # type: ignore[override]
        x = batch["x"] * batch["w"][0] * batch["w"][1]
        x = self.c(self.b(self.a(x))) * (batch["w"][0] if flag else 1)
        return {"logits": self.scores(self.d(x))}


class PartScripted(Four):
    """One block runs as TorchScript: no hook is called inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.b = torch.jit.script(self.b)


class _OfWords(nn.Module):
    @staticmethod
    def example() -> tuple[tuple[Tensor], dict[str, Any], Call]:
        other = torch.tensor([[7, 2, 0, 0, 0], [1, 2, 3, 0, 0], [9, 8, 7, 6, 5]])
        return (torch.tensor([[3, 4, 0, 0, 0], [5, 6, 7, 1, 2]]),), {}, Call.of((other,))


class TimeFirst(_OfWords):
    """torch's transformer in its default layout: (tokens, samples, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(10, 8), nn.Parameter(torch.randn(16, 1, 8))
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(0, 1) + self.place[: ids.shape[1]]
        return self.head(self.layers(x, src_key_padding_mask=ids == 0).mean(0))


class Recalling(_OfWords):
    """Recurrent layers in their default layout; the last state of the last one is read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.one, self.two = nn.Embedding(10, 16), nn.LSTM(16, 16), nn.GRU(16, 16)
        self.out, self.head = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x, _ = self.one(self.embed(ids.T))
        _, last = self.two(x)
        return self.head(torch.tanh(self.out(last[-1])))


class Biased(_OfWords):
    """The first layer makes a position bias from its weights and passes it on beside the tokens, as T5 does."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.table = nn.Linear(8, 8), nn.Embedding(16, 8)

        def forward(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
            bias = self.table(torch.arange(x.shape[1])) if bias is None else bias
            return torch.tanh(self.linear(x) + bias), bias

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers = nn.Embedding(10, 8), nn.ModuleList(Biased.Layer() for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x, bias = self.embed(ids), None
        for layer in self.layers:
            x, bias = layer(x, bias)
        return self.head(x.mean(1))


EVERY = (
    TimeFirst,
    Recalling,
    Biased,
    Rested,
    Checkpointed,
    Hooked,
    Skipping,
    Routed,
    Restless,
    Boxed,
    Twice,
    Auxiliary,
    Listening,
    Normed,
    Nested,
    PartScripted,
)
