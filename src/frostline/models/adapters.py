"""Low-rank adapters in the space of weights.

While they are trained, the network runs with W + alpha / r * B A in the place of each adapted W. At the end that very
tensor is written into the network, so the answers stay the same bit for bit.

Source: Hu et al. 2022, "LoRA: Low-rank adaptation of large language models". A convolution's weight counts as a matrix
(out, in / groups * kernel positions), which is what peft's two convolutions (to r channels, then 1 x 1) multiply out
to. No module is replaced, so cuts, names and code that reads weights by itself work as before
(docs/decisions/0013-adapters-in-weight-space.md).
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

    def added_to(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, in the weight's own precision, shape and layout."""
        adapted = weight + (self.up @ self.down).mul(self.scale).view(weight.shape)
        strides = zip(adapted.stride(), weight.stride(), weight.shape, strict=True)
        same_layout = all(new == old for new, old, size in strides if size > 1)
        # an axis of size 1 may have come out with another stride, and kernels are chosen by strides
        if same_layout and adapted.stride() != weight.stride():
            return adapted.as_strided(weight.shape, weight.stride())
        return adapted


def rank_of(weight: Tensor, adapter: Adapter) -> int:
    """Return r for this weight.

    It is the adapter's, but at most half of the matrix's smaller side (a depthwise 3 x 3 gets 4).
    """
    rows = weight.shape[0]
    return max(1, min(adapter.rank, min(rows, weight.numel() // rows) // 2))


def adapter_size(weight: Tensor, adapter: Adapter) -> int:
    """Count the numbers in the two factors of this weight: r (m + n)."""
    rows = weight.shape[0]
    return rank_of(weight, adapter) * (rows + weight.numel() // rows)


class Adapters:
    """The factors of some of a network's weights; lives as long as their training."""

    def __init__(self, model: nn.Module, names: Iterable[str], adapter: Adapter, seeds: tuple[int, int]) -> None:
        """Draw the factors.

        Args:
            seeds: the study's seed and the block; a weight's draw depends only on them and on its name.
        """
        self.model = model
        weights = dict(model.named_parameters())
        self.factors: Mapping[str, Factors] = {n: _drawn_factors(weights[n], adapter, seeds, n) for n in names}
        self._weights = {name: weights[name] for name in self.factors}
        self._places = _places(model, self._weights)

    def parameters_of(self, name: str) -> tuple[nn.Parameter, ...]:
        """Return what is trained in the place of the weight of that name."""
        factors = self.factors[name]
        return (factors.up, factors.down)

    def weights(self) -> dict[str, Tensor]:
        """Compute the adapted weights by name, in their own precision whatever autocast says."""
        if not self.factors:
            return {}
        device = next(iter(self._weights.values())).device.type
        with torch.autocast(device, enabled=False):
            return {name: factors.added_to(self._weights[name]) for name, factors in self.factors.items()}

    def around(self, forward: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """Wrap `forward`, which runs the network or a part of it, so that it runs with the adapted weights."""
        module = _ForwardModule(self.model, forward)

        def adapted_forward(inputs: Any) -> Tensor:
            adapted = self.weights()
            weights = {f"model.{place}": adapted[name] for place, name in self._places.items()}
            return cast(Tensor, functional_call(module, weights, (inputs,), tie_weights=False))

        return adapted_forward

    def merge(self) -> None:
        """Write the adapted weights into the network."""
        with torch.no_grad():
            for name, weight in self.weights().items():
                self._weights[name].copy_(weight)


def _places(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Map each path under which a weight is read to the weight's name.

    Tied weights are read in several modules. A module that is registered twice counts once, or functional_call would
    put an adapted weight back in the place of the real one.
    """
    names = {id(weight): name for name, weight in weights.items()}
    return {
        place: names[id(parameter)]
        for path, module in model.named_modules()
        for place, parameter in module.named_parameters(prefix=path, recurse=False, remove_duplicate=False)
        if id(parameter) in names
    }


class _ForwardModule(nn.Module):
    """A module around a function that runs the network: functional_call can swap the parameters of modules only."""

    def __init__(self, model: nn.Module, run: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.run = run

    def forward(self, inputs: Any) -> Any:
        return self.run(inputs)


def _drawn_factors(weight: Tensor, adapter: Adapter, seeds: tuple[int, int], name: str) -> Factors:
    rank = rank_of(weight, adapter)
    rows = weight.shape[0]
    columns = weight.numel() // rows
    generator = torch.Generator().manual_seed(derive_seed(seeds[0], "adapter", seeds[1], name))
    down = (torch.rand((rank, columns), generator=generator) * 2 - 1) / columns**0.5
    up = torch.zeros((rows, rank))
    up = up.to(device=weight.device, dtype=weight.dtype)
    down = down.to(device=weight.device, dtype=weight.dtype)
    return Factors(nn.Parameter(up), nn.Parameter(down), adapter.alpha / rank)
