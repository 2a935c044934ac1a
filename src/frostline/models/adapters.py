"""Low-rank adapters in the space of weights: while they train, the network runs with W + alpha / r * B A in the place
of each adapted W; at the end that very tensor is written into the network, so the answers stay the same bit for bit.

Source: Hu et al. 2022, "LoRA: Low-rank adaptation of large language models". A convolution's weight counts as a matrix
(out, in / groups * places), which is what peft's two convolutions (to r channels, then 1 x 1) multiply out to. No
module is replaced, so cuts, names and code that reads weights by itself work as before (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from frostline.base.seeds import derive_seed
from frostline.recipe.recipe import Adapter


@dataclass(frozen=True)
class Factors:
    """B (m, r), which begins at zero, and A (r, n), drawn uniformly within 1 / sqrt(n)."""

    up: nn.Parameter
    down: nn.Parameter
    scale: float

    def added(self, weight: Tensor) -> Tensor:
        """The adapted weight; in its own precision, shape and layout."""
        made = weight + (self.up @ self.down).mul(self.scale).view(weight.shape)
        # an axis of size 1 may have come out with another stride, and kernels are chosen by strides
        same = all(a == b for a, b, n in zip(made.stride(), weight.stride(), weight.shape, strict=True) if n > 1)
        if same and made.stride() != weight.stride():
            return made.as_strided(weight.shape, weight.stride())
        return made


def rank_of(weight: Tensor, adapter: Adapter) -> int:
    """r of this weight: the adapter's, but at most half of the matrix's smaller side (a depthwise 3 x 3 gets 4)."""
    rows = weight.shape[0]
    return max(1, min(adapter.rank, min(rows, weight.numel() // rows) // 2))


def adapter_size(weight: Tensor, adapter: Adapter) -> int:
    """Numbers that the two factors of this weight hold: r (m + n)."""
    rows = weight.shape[0]
    return rank_of(weight, adapter) * (rows + weight.numel() // rows)


class Adapters:
    """The factors of some of a network's weights; lives as long as their training."""

    def __init__(self, model: nn.Module, names: Iterable[str], adapter: Adapter, seeds: tuple[int, int]) -> None:
        """`seeds`: the study's and the block; each weight's draw depends on them and on its name only."""
        self.model = model
        weights = dict(model.named_parameters())
        self.factors: Mapping[str, Factors] = {n: _factors(weights[n], adapter, seeds, n) for n in names}
        self._weights = {name: weights[name] for name in self.factors}
        self._places = _places(model, self._weights)

    def parameters_of(self, name: str) -> tuple[nn.Parameter, ...]:
        """What moves in the place of the weight of that name."""
        found = self.factors[name]
        return (found.up, found.down)

    def weights(self) -> dict[str, Tensor]:
        """The adapted weights, in their own precision whatever autocast says."""
        if not self.factors:
            return {}
        device = next(iter(self._weights.values())).device.type
        with torch.autocast(device, enabled=False):
            return {name: found.added(self._weights[name]) for name, found in self.factors.items()}

    def around(self, forward: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """`forward`, which runs the network or a part of it, with the adapted weights in place."""
        run = _Run(self.model, forward)

        def adapted(inputs: Any) -> Tensor:
            made = self.weights()
            weights = {f"model.{place}": made[name] for place, name in self._places.items()}
            return cast(Tensor, functional_call(run, weights, (inputs,), tie_weights=False))

        return adapted

    def merge(self) -> None:
        """Write the adapted weights into the network."""
        with torch.no_grad():
            for name, weight in self.weights().items():
                self._weights[name].copy_(weight)


def _places(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Where each weight is read, by the name of its adapter: tied ones in several modules, but each module once under
    whatever names it has (functional_call would put an adapted weight back in the place of the real one)."""
    names = {id(weight): name for name, weight in weights.items()}
    return {
        f"{path}.{own}" if path else own: names[id(parameter)]
        for path, module in model.named_modules()
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in names
    }


class _Run(nn.Module):
    """Makes a function that runs a network a module, whose parameters functional_call can swap."""

    def __init__(self, model: nn.Module, run: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.run = run

    def forward(self, inputs: Any) -> Any:
        return self.run(inputs)


def _factors(weight: Tensor, adapter: Adapter, seeds: tuple[int, int], name: str) -> Factors:
    rank = rank_of(weight, adapter)
    rows = weight.shape[0]
    columns = weight.numel() // rows
    generator = torch.Generator().manual_seed(derive_seed(seeds[0], "adapter", seeds[1], name))
    down = (torch.rand((rank, columns), generator=generator) * 2 - 1) / columns**0.5
    up = torch.zeros((rows, rank))
    up, down = (t.to(device=weight.device, dtype=weight.dtype) for t in (up, down))
    return Factors(nn.Parameter(up), nn.Parameter(down), adapter.alpha / rank)
