"""What a network's modules return for inputs of a given shape, without the values: enough to leave modules out.

Shared by all copies of one architecture, whatever their weights: a study that trains hundreds of copies learns once.
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
    """Shape, strides, type and place of a tensor that isn't there."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Hollow:
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)

    def make(self) -> Tensor:
        """Memory that nobody has touched, so it costs nothing until somebody does."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)

    def make_filled(self, poison: float) -> Tensor:
        """Filled with one value, such as NaN (whole numbers: 0), so that any leak into a result is seen at once."""
        extent = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if 0 in self.shape:
            size = (0,)
        else:
            size = (extent,)
        memory = torch.empty(size, dtype=self.dtype, device=self.device)
        return filled(memory, poison).as_strided(self.shape, self.stride)


def filled(tensor: Tensor, fill: float) -> Tensor:
    """The tensor with one value everywhere (or two, see `ALTERNATING`); whole numbers are 0."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.zero_()
    if fill != ALTERNATING:
        return tensor.fill_(fill)
    signs = 1 - 2 * (torch.arange(tensor.numel(), device=tensor.device) % 2)
    return tensor.copy_((1e4 * signs).view(tensor.shape))


@dataclass(frozen=True, slots=True)
class Template:
    """A module's result with hollow tensors in it; containers (named tuples, model outputs) keep their type, and a
    tensor that stands at several places is one there too."""

    spec: TreeSpec
    leaves: tuple[Any, ...]
    first: tuple[int, ...]  # for each leaf where it (the same object) stands first

    @classmethod
    def of(cls, value: Any) -> Template:
        leaves, spec = tree_flatten(value)
        return cls(spec, tuple(Hollow.of(x) if isinstance(x, Tensor) else x for x in leaves), _first_places(leaves))

    @property
    def opaque(self) -> bool:
        """Tensors hide in it where they can't be replaced (a dataclass, a cache): only a real run can give it."""
        return any(_hides_tensors(x) for x in self.leaves if not isinstance(x, Hollow))

    def fill(self, poison: float | None) -> Any:
        return self._unflatten({}, poison)

    def filled_with(self, pick: int, value: Tensor, poison: float | None) -> Any:
        """The result with `value` as its `pick`-th tensor."""
        where = [i for i, x in enumerate(self.leaves) if isinstance(x, Hollow)][pick]
        return self._unflatten({self.first[where]: value}, poison)

    def _unflatten(self, made: dict[int, Any], poison: float | None) -> Any:
        for i, leaf in zip(self.first, self.leaves, strict=True):
            if i not in made:
                made[i] = _made(leaf, poison)
        return tree_unflatten([made[i] for i in self.first], self.spec)


def _first_places(leaves: Sequence[Any]) -> tuple[int, ...]:
    places: dict[int, int] = {}
    return tuple(places.setdefault(id(x), i) if isinstance(x, Tensor) else i for i, x in enumerate(leaves))


def _made(leaf: Any, poison: float | None) -> Any:
    if not isinstance(leaf, Hollow):
        return leaf
    if poison is None:
        return leaf.make()
    return leaf.make_filled(poison)


def _hides_tensors(leaf: Any) -> bool:
    if isinstance(leaf, nn.Module) or not hasattr(leaf, "__dict__"):
        return False
    return next(tensors_of(list(vars(leaf).values())), None) is not None or any(
        hasattr(x, "__dict__") and next(tensors_of(list(vars(x).values())), None) is not None
        for value in vars(leaf).values()
        if isinstance(value, list | tuple)
        for x in value
    )


def replaced(value: Any, pick: int, tensor: Tensor) -> Any:
    """The same nested value with its `pick`-th tensor put in place, wherever that one stands (query, key and value)."""
    leaves, spec = tree_flatten(value)
    old = [x for x in leaves if isinstance(x, Tensor)][pick]
    return tree_unflatten([tensor if x is old else x for x in leaves], spec)


