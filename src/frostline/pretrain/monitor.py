"""What the features are worth while a network is pre-trained: the loss alone doesn't say it.

Shapes: N samples, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frostline.base.device import Compute
from frostline.base.records import IntArray
from frostline.base.seeds import numpy_generator
from frostline.data.contract import evaluation_views, input_lengths, to_inputs
from frostline.data.unlabelled import Unlabelled
from frostline.features.inference import grouped
from frostline.pretrain.body import Body, plain_features

MOST_SAMPLES = 2000  # that are read
MOST_NEIGHBOURS = 20
SHARPNESS = 0.07  # of a neighbour's vote exp(cosine / SHARPNESS): Wu et al. 2018, section 3.4
READINGS = 10  # about so many in a training, beside the one at the start
EPSILON = 1e-7
# Below these the features of most samples lie in one place or in one direction.
LEAST_SPREAD = 0.02
LEAST_PROJECTED = 0.1
LEAST_SHARE = 0.25  # of the effective rank at the start
LEAST_RANK = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Of pooled features: effective rank (1 to D), spread (0: all alike, 1: even in all directions), and where labels
    are there, the share of samples whose class their nearest neighbours tell. `projection_std` is how far apart the
    values lie by which a method compares views, where it does: 1 is healthy, 0 a collapse."""

    effective_rank: float
    std: float
    knn_accuracy: float | None
    projection_std: float | None = None


def effective_rank(features: Tensor) -> float:
    """The exponential of the entropy of the singular values of features (N, D), as shares of their sum.

    Source: Garrido et al. 2023, "RankMe", equation 1.
    """
    values = torch.linalg.svdvals(features.double())
    total = float(values.sum())
    if not math.isfinite(total) or total <= 0:
        return 0.0
    shares = values / total + EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))


def unit_spread(features: Tensor) -> float:
    """The mean standard deviation of the columns of features (N, D) of length 1, times the root of D: 1 where they
    point evenly in all directions, 0 where all are alike. Source: Chen & He 2021, "SimSiam", section 4.1."""
    unit = F.normalize(features.double(), dim=1)
    return float(unit.std(0, correction=0).mean()) * math.sqrt(features.shape[1])


def knn_accuracy(features: Tensor, labels: IntArray, neighbours: int = MOST_NEIGHBOURS) -> float:
    """The share of samples whose class the most similar others name, leaving each out in its turn.

    Cosine similarity, votes weighted by exp(cosine / 0.07); at most as many neighbours as the smallest class has other
    members, at least 1. Source: Wu et al. 2018, section 3.4.
    """
    count = len(features)
    classes = int(labels.max()) + 1
    smallest = int(np.bincount(labels, minlength=classes).min())
    k = max(1, min(neighbours, count - 1, smallest - 1))
    unit = F.normalize(features.double(), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(float("-inf"))
    nearest = similarity.topk(k, dim=1)
    named = F.one_hot(torch.from_numpy(labels), classes).double()[nearest.indices]
    votes = (named * (nearest.values / SHARPNESS).exp()[..., None]).sum(1)
    return float((votes.argmax(1).numpy() == labels).mean())


class Monitor:
    """Reads the features of a fixed draw of samples, in their plain view."""

    def __init__(self, data: Unlabelled, compute: Compute, seed: int) -> None:
        rows = np.arange(len(data))
        if len(rows) > MOST_SAMPLES:
            rows = np.sort(numpy_generator(seed, "monitor").choice(rows, MOST_SAMPLES, replace=False))
        self.compute = compute
        self.contract = data.contract
        samples = data.samples.select(rows)
        self.views = evaluation_views(samples, data.contract, compute.threads)
        self.lengths = input_lengths(samples, data.contract)
        self.labels = None if data.labels is None else data.labels[rows]

    def read(self, body: Body, projected_spread: Callable[[Tensor], float] | None = None) -> Reading:
        """Read the network as it is now, which is then in inference mode, and the spread of its projections."""
        compute = self.compute

        def inputs(chunk: Tensor) -> object:
            views = self.views[chunk]
            return to_inputs(views, self.contract, device=compute.device, channels_last=compute.channels_last)

        rows = torch.arange(len(self.views))
        features = plain_features(body, inputs, rows, grouped(self.lengths, compute), compute)
        if not bool(torch.isfinite(features).all()):
            return Reading(effective_rank=0.0, std=0.0, knn_accuracy=None)
        projected = None
        if projected_spread is not None:
            projected = projected_spread(features)
        accuracy = None
        if self.labels is not None:
            known = np.flatnonzero(self.labels >= 0)
            _, labels = np.unique(self.labels[known], return_inverse=True)
            if len(known) > 2 and labels.max() > 0:
                accuracy = knn_accuracy(features[torch.from_numpy(known)], labels.astype(np.int64))
        return Reading(
            effective_rank=effective_rank(features),
            std=unit_spread(features),
            knn_accuracy=accuracy,
            projection_std=projected,
        )


def reading_epochs(epochs: int) -> frozenset[int]:
    """The epochs after which the features are read; 0 is the start."""
    every = max(1, epochs // READINGS)
    return frozenset({0, epochs, *range(every, epochs, every)})


def collapse(readings: Sequence[Reading]) -> str | None:
    """Say how the features have degenerated, from the first reading to the last; None where they haven't."""
    first = readings[0]
    last = readings[-1]
    if not math.isfinite(last.std) or last.std < LEAST_SPREAD:
        return f"nearly all samples have the same features (spread {last.std:.2g}; {first.std:.2g} at the start)"
    if _projections_close(readings):
        return f"the projections of all samples lie close together (spread {last.projection_std:.2g}; 1 is healthy)"
    least = min(first.effective_rank, max(LEAST_RANK, LEAST_SHARE * first.effective_rank))
    if last.effective_rank < least:
        return (
            f"the features lie in few directions (effective rank {last.effective_rank:.2g}; "
            f"{first.effective_rank:.2g} at the start)"
        )
    return None


def _projections_close(readings: Sequence[Reading]) -> bool:
    """Whether projections lie close together and don't part; in the first steps of a healthy training they do part."""
    if len(readings) < 2:
        return False
    before = readings[-2].projection_std
    last = readings[-1].projection_std
    return before is not None and last is not None and last < min(before, LEAST_PROJECTED)
