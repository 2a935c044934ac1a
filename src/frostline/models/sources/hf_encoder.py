"""A text encoder with a head: token features pooled as its own configuration says, and a linear layer on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.errors import ModelError

TokenPooling = Literal["mean", "sqrt-mean", "cls", "max", "last"]
HEAD = "head"
CLASSES = 2  # of a head that is always replaced


class TextEncoder(nn.Module):
    """Sentence features of a transformer, as the library sentence-transformers computes them, and a new head.

    `pooling` over the tokens whose mask is 1: their mean (`mean`), their sum over the square root of their number
    (`sqrt-mean`), the first (`cls`), the largest value of each feature (`max`), or the last (`last`). `normalise`
    brings each text's features to the Euclidean norm sqrt(width), not to 1 as sentence-transformers does: features of
    about 1 in size are what the rates of a new head are meant for, and a solved head doesn't see the factor.
    """

    def __init__(self, encoder: nn.Module, width: int, pooling: TokenPooling, *, normalise: bool = False) -> None:
        super().__init__()
        if pooling not in get_args(TokenPooling):
            known = ", ".join(get_args(TokenPooling))
            raise ModelError(f"Pooling {pooling!r} of tokens is not known.", f"Known: {known}.")
        self.encoder = encoder
        self.pooling = pooling
        self.normalise = normalise
        self.head_width = width
        self.head = nn.Linear(width, CLASSES)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence features (N, D) from ids and mask (N, L)."""
        found: Any = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        if isinstance(found, Mapping):
            tokens = found["last_hidden_state"]
        else:
            tokens = found[0]
        features = self._pooled(tokens, attention_mask)
        if self.normalise:
            features = F.normalize(features, dim=1) * self.head_width**0.5
        return features

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Class scores (N, classes) from ids and mask (N, L)."""
        return cast(Tensor, self.head(self.features(input_ids, attention_mask)))

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return tokens[:, 0]
        there = mask.unsqueeze(-1)
        if self.pooling == "max":
            return tokens.masked_fill(there == 0, float("-inf")).max(dim=1).values
        if self.pooling == "last":
            places = mask.shape[1] - 1 - mask.flip(1).argmax(1)
            return tokens[torch.arange(len(tokens), device=tokens.device), places]
        weight = there.to(tokens.dtype)
        total = (tokens * weight).sum(1)
        count = weight.sum(1).clamp(min=1)
        return total / (count if self.pooling == "mean" else count.sqrt())
