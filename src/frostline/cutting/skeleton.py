"""The shapes, without values, of what a network's modules return for given inputs: enough to leave modules out.

Shared by all copies of one architecture, whatever their weights: a study that trains hundreds of copies learns them
once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from frostline.cutting.cuts import Cut
from frostline.cutting.guard import device_of, exact, forked_seed, untouched
from frostline.cutting.inputs import Call
from frostline.cutting.outputs import tensors_of
from frostline.cutting.refuse import scripted

Signature = tuple[Any, ...]
ALTERNATING = float("inf")  # as a fill: 1e4 and -1e4 in turns


@dataclass(frozen=True, slots=True)
class Hollow:
    """Shape, strides, type and device of a tensor that isn't there."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Hollow:
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)

    def make(self) -> Tensor:
        """Return memory that nothing has touched, so it costs nothing until something does."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)

    def make_filled(self, poison: float) -> Tensor:
        """Return a tensor filled with one value, such as NaN (whole numbers: 0), so that a leak shows in any result."""
        extent = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if 0 in self.shape:
            extent = 0
        memory = torch.empty((extent,), dtype=self.dtype, device=self.device)
        return fill_values(memory, poison).as_strided(self.shape, self.stride)

    def stand_in(self, poison: float | None) -> Tensor:
        """Return untouched memory, or memory filled with a value."""
        if poison is None:
            return self.make()
        return self.make_filled(poison)


def fill_values(tensor: Tensor, fill: float) -> Tensor:
    """Give the tensor one value everywhere (or two, see `ALTERNATING`), whole numbers 0, and return it."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.zero_()
    if fill != ALTERNATING:
        return tensor.fill_(fill)
    signs = 1 - 2 * (torch.arange(tensor.numel(), device=tensor.device) % 2)
    return tensor.copy_((1e4 * signs).view(tensor.shape))


@dataclass(frozen=True, slots=True)
class Template:
    """A module's result with hollow tensors in it.

    Containers (named tuples, model outputs) keep their type, and a tensor that stands at several places is one tensor
    there too.
    """

    spec: TreeSpec
    leaves: tuple[Any, ...]
    first: tuple[int, ...]  # for each leaf where it (the same object) stands first

    @classmethod
    def of(cls, value: Any) -> Template:
        leaves, spec = tree_flatten(value)
        hollow_leaves = (Hollow.of(x) if isinstance(x, Tensor) else x for x in leaves)
        return cls(spec, tuple(hollow_leaves), _first_places(leaves))

    @property
    def opaque(self) -> bool:
        """True where tensors hide in it that can't be replaced (a dataclass, a cache): only a real run can give it."""
        return any(_hides_tensors(x) for x in self.leaves if not isinstance(x, Hollow))

    def fill(self, poison: float | None) -> Any:
        return self._unflatten({}, poison)

    def filled_with(self, pick: int, value: Tensor, poison: float | None) -> Any:
        """Return the result with `value` as its `pick`-th tensor."""
        where = [i for i, x in enumerate(self.leaves) if isinstance(x, Hollow)][pick]
        return self._unflatten({self.first[where]: value}, poison)

    def _unflatten(self, values: dict[int, Any], poison: float | None) -> Any:
        for i, leaf in zip(self.first, self.leaves, strict=True):
            if i not in values:
                values[i] = leaf.stand_in(poison) if isinstance(leaf, Hollow) else leaf
        return tree_unflatten([values[i] for i in self.first], self.spec)


def _first_places(leaves: Sequence[Any]) -> tuple[int, ...]:
    """Return for each leaf where it (the same tensor) stands first."""
    places: dict[int, int] = {}
    return tuple(places.setdefault(id(x), i) if isinstance(x, Tensor) else i for i, x in enumerate(leaves))


def _hides_tensors(leaf: Any) -> bool:
    """True where an object has tensors among its attributes, or among those of objects that it lists."""
    if isinstance(leaf, nn.Module):
        return False
    if _has_tensor_attributes(leaf):
        return True
    lists = (value for value in getattr(leaf, "__dict__", {}).values() if isinstance(value, list | tuple))
    return any(_has_tensor_attributes(item) for items in lists for item in items)


def _has_tensor_attributes(value: Any) -> bool:
    attributes = getattr(value, "__dict__", {})
    return any(True for _ in tensors_of(list(attributes.values())))


def replaced(value: Any, pick: int, tensor: Tensor) -> Any:
    """Return the nested value with another tensor in the place of its `pick`-th one, wherever that one stands (query,
    key and value)."""
    leaves, spec = tree_flatten(value)
    old = [x for x in leaves if isinstance(x, Tensor)][pick]
    return tree_unflatten([tensor if x is old else x for x in leaves], spec)


