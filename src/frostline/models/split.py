"""A network cut in two without being rewritten: the prefix is the real forward left at the cut, the suffix the real
forward with finished modules left out and the stored activation put in (DESIGN 4.4).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.models.cuts import Cut
from frostline.models.guard import exact
from frostline.models.recorder import boundary_tensors
from frostline.models.skeleton import SkeletonStore, Template, replaced, signature, stub

_MISSING = object()


class _Stop(BaseException):
    """Leaves a forward pass; not an Exception, so that a network's own `except Exception` can't swallow it."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape (with the example's batch axis), type and place of one raw input."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> InputSpec:
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)


class Split:
    """`prefix(*inputs)` gives the activation at the cut, `suffix(activation, *inputs)` the network's output from it.

    Works in train and eval mode, under autocast and with gradients; the two parts' modes are the caller's business
    (a stored activation means something only where the prefix ran in inference mode). Not safe in two threads at
    once on one module, since the suffix swaps `forward` on modules while it runs; activation checkpointing across
    the cut isn't supported. `skeletons` may be shared by splits of networks that are built alike.
    """

    def __init__(
        self,
        model: nn.Module,
        cut: Cut,
        *,
        input_specs: Sequence[InputSpec],
        skeletons: SkeletonStore | None = None,
        poison: bool = False,
    ) -> None:
        self.model = model
        self.cut = cut
        self.input_specs = tuple(input_specs)
        self.skeletons = skeletons if skeletons is not None else SkeletonStore()
        self.poison = poison  # fill what is left out with NaN, to see any leak

    def prefix(self, *inputs: Tensor) -> Tensor:
        """The activation at the cut. Raises ModelError if the run doesn't come by there."""
        return _run_to(self.model, [self.cut], inputs)[0]

    def suffix(self, activation: Tensor, *inputs: Tensor) -> Any:
        """The network's output, computed from the activation alone.

        `inputs` are the raw inputs; only those that `cut.needs` names have to hold real values. Left out altogether
        (allowed where it names none), hollow ones stand in.
        """
        given = inputs or self._stand_ins(activation)
        key = signature(given)
        if not inputs and key not in self.skeletons:  # what stands in holds no values that a run could rely on
            self.skeletons.trace(self.model, [torch.zeros_like(x) for x in given], key)
        stubs = self.skeletons.stubs(self.model, self.cut, given, key)
        target = self.model.get_submodule(self.cut.module)
        value = activation.clone() if self.cut.mutated else activation
        patches = [(self.model.get_submodule(name), stub(results, self.poison)) for name, results in stubs.items()]
        with exact(), contextlib.ExitStack() as stack:
            if self.cut.where == "out":
                result = self.skeletons.result(self.cut, key)
                patches.append((target, _constant(result, self.cut.pick, value, self.poison)))
            else:
                stack.enter_context(_swapped_argument(target, self.cut.pick, value))
            stack.enter_context(_patched(patches))
            return self.model(*given)

    def _stand_ins(self, activation: Tensor) -> tuple[Tensor, ...]:
        """Inputs of the right shape for the activation's number of samples."""
        if self.cut.needs:
            raise ModelError(
                f"The part of the network after {self.cut.module} reads raw input {self.cut.needs[0] + 1} as well.",
                "Call suffix(activation, *inputs) with the raw inputs.",
            )
        rows = activation.shape[0] * self.cut.batch // self.cut.shape[0]
        return tuple(
            torch.empty((rows, *spec.shape[1:]) if spec.shape else (), dtype=spec.dtype, device=activation.device)
            for spec in self.input_specs
        )


def taps(model: nn.Module, cuts: Sequence[Cut], *inputs: Tensor) -> list[Tensor]:
    """The activation at each of several cuts from one forward pass, which stops at the deepest.

    Bitwise what each cut's own prefix gives. Raises ModelError if the run doesn't come by one of them.
    """
    return _run_to(model, cuts, inputs)


def _run_to(model: nn.Module, cuts: Sequence[Cut], inputs: Sequence[Tensor]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    if not cuts:
        return []

    def grab(position: int, value: Any) -> None:
        cut = cuts[position]
        tensor = boundary_tensors(value)[cut.pick]
        last = len(found) == len(cuts) - 1
        found[position] = tensor.clone() if cut.mutated and not last else tensor
        if len(found) == len(cuts):
            raise _Stop

    with contextlib.ExitStack() as stack:
        stack.enter_context(exact())
        for position, cut in enumerate(cuts):
            stack.enter_context(_hooked(model.get_submodule(cut.module), cut, position, grab))
        with contextlib.suppress(_Stop):
            model(*inputs)
    for position, cut in enumerate(cuts):
        if position not in found:
            raise ModelError(
                f"The network's run didn't come by the cut {cut.name}.", "Make the stage map again for this network."
            )
    return [found[i] for i in range(len(cuts))]


@contextlib.contextmanager
def _hooked(target: nn.Module, cut: Cut, position: int, grab: Callable[[int, Any], None]) -> Iterator[None]:
    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
        grab(position, (args, kwargs))

    def after(_module: nn.Module, _args: Any, result: Any) -> None:
        grab(position, result)

    if cut.where == "in":
        handle = target.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = target.register_forward_hook(after, prepend=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _swapped_argument(target: nn.Module, pick: int, value: Tensor) -> Iterator[None]:
    def swap(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        return tuple(replaced((args, kwargs), pick, value))

    handle = target.register_forward_pre_hook(swap, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _patched(patches: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Each module's forward replaced for the while; an instance's own forward, if it has one, comes back."""
    before = [(m.__dict__, m.__dict__.get("forward", _MISSING)) for m, _ in patches]
    try:
        for module, forward in patches:
            if not isinstance(module, torch.jit.ScriptModule):  # its forward can't be swapped: let it run
                module.__dict__["forward"] = forward
        yield
    finally:
        for attributes, forward in before:
            if forward is _MISSING:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = forward


def _constant(result: Template, pick: int, value: Tensor, poison: bool) -> Callable[..., Any]:
    filled = result.filled_with(pick, value, poison)
    return lambda *_args, **_kwargs: filled
