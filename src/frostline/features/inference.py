"""Runs a network over samples in chunks of one fixed size: the one loop of inference.

Some kernels are chosen by batch size, so every pass takes chunks of the recorded size, and a partial chunk is filled
up by repeating its last sample: a sample's answer is then the same whoever came with it. Samples whose inputs differ in
length (texts) run in groups of one length each, whose chunks have a size of their own. The promise that stored equals
recomputed, and that `predict` equals the sealed test, rests on this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.device import Compute, autocast
from frostline.base.records import IntArray
from frostline.cutting.cuts import Cut
from frostline.cutting.guard import exact, may_have_gradients
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.outputs import flat_logits
from frostline.cutting.split import run_to
from frostline.features.store import canonical

# On a CPU, tokens of a chunk at most where lengths differ: a few long texts don't have to fill up a whole chunk. A GPU
# needs large chunks more than it minds full ones.
LONG_CHUNK = 1024
LEAST_CHUNK = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose inputs have one length: their `places` among those asked for, and the size of their chunks.

    `length` is 0 where the inputs of all samples are alike; then there is one group of all.
    """

    places: Tensor | slice
    chunk: int
    length: int = 0


def chunk_size(compute: Compute, length: int) -> int:
    """Samples of a chunk whose inputs have a length in tokens (0: all are alike), `compute.chunk` at most.

    A saved model's answers depend on it in the last bits, as they do on `compute.chunk`.
    """
    if not length or compute.device != "cpu":
        return compute.chunk
    return max(LEAST_CHUNK, min(compute.chunk, LONG_CHUNK // length))


def grouped(lengths: IntArray | None, compute: Compute) -> list[Group]:
    """Return the groups of rows whose inputs have these lengths (N,), the shortest first; None: all are alike."""
    if lengths is None:
        return [Group(slice(None), compute.chunk)]
    found = torch.from_numpy(lengths)
    return [
        Group((found == length).nonzero().flatten(), chunk_size(compute, length), length)
        for length in np.unique(lengths).tolist()
    ]


def in_order(parts: Sequence[Tensor], groups: Sequence[Group]) -> Tensor:
    """Join what the groups gave, one after another, along the first axis, in the order that was asked for."""
    whole = torch.cat(list(parts))
    if len(groups) == 1:
        return whole
    places = torch.cat([group.places for group in groups if isinstance(group.places, Tensor)])
    return whole[places.argsort().to(whole.device)]


@dataclass(frozen=True, slots=True)
class Tapped:
    """What one chunk left at the cuts: `count` rows count, the others fill the chunk up."""

    count: int
    call: Call  # the network's inputs, filled up
    activations: list[Tensor]  # one per cut, filled up, in canonical memory layout


def padded_chunks(rows: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """(rows that count, `size` row indices) for each chunk of `rows` (N,)."""
    for chunk in torch.split(rows, size):
        missing = size - len(chunk)
        yield len(chunk), torch.cat([chunk, chunk[-1:].expand(missing)]) if missing else chunk


def scores_in_chunks(
    forward: Callable[[Tensor], Any], rows: Tensor, groups: Sequence[Group], compute: Compute
) -> Tensor:
    """Class scores (N, C) of `rows` (N,), group by group; `forward` maps row indices to what the network returns.

    The network has to be in inference mode.
    """
    parts = []
    for group in groups:
        for count, chunk in padded_chunks(rows[group.places], group.chunk):
            with torch.inference_mode(), autocast(compute), exact():
                scores = flat_logits(forward(chunk))
            parts.append(scores[:count])
    return in_order(parts, groups)


@dataclass(frozen=True, slots=True)
class Tap:
    """A network that is run up to the deepest of some cuts; `inputs` maps row indices to its inputs."""

    model: nn.Module
    cuts: Sequence[Cut]
    inputs: Callable[[Tensor], Any]
    compute: Compute


def tapped_chunks(tap: Tap, rows: Tensor, size: int) -> Iterator[Tapped]:
    """The activations at the cuts for each chunk of `rows`, which are of one group; `size` is that of its chunks.

    The layers are run as they are before they are frozen, since kernels are chosen by that too.
    """
    for count, chunk in padded_chunks(rows, size):
        call = call_of(tap.inputs(chunk))
        with torch.no_grad(), may_have_gradients(tap.model), autocast(tap.compute):
            activations = run_to(tap.model, tap.cuts, call)
        yield Tapped(count, call, [canonical(activation) for activation in activations])