@dataclass(slots=True)
class Trace:
    """One run's module calls for one input signature: when each was first entered and last exited, and its results."""

    entered: dict[str, int] = field(default_factory=dict)
    exited: dict[str, int] = field(default_factory=dict)
    results: dict[str, list[Template]] = field(default_factory=dict)

    def finished(self, cut: Cut) -> set[str]:
        """Return the modules all of whose calls are over at the cut."""
        position = self._position(cut)
        return {name for name, last in self.exited.items() if last <= position}

    def begun(self, cut: Cut) -> set[str]:
        """Return the modules that ran before the cut, also those that run again after it; without those around it."""
        position = self._position(cut)
        around = ancestors(cut.module)
        return {name for name, first in self.entered.items() if first < position and name not in around}

    def _position(self, cut: Cut) -> int:
        if cut.where == "in":
            return self.entered[cut.module]
        return self.exited[cut.module]

    def stubs(self, cut: Cut) -> dict[str, list[Template]]:
        """Return the outermost modules that the suffix leaves out, each with its results call by call."""
        opaque = (name for name, results in self.results.items() if any(result.opaque for result in results))
        kept = (cut.module, *cut.real, *opaque)
        omitted = {name for name in self.finished(cut) if not any(_is_within(name, other) for other in kept)}
        outermost = (name for name in omitted if not any(parent in omitted for parent in ancestors(name)))
        return {name: self.results[name] for name in sorted(outermost)}


def _is_within(name: str, other: str) -> bool:
    """True where a module is another one or lies inside it."""
    return name == other or name.startswith(other + ".")


def ancestors(name: str) -> list[str]:
    """Return the paths of the modules around a module, without the root."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def signature(call: Call) -> Signature:
    """Return all that the results' shapes depend on: shapes, strides, types and devices of the inputs, and autocast."""
    kinds = {x.device.type for x in call.tensors}
    casts = tuple((kind, torch.get_autocast_dtype(kind)) for kind in sorted(kinds) if torch.is_autocast_enabled(kind))
    inputs = ((tuple(x.shape), x.stride(), x.dtype, x.device) for x in call.tensors)
    return (*inputs, call.spec, call.constants, casts)


class SkeletonStore:
    """Traces by input signature. May be shared by the splits of networks that are built alike."""

    def __init__(self) -> None:
        self._traces: dict[Signature, Trace] = {}
        self._stubs: dict[tuple[Signature, tuple[str, str, int]], dict[str, list[Template]]] = {}

    def trace(self, model: nn.Module, call: Call, key: Signature | None = None) -> Trace:
        """Return the trace for these inputs; learnt by one run in inference mode where the signature is new."""
        if key is None:
            key = signature(call)
        if key not in self._traces:
            self._traces[key], _ = learn(model, call)
        return self._traces[key]

    def learn(self, model: nn.Module, call: Call) -> Any:
        """Learn the trace for these inputs and return the network's output of that run."""
        self._traces[signature(call)], output = learn(model, call)
        return output

    def stubs(self, model: nn.Module, cut: Cut, call: Call, key: Signature) -> dict[str, list[Template]]:
        if (key, cut.key) not in self._stubs:
            self._stubs[key, cut.key] = self.trace(model, call, key).stubs(cut)
        return self._stubs[key, cut.key]

    def result(self, cut: Cut, key: Signature) -> Template:
        """Return the result of the cut's own module."""
        return self._traces[key].results[cut.module][0]

    def __contains__(self, key: Signature) -> bool:
        return key in self._traces

    def __len__(self) -> int:
        return len(self._traces)


def learn(model: nn.Module, call: Call) -> tuple[Trace, Any]:
    """Run the network once; return its trace, with every module's results, and its output.

    The module is left as it was, and so are torch's generators: this may happen in the middle of a training step, and
    attention draws from them in inference too.
    """
    trace = Trace()
    clock = itertools.count()
    handles = []
    names = {module: name for name, module in model.named_modules() if name and not scripted(module)}

    def enter(module: nn.Module, _args: Any) -> None:
        trace.entered.setdefault(names[module], next(clock))

    def leave(module: nn.Module, _args: Any, result: Any) -> None:
        trace.exited[names[module]] = next(clock)
        trace.results.setdefault(names[module], []).append(Template.of(result))

    with untouched(model), exact(), forked_seed(0, device_of(model)), torch.no_grad():
        model.eval()
        try:
            for module in names:
                handles.append(module.register_forward_pre_hook(enter, prepend=True))
                handles.append(module.register_forward_hook(leave, prepend=True))
            output = call.with_tensors([x.detach().clone() for x in call.tensors]).run(model)
        finally:
            for handle in handles:
                handle.remove()
    return trace, output


def stub(results: Sequence[Template], poison: float | None) -> Callable[..., Any]:
    """Return a forward that does nothing and returns hollow results, call by call."""
    if len(results) > 1:
        turns = itertools.cycle(results)
        return lambda *_args, **_kwargs: next(turns).fill(poison)
    (only,) = results
    if only.spec.is_leaf() and isinstance(only.leaves[0], Hollow):  # one tensor, as most modules return: the short way
        hollow = only.leaves[0]
        return lambda *_args, **_kwargs: hollow.stand_in(poison)
    return lambda *_args, **_kwargs: only.fill(poison)