@dataclass(slots=True)
class Trace:
    """One run's module calls for one input signature: when each was first entered and last left, what it returned."""

    entered: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    results: dict[str, list[Template]] = field(default_factory=dict)

    def finished(self, cut: Cut) -> set[str]:
        """Modules all of whose calls are over at the cut."""
        at = self._position(cut)
        return {name for name, last in self.left.items() if last <= at}

    def begun(self, cut: Cut) -> set[str]:
        """Modules that ran before the cut, whether they run again after it or not; those around it aren't counted."""
        at = self._position(cut)
        around = ancestors(cut.module)
        return {name for name, first in self.entered.items() if first < at and name not in around}

    def _position(self, cut: Cut) -> int:
        if cut.where == "in":
            return self.entered[cut.module]
        return self.left[cut.module]

    def stubs(self, cut: Cut) -> dict[str, list[Template]]:
        """The outermost modules that the suffix leaves out, and what they return call by call."""
        opaque = (name for name, results in self.results.items() if any(result.opaque for result in results))
        kept = (cut.module, *cut.real, *opaque)
        done = {name for name in self.finished(cut) if not any(_inside(name, other) for other in kept)}
        outer = (name for name in done if not any(parent in done for parent in ancestors(name)))
        return {name: self.results[name] for name in sorted(outer)}


def _inside(name: str, other: str) -> bool:
    return name == other or name.startswith(other + ".")


def ancestors(name: str) -> list[str]:
    """Paths of the modules around a module, the root left out."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def signature(call: Call) -> Signature:
    """What the shapes of all results depend on: shapes, strides, types and places of the inputs, and autocast."""
    kinds = {x.device.type for x in call.tensors}
    casts = tuple((k, torch.get_autocast_dtype(k)) for k in sorted(kinds) if torch.is_autocast_enabled(k))
    inputs = ((tuple(x.shape), x.stride(), x.dtype, x.device) for x in call.tensors)
    return (*inputs, call.spec, call.constants, casts)


class SkeletonStore:
    """Traces by input signature. May be shared by the splits of networks that are built alike."""

    def __init__(self) -> None:
        self._traces: dict[Signature, Trace] = {}
        self._stubs: dict[tuple[Signature, tuple[str, str, int]], dict[str, list[Template]]] = {}

    def trace(self, model: nn.Module, call: Call, key: Signature | None = None) -> Trace:
        """The trace for these inputs; learnt by one run in inference mode where the signature is new."""
        if key is None:
            key = signature(call)
        else:
            key = key
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
        """What the cut's own module returns."""
        return self._traces[key].results[cut.module][0]

    def __contains__(self, key: Signature) -> bool:
        return key in self._traces

    def __len__(self) -> int:
        return len(self._traces)


def learn(model: nn.Module, call: Call) -> tuple[Trace, Any]:
    """Run the network once, note every module's results, and give the output too.

    The module is left as it was, and so are torch's generators: this may happen in the middle of a training step, and
    attention draws from them in inference too.
    """
    trace = Trace()
    clock = itertools.count()
    handles = []
    names = {m: n for n, m in model.named_modules() if n and not scripted(m)}

    def enter(module: nn.Module, _args: Any) -> None:
        trace.entered.setdefault(names[module], next(clock))

    def leave(module: nn.Module, _args: Any, result: Any) -> None:
        trace.left[names[module]] = next(clock)
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
    """A forward that does nothing and returns hollow results, call by call."""
    if len(results) > 1:
        turn = itertools.cycle(results)
        return lambda *_args, **_kwargs: next(turn).fill(poison)
    (only,) = results
    if len(only.leaves) == 1 and isinstance(only.leaves[0], Hollow) and only.spec.is_leaf():
        hollow = only.leaves[0]
        if poison is None:
            return lambda *_args, **_kwargs: hollow.make()
        return lambda *_args, **_kwargs: hollow.make_filled(poison)
    return lambda *_args, **_kwargs: only.fill(poison)
