"""torch's own attention function taken apart, so that the weights inside it are met as linear layers.

`F.multi_head_attention_forward` is one call to a mode that watches functions: what it does with its weights isn't seen.
Here the projections before and after it are done outside, and the function gets unit matrices in their place, which
change no value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ATTENTION = F.multi_head_attention_forward
ARGUMENTS = (
    "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn dropout_p "
    "out_proj_weight out_proj_bias"
).split()
WEIGHTS = ("in_proj_weight", "in_proj_bias", "out_proj_weight", "out_proj_bias")


def can_be_taken_apart(given: Mapping[str, Any], watched: Collection[int]) -> bool:
    """Whether this is attention of a sequence to itself, with one matrix for queries, keys and values, some of whose
    weights are watched (by their ids)."""
    itself = given["query"] is given["key"] is given["value"]
    plain = given.get("bias_k") is None and not given.get("use_separate_proj_weight", False)
    return itself and plain and any(id(given.get(name)) in watched for name in WEIGHTS)


def apart(given: Mapping[str, Any], *, samples_second: bool) -> tuple[Tensor, Any]:
    """What the function returns, (output, weights), with its projections done by `F.linear` on (samples, tokens, C).

    `given` are its arguments by name, the sequence as (tokens, samples, C), or (tokens, C) of a single one. Where
    `samples_second` is set, the caller knows that axis by itself, and nothing is transposed.
    """
    sequence = given["query"]
    swap = sequence.ndim == 3 and not samples_second
    projected = _over_samples(sequence, given["in_proj_weight"], given["in_proj_bias"], swap)
    query, key, value = projected.chunk(3, dim=-1)
    one = torch.eye(sequence.shape[-1], dtype=sequence.dtype, device=sequence.device)
    inner = {
        **given,
        "query": query,
        "key": key,
        "value": value,
        "in_proj_weight": None,
        "in_proj_bias": None,
        "use_separate_proj_weight": True,
        "q_proj_weight": one,
        "k_proj_weight": one,
        "v_proj_weight": one,
        "out_proj_weight": one,
        "out_proj_bias": None,
    }
    with torch._C.DisableTorchFunction():  # else the watching mode is asked about the function once more
        attended, weights = ATTENTION(**inner)
    return _over_samples(attended, given["out_proj_weight"], given["out_proj_bias"], swap), weights


def _over_samples(values: Tensor, weight: Tensor, bias: Tensor | None, swap: bool) -> Tensor:
    if not swap:
        return F.linear(values, weight, bias)
    return F.linear(values.transpose(0, 1), weight, bias).transpose(0, 1)
