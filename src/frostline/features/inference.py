"""Runs a network over samples in chunks of one fixed size: the one loop of inference.

Some kernels are chosen by batch size, so every pass takes chunks of the recorded size, and a partial chunk is filled
up by repeating its last sample: a sample's answer is then the same whoever came with it. The promise that stored
equals recomputed, and that `predict` equals the sealed test, rests on this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.device import Compute, autocast
from frostline.cutting.cuts import Cut
from frostline.cutting.guard import exact, may_have_gradients
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.outputs import flat_logits
from frostline.cutting.split import run_to
from frostline.features.store import canonical


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


def scores_in_chunks(forward: Callable[[Tensor], Any], rows: Tensor, compute: Compute) -> Iterator[Tensor]:
    """Class scores (n, C) of the rows of each chunk; `forward` maps row indices to what the network returns.

    The network has to be in inference mode.
    """
    for count, chunk in padded_chunks(rows, compute.chunk):
        with torch.inference_mode(), autocast(compute), exact():
            scores = flat_logits(forward(chunk))
        yield scores[:count]


def tapped_chunks(
    model: nn.Module, cuts: Sequence[Cut], inputs: Callable[[Tensor], Any], rows: Tensor, compute: Compute
) -> Iterator[Tapped]:
    """The activations at `cuts` for each chunk of `rows`; `inputs` maps row indices to the network's inputs.

    The layers are run as they are before they are frozen, since kernels are chosen by that too.
    """
    for count, chunk in padded_chunks(rows, compute.chunk):
        call = call_of(inputs(chunk))
        with torch.no_grad(), may_have_gradients(model), autocast(compute):
            activations = run_to(model, cuts, call)
        yield Tapped(count, call, [canonical(activation) for activation in activations])
