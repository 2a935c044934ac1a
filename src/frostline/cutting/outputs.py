"""The tensors, and the class scores, in what a network returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from torch import Tensor

from frostline.base.errors import ModelError

HEAD_HINT = "Give a network that ends in an nn.Linear (or a 1x1 nn.Conv2d) and returns its output as it is."


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples, dictionaries and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from tensors_of(getattr(value, part.name, None))


def logits(output: Any) -> Tensor:
    """Return the class scores in what a network returns: the tensor itself, the entry `logits`, or the only tensor.

    Scores of shape (N, classes, 1, 1) come as they are; :func:`flat_logits` gives (N, classes). Raises ModelError
    where several tensors are returned and none is named.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return cast(Tensor, output["logits"])
    if isinstance(getattr(output, "logits", None), Tensor):
        return cast(Tensor, output.logits)
    tensors = list(tensors_of(output))
    if len(tensors) != 1:
        raise ModelError(f"the network returns {len(tensors)} tensors and none is called logits", HEAD_HINT)
    return tensors[0]


def flat_logits(output: Any) -> Tensor:
    """Return the class scores as (N, classes)."""
    scores = logits(output)
    if scores.ndim > 2:
        return scores.flatten(1)
    return scores
