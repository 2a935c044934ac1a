"""What a network is called with: positional and keyword arguments, nested in any way.

The tensors in them are its raw inputs, numbered in order (positional ones first, keywords by name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, keystr, tree_flatten, tree_flatten_with_path, tree_unflatten


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape (with the example's batch axis), type and device of one raw input."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> InputSpec:
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a network. `leaves` are tensors and constants (numbers, None, words), `spec` is how they nest."""

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
        """All other leaves as text; None in the places of tensors."""
        return tuple(None if isinstance(x, Tensor) else repr(x) for x in self.leaves)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each raw input in a sentence: `raw input 1`, or a keyword's name."""
        arguments = tree_unflatten(list(self.leaves), self.spec)
        leaves, _ = tree_flatten_with_path(arguments)
        return tuple(_input_name(path) for path, leaf in leaves if isinstance(leaf, Tensor))

    @property
    def batch(self) -> int:
        """Samples in it: length of the first axis of the first input that has one."""
        return next((int(x.shape[0]) for x in self.tensors if x.ndim), 1)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Call:
        """Return the same call with other raw inputs."""
        remaining = iter(tensors)
        return Call(self.spec, _map_tensors(self.leaves, lambda _: next(remaining)))

    def run(self, model: nn.Module) -> Any:
        """Run the network and return its output."""
        args, keywords = tree_unflatten(list(self.leaves), self.spec)
        return model(*args, **keywords)


def _input_name(path: Sequence[Any]) -> str:
    """Name a raw input by its path through (positional arguments, keywords)."""
    inner = keystr(tuple(path[2:]))
    position = getattr(path[1], "idx", None)
    if position is None:
        return f"{getattr(path[1], 'key', None)}{inner}"
    return f"raw input {position + 1}{inner}"


def _map_tensors(leaves: Iterable[Any], change: Callable[[Tensor], Any]) -> tuple[Any, ...]:
    """Return the leaves with another value in the place of each tensor."""
    return tuple(change(x) if isinstance(x, Tensor) else x for x in leaves)


def as_call(inputs: Call | Sequence[Any]) -> Call:
    """Return a call with these positional arguments, or the call itself."""
    if isinstance(inputs, Call):
        return inputs
    return Call.of(inputs)


def call_of(inputs: Tensor | Mapping[str, Any] | Sequence[Any]) -> Call:
    """Return the call for a batch of inputs: a tensor (the only argument), several by position, or by keyword."""
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
        return cls(call.spec, _map_tensors(call.leaves, InputSpec.of), call.names, call.batch)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The raw inputs in order."""
        return tuple(x for x in self.leaves if isinstance(x, InputSpec))

    def stand_in(self, samples: int, device: torch.device) -> Call:
        """Return a call for that number of samples, with uninitialised memory for every raw input."""
        leaves = (self._empty(x, samples, device) if isinstance(x, InputSpec) else x for x in self.leaves)
        return Call(self.spec, tuple(leaves))

    def _empty(self, spec: InputSpec, samples: int, device: torch.device) -> Tensor:
        shape = spec.shape
        if shape and shape[0] == self.batch:
            shape = (samples, *shape[1:])
        return torch.empty(shape, dtype=spec.dtype, device=device)
