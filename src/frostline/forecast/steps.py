"""What a network's features become within a few steps of training, and what each part of the change adds to them.

A sentence encoder was made to tell other things apart than the user's classes, and random directions hardly meet those
that these need: gradients in three of them forecast 0.78 where training measured 0.89. The straight line itself holds.
After 20 steps of Adam the features of MiniLM lay along it with a cosine of 0.94, and a head on the line's values was as
good as one on the features. So the direction is learnt, by a few steps on samples that no held-out one is among (Fort
et al. 2020: the kernel of gradients changes most in the first steps). Along a line changes add up: what a strategy does
is the part of the change that lies in the weights which it trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.device import autocast
from frostline.base.seeds import numpy_generator
from frostline.cutting.cuts import read_features
from frostline.cutting.guard import untouched
from frostline.cutting.inputs import call_of
from frostline.cutting.split import run_to
from frostline.features.extract import Features
from frostline.features.inference import Tap, in_order, tapped_chunks
from frostline.models.depthwise import fast_gradients

STEPS = 15
BATCH = 16
MOST_PASSES = 2  # through the samples learnt from, where these are few
RATE, HEAD_RATE = 1e-4, 1e-3
WARM_UP = 5  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """The samples that the steps learn from: their `places` (n,) in the features, and their `labels` (n,).

    `weights` (C,) say how much each class counts; None: all alike. `number` tells lessons of one seed apart.
    """

    places: Tensor
    labels: Tensor
    classes: int
    weights: Tensor | None
    seed: int
    number: int


def moved_features(
    features: Features, lesson: Lesson, moves: Mapping[str, Mapping[str, float]], rows: Tensor
) -> dict[str, Tensor]:
    """Return the features (N, D) before the head of the samples at `rows` (N,), after a part of the change.

    Args:
        lesson: what the steps learn.
        moves: for each part its parameters, each with the factor on its change. Parts that are alike are read once.

    The network is the same afterwards, bit for bit. Raises ModelError where it can't be cut after its last stage.
    """
    model = features.trunk.model
    found: dict[frozenset[tuple[str, float]], Tensor] = {}
    named = dict(model.named_parameters())
    with untouched(model), _same_weights(model) as before:
        _train(features, lesson)
        changes = {name: parameter.detach() - before[name] for name, parameter in named.items()}
        for part in moves.values():
            key = frozenset(part.items())
            if key in found:
                continue
            with torch.no_grad():
                for name, parameter in named.items():
                    parameter.copy_(before[name] + part.get(name, 0.0) * changes[name])
            found[key] = _read_moved(features, rows)
    return {name: found[frozenset(part.items())] for name, part in moves.items()}


@contextmanager
def _same_weights(model: nn.Module) -> Iterator[Mapping[str, Tensor]]:
    """Give copies of the parameters, and put these back on leaving."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    try:
        yield before
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(before[name])


def _train(features: Features, lesson: Lesson) -> None:
    """Train all weights in place, in inference mode, under a new head that begins at zero."""
    trunk = features.trunk
    device = trunk.compute.device
    known = features.plain(len(trunk.stages))[lesson.places]
    mean = known.mean(0)
    size = float((known - mean).square().mean().sqrt().clamp_min(1e-6))
    slopes = torch.zeros((lesson.classes, known.shape[1]), device=device, requires_grad=True)
    shifts = torch.zeros(lesson.classes, device=device, requires_grad=True)
    trained = [parameter for parameter in trunk.model.parameters() if parameter.is_floating_point()]
    for parameter in trained:
        parameter.requires_grad_(True)
    rates = (RATE, HEAD_RATE)
    groups: list[dict[str, Any]] = [{"params": trained}, {"params": [slopes, shifts]}]
    optimiser = torch.optim.Adam(groups)
    weights = None
    if lesson.weights is not None:
        weights = lesson.weights.to(device)
    for step, batch in enumerate(_batches(lesson)):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
        values = (_features_of(features, lesson.places[batch]) - mean.to(device)) / size
        loss = F.cross_entropy(F.linear(values, slopes, shifts), lesson.labels[batch].to(device), weight=weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _batches(lesson: Lesson) -> Iterator[Tensor]:
    """Yield which samples of the lesson each step learns from."""
    count = len(lesson.places)
    size = min(BATCH, count)
    steps = min(STEPS, -(-MOST_PASSES * count // size))
    generator = numpy_generator(lesson.seed, "forecast steps", lesson.number)
    passes = -(-steps * size // count)
    order = torch.cat([torch.from_numpy(generator.permutation(count)) for _ in range(passes)])
    yield from torch.split(order[: steps * size], size)


def _features_of(features: Features, rows: Tensor) -> Tensor:
    """(B, D) float32, with what autograd needs; texts of several lengths run length by length."""
    trunk = features.trunk
    cut = trunk.stages.cut_after(len(trunk.stages))
    groups = features.groups(rows)
    parts = []
    for group in groups:
        call = call_of(features.inputs(rows[group.places], 0))
        with autocast(trunk.compute), fast_gradients(trunk.compute):
            (activation,) = run_to(trunk.model, [cut], call)
            parts.append(read_features(cut, activation, call.tensors))
    return in_order(parts, groups)


def _read_moved(features: Features, rows: Tensor) -> Tensor:
    """(N, D) float32 of the weights as they are now."""
    trunk = features.trunk
    cut = trunk.stages.cut_after(len(trunk.stages))
    tap = Tap(trunk.model, [cut], partial(features.inputs, view=0), trunk.compute)
    groups = features.groups(rows)
    parts = []
    for group in groups:
        for tapped in tapped_chunks(tap, rows[group.places], group.chunk):
            (activation,) = tapped.activations
            parts.append(read_features(cut, activation, tapped.call.tensors)[: tapped.count].cpu())
    return in_order(parts, groups)
