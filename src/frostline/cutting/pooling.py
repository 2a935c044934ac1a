"""How the activation at a cut becomes one vector per sample: as in the network itself, where the recording shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from frostline.cutting.recorder import PARAMETER, Recording, TensorRecord

# none: already one vector; mean: over positions or tokens; first, last: that token (a class token; the last word)
Pooling = Literal["none", "mean", "first", "last"]
TOKENS = 3  # axes of an activation (samples, tokens, channels)


def network_pooling(recording: Recording, start: int) -> Pooling | None:
    """Return how the network itself goes from tokens to the tensor `start`; None where the recording doesn't show it.

    Followed back to the nearest operation that leaves out the axis of tokens.
    """
    queue = [start]
    seen = {start}
    for key in queue:  # grows while it is walked
        record = recording.tensors[key]
        for parent in record.parents:
            source = recording.tensors[parent]
            if parent in seen or not (source.taint & PARAMETER and source.taint & ~PARAMETER):
                continue
            seen.add(parent)
            pooling = _token_reduction(record, source)
            if pooling:
                return pooling
            if source.tensor.ndim <= TOKENS:
                queue.append(parent)
    return None


def _token_reduction(record: TensorRecord, source: TensorRecord) -> Pooling | None:
    """Return the pooling that one operation does, if it leaves out the axis of tokens."""
    if source.tensor.ndim != TOKENS or record.tensor.ndim != TOKENS - 1:
        return None
    if record.picked and record.picked[0] in (1, -2):
        ends: dict[int, Pooling] = {0: "first", -1: "last", source.tensor.shape[1] - 1: "last"}
        return ends.get(record.picked[1], "mean")
    if "index" in record.operation or "gather" in record.operation:
        return "last"  # decoders: the last token that isn't padding
    if any(word in record.operation for word in ("mean", "sum", "amax", "max")):
        return "mean"
    return None


def find_mask(recording: Recording, shape: Sequence[int], channel_axis: int) -> int | None:
    """Return the number of the raw input (samples, tokens) that has 1 for words and 0 for padding, if there is one."""
    if len(shape) != TOKENS or channel_axis % TOKENS != TOKENS - 1:
        return None
    for i, key in enumerate(recording.inputs):
        x = recording.tensors[key].tensor
        if tuple(x.shape) == tuple(shape[:2]) and bool(((x == 0) | (x == 1)).all()) and bool((x[:, 0] == 1).all()):
            return i
    return None


def pool(activation: Tensor, *, channel_axis: int, pooling: str = "mean", mask: Tensor | None = None) -> Tensor:
    """Return the features (N, D) of an activation.

    (N, D) comes as it is. `mean`: over every axis but those of samples and channels; (N, T, D) over those tokens
    whose `mask` (N, T) is 1. `first`, `last`: that token; with a mask the last one whose mask is 1. `channel_axis` is
    the one that the cut recorded.
    """
    axes = [axis for axis in range(1, activation.ndim) if axis != channel_axis % activation.ndim]
    if not axes:
        return activation
    if pooling == "first":
        return activation[:, 0]
    if pooling == "last":
        samples = torch.arange(len(activation), device=activation.device)
        return activation[samples, _last_token(activation, mask)]
    if mask is not None and len(axes) == 1:
        weight = mask.to(activation.device, activation.dtype)[..., None]
        return (activation * weight).sum(axes[0]) / weight.sum(axes[0]).clamp(min=1)
    return activation.mean(axes)


def _last_token(activation: Tensor, mask: Tensor | None) -> Tensor:
    """Return the position of each sample's last token, or of the last one whose mask isn't 0."""
    tokens = torch.arange(activation.shape[1], device=activation.device)
    if mask is None:
        return tokens[-1:].expand(len(activation))
    return (tokens * (mask.to(activation.device) != 0)).argmax(1)
