"""What a network is called with: positional and keyword arguments, nested as they like; the tensors in them are its
raw inputs, numbered in order (positional ones first, keywords by name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, keystr, tree_flatten, tree_flatten_with_path, tree_unflatten


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape (with the example's batch axis), type and place of one raw input."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> InputSpec:
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a network. `leaves` are tensors and constants (numbers, None, words), `spec` how they nest."""

    spec: TreeSpec
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, args: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None) -> Call:
        leaves, spec = tree_flatten((tuple(args), dict(sorted((keywords or {}).items()))))
        return cls(spec, tuple(leaves))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The raw inputs."""
        return tuple(x for x in self.leaves if isinstance(x, Tensor))

    @property
    def constants(self) -> tuple[Any, ...]:
        """What else it is called with; None in the places of tensors."""
        return tuple(None if isinstance(x, Tensor) else repr(x) for x in self.leaves)

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each raw input in a sentence: `raw input 1`, or a keyword's name."""
        (args, keywords), found = tree_unflatten(list(self.leaves), self.spec), []
        for path, leaf in tree_flatten_with_path((args, keywords))[0]:
            if isinstance(leaf, Tensor):
                deeper = keystr(path[2:])
                number = getattr(path[1], "idx", None)
                found.append(
                    f"{getattr(path[1], 'key', None) if number is None else f'raw input {number + 1}'}{deeper}"
                )
        return tuple(found)

    @property
    def batch(self) -> int:
        """Samples in it: length of the first axis of the first input that has one."""
        return next((int(x.shape[0]) for x in self.tensors if x.ndim), 1)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Call:
        """The same call with other raw inputs."""
        left = iter(tensors)
        return Call(self.spec, tuple(next(left) if isinstance(x, Tensor) else x for x in self.leaves))

    def run(self, model: nn.Module) -> Any:
        """What the network returns."""
        args, keywords = tree_unflatten(list(self.leaves), self.spec)
        return model(*args, **keywords)


def as_call(inputs: Call | Sequence[Any]) -> Call:
    """A call with these positional arguments, where it isn't one already."""
    if isinstance(inputs, Call):
        return inputs
    return Call.of(inputs)


def call_of(inputs: Tensor | Mapping[str, Any] | Sequence[Any]) -> Call:
    """The call that a batch of inputs means: a tensor (the only argument), several by position, or by keyword."""
    if isinstance(inputs, Tensor):
        return Call.of((inputs,))
    if isinstance(inputs, Mapping):
        return Call.of((), inputs)
    return Call.of(inputs)


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a mapped network is called, without the values of its raw inputs."""

    spec: TreeSpec
    leaves: tuple[Any, ...]  # an InputSpec in the place of each tensor
    names: tuple[str, ...]
    batch: int

    @classmethod
    def of(cls, call: Call) -> CallForm:
        leaves = tuple(InputSpec.of(x) if isinstance(x, Tensor) else x for x in call.leaves)
        return cls(call.spec, leaves, call.names, call.batch)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The raw inputs in order."""
        return tuple(x for x in self.leaves if isinstance(x, InputSpec))

    def stand_in(self, rows: int, device: torch.device) -> Call:
        """A call with untouched memory for every raw input, of `rows` samples."""
        leaves = (_hollow(x, rows, self.batch, device) if isinstance(x, InputSpec) else x for x in self.leaves)
        return Call(self.spec, tuple(leaves))


def _hollow(spec: InputSpec, rows: int, batch: int, device: torch.device) -> Tensor:
    grows = bool(spec.shape) and spec.shape[0] == batch
    if grows:
        shape = (rows, *spec.shape[1:])
    else:
        shape = spec.shape
    return torch.empty(shape, dtype=spec.dtype, device=device)
