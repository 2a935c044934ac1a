"""The statistics of normalisation from the target: nothing is learnt, and no weight moves.

Sources: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation" (AdaBN); Schneider et al.
2020, "Improving robustness against common corruptions by covariate shift adaptation" (equation 3: few target samples
are smoothed by the source's statistics).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.recipes import STATISTICS, adaptation
from frostline.adapt.world import Adapted, World
from frostline.base.device import autocast
from frostline.base.seeds import numpy_generator
from frostline.models.kinds import is_batchnorm
from frostline.train.feed import EVALUATION_VIEW, reader
from frostline.train.study import Study

SMOOTHING = 16  # N: so many samples are the source's statistics worth
BATCH = 128


def run_adabn(world: World) -> Adapted:
    """Take the statistics of every BatchNorm layer from the target."""
    model = copy_of_network(world)
    layers = adapt_statistics(world.target, model)
    recipe = adaptation(world.target, "adabn", STATISTICS, STATISTICS)
    detail = {"layers": layers, "smoothing": SMOOTHING, "target_samples": len(world.target.development)}
    return changed(world, NetworkChange(recipe=recipe, model=model, detail=detail))


def statistics_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers that keep running statistics, in the network's order."""
    found: list[Any] = [module for module in model.modules() if is_batchnorm(module)]
    return [layer for layer in found if layer.running_mean is not None]


@dataclass
class _Moments:
    """Mean (C,) and sum of squared deviations (C,) of a layer's inputs so far, over `count` values of each channel.

    `share` is the weight of the target beside the source's `kept_mean` and `kept_variance` (C,).
    """

    share: float
    kept_mean: Tensor
    kept_variance: Tensor
    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def add(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Let the layer normalise a batch (N, C, ...) by its smoothed statistics, and count it in (Chan, Golub &
        LeVeque 1983)."""
        values = args[0].detach().double().transpose(0, 1).flatten(1)
        count = values.shape[1]
        mean = values.mean(1)
        squares = ((values - mean[:, None]) ** 2).sum(1)
        self.put(layer, mean, squares / max(count - 1, 1))
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = self.count + count
        distance = mean - self.mean
        self.squares = self.squares + squares + distance**2 * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def put(self, layer: Any, mean: Tensor, variance: Tensor) -> None:
        """Mix the source's statistics with these."""
        for running, kept, found in (
            (layer.running_mean, self.kept_mean, mean),
            (layer.running_var, self.kept_variance, variance),
        ):
            running.copy_(kept * (1 - self.share) + found * self.share)

    def put_all(self, layer: nn.Module) -> None:
        """Mix the source's statistics with those of all batches; a layer that never ran keeps the source's."""
        if self.mean is not None and self.squares is not None:
            self.put(layer, self.mean, self.squares / max(self.count - 1, 1))


def adapt_statistics(study: Study, model: nn.Module) -> int:
    """Put statistics of the study's samples into the BatchNorm layers, and return the number of layers.

    One pass in shuffled batches. In it every layer normalises by the batch's statistics, smoothed as the result is, so
    that later layers meet what they will meet. No other buffer moves.
    """
    layers = statistics_layers(model)
    share = len(study.development) / (SMOOTHING + len(study.development))
    found = [_moments_of(layer, share) for layer in layers]
    hooks = [layer.register_forward_pre_hook(one.add) for layer, one in zip(layers, found, strict=True)]
    try:
        _run_batches(study, model)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for layer, one in zip(layers, found, strict=True):
            one.put_all(layer)
    return len(layers)


def _moments_of(layer: Any, share: float) -> _Moments:
    return _Moments(share=share, kept_mean=layer.running_mean.double(), kept_variance=layer.running_var.double())


def _run_batches(study: Study, model: nn.Module) -> None:
    read = reader(study, model, 0)
    rows = study.positions(study.development)
    order = numpy_generator(study.seed, "adapt-statistics").permutation(len(rows))
    model.eval()
    with torch.no_grad(), autocast(study.compute):
        for places in np.array_split(order, -(-len(rows) // BATCH)):
            batch = rows[torch.from_numpy(places)]
            for group in study.features.groups(batch):
                read.forward(read.feed(batch[group.places], EVALUATION_VIEW))
