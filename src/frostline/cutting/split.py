"""A network cut in two without being rewritten.

The prefix is the real forward, left at the cut. The suffix is the real forward with finished modules left out and the
stored activation put in. docs/architecture.md has the rules of cuts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut
from frostline.cutting.guard import exact
from frostline.cutting.inputs import Call, CallForm
from frostline.cutting.recorder import boundary_tensors
from frostline.cutting.skeleton import SkeletonStore, Template, replaced, signature, stub

_MISSING = object()


class _Stop(BaseException):
    """Leaves a forward pass; not an Exception, so that a network's own `except Exception` can't swallow it."""


class Split:
    """`prefix(*inputs)` gives the activation at the cut, `suffix(activation, *inputs)` the network's output from it.

    Both take the network's own arguments, by position or keyword as it was mapped. They work in train and eval mode,
    under autocast and with gradients; the caller sets the mode of each part (a stored activation is valid only if the
    prefix ran in inference mode). Not safe in two threads at once on one module, since the suffix swaps `forward` on
    modules while it runs; activation checkpointing across the cut isn't supported. `skeletons` may be shared by splits
    of networks that are built alike.
    """

    def __init__(
        self,
        model: nn.Module,
        cut: Cut,
        *,
        form: CallForm | None = None,
        skeletons: SkeletonStore | None = None,
        poison: float | None = None,
    ) -> None:
        self.model = model
        self.cut = cut
        self.form = form  # how the network is called; without it only the prefix can be run
        self.skeletons = skeletons if skeletons is not None else SkeletonStore()
        self.poison = poison  # fills all that is left out, so that any leak shows

    def prefix(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Return the activation at the cut. Raises ModelError if the run doesn't reach it."""
        return run_to(self.model, [self.cut], Call.of(inputs, keywords))[0]

    def suffix(self, activation: Tensor, *inputs: Any, **keywords: Any) -> Any:
        """Return the network's output, computed from the activation and the raw inputs that `cut.needs` names.

        Give the network's own arguments; raw inputs that aren't needed may hold anything of the right shape. If all
        are left out (allowed where none is needed), placeholders stand in. Raises ModelError if needed inputs are
        left out, or for arguments other than those that the network was mapped with.
        """
        if not inputs and not keywords:
            return self.rest(activation, self._stand_ins(activation), hollow=True)
        call = Call.of(inputs, keywords)
        if self.form is not None and call.names != self.form.names:
            raise ModelError(
                f"The network was mapped with {', '.join(self.form.names)}, but the suffix is called with "
                f"{', '.join(call.names)}.",
                "Call it with the same arguments, each by position or keyword as before.",
            )
        return self.rest(activation, call)

    def rest(self, activation: Tensor, call: Call, *, hollow: bool = False) -> Any:
        """Run the suffix for a whole call; `hollow`: none of the call's values are real."""
        key = signature(call)
        if hollow and key not in self.skeletons:  # placeholders hold no values that a run could rely on
            zeros = call.with_tensors([torch.zeros_like(x) for x in call.tensors])
            self.skeletons.trace(self.model, zeros, key)
        stubs = self.skeletons.stubs(self.model, self.cut, call, key)
        target = self.model.get_submodule(self.cut.module)
        value = _as_in_network(activation, self.cut)
        patches = [(self.model.get_submodule(name), stub(results, self.poison)) for name, results in stubs.items()]
        with exact(), contextlib.ExitStack() as stack:
            if self.cut.module in self.cut.real:  # its other results are needed, such as a bias of positions
                stack.enter_context(_swapped_result(target, self.cut.pick, value))
            elif self.cut.where == "out":
                result = self.skeletons.result(self.cut, key)
                patches.append((target, _constant(result, self.cut.pick, value, self.poison)))
            else:
                stack.enter_context(_swapped_argument(target, self.cut.pick, value))
            stack.enter_context(_patched(patches))
            return call.run(self.model)

    def _stand_ins(self, activation: Tensor) -> Call:
        """Return inputs of the right shape for the activation's number of samples."""
        if self.form is None:
            raise ModelError("This network was only cut for its prefix.", "Map it with frostline.split.")
        if self.cut.needs:
            names = " and ".join(self.form.names[i] for i in self.cut.needs)
            raise ModelError(
                f"The part of the network after {self.cut.module} reads {names} as well.",
                "Call suffix(activation, *inputs) with the raw inputs.",
            )
        samples = activation.shape[0] * self.cut.batch // self.cut.shape[0]
        return self.form.stand_in(samples, activation.device)


def _as_in_network(activation: Tensor, cut: Cut) -> Tensor:
    """Return the activation with its axes, and (kernels are chosen by strides) its memory, as the network has them."""
    if cut.mutated:
        activation = activation.clone()
    if not cut.batch_axis:
        return activation
    transposed = activation.transpose(0, cut.batch_axis)
    if cut.layout == "contiguous":
        return transposed
    return transposed.contiguous()


def taps(model: nn.Module, cuts: Sequence[Cut], *inputs: Any, **keywords: Any) -> list[Tensor]:
    """Return the activation at each of several cuts from one forward pass, which stops at the deepest.

    Each equals, bit for bit, the result of the cut's own prefix. Raises ModelError if the run doesn't reach one of
    them.
    """
    return run_to(model, cuts, Call.of(inputs, keywords))


def run_to(model: nn.Module, cuts: Sequence[Cut], call: Call) -> list[Tensor]:
    """Do the work of :func:`taps` for a whole call."""
    if not cuts:
        return []
    activations: dict[int, Tensor] = {}

    def grab(position: int, value: Any) -> None:
        cut = cuts[position]
        tensor = boundary_tensors(value)[cut.pick]
        last = len(activations) == len(cuts) - 1
        if cut.mutated and not last:
            tensor = tensor.clone()
        activations[position] = tensor
        if len(activations) == len(cuts):
            raise _Stop

    with contextlib.ExitStack() as stack:
        stack.enter_context(exact())
        for position, cut in enumerate(cuts):
            stack.enter_context(_hooked(model.get_submodule(cut.module), cut, position, grab))
        with contextlib.suppress(_Stop):
            call.run(model)
    for position, cut in enumerate(cuts):
        if position not in activations:
            raise ModelError(
                f"The network's run didn't reach the cut {cut.name}.", "Make the stage map again for this network."
            )
    return [activations[i].transpose(0, cut.batch_axis) for i, cut in enumerate(cuts)]


@contextlib.contextmanager
def _hooked(target: nn.Module, cut: Cut, position: int, grab: Callable[[int, Any], None]) -> Iterator[None]:
    """Hand what passes the cut's boundary to `grab`."""

    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
        grab(position, (args, kwargs))

    def after(_module: nn.Module, _args: Any, result: Any) -> None:
        grab(position, result)

    if cut.where == "in":
        handle = target.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
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

    handle = target.register_forward_pre_hook(swap, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _swapped_result(target: nn.Module, pick: int, value: Tensor) -> Iterator[None]:
    handle = target.register_forward_hook(lambda _m, _a, result: replaced(result, pick, value), prepend=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _patched(patches: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Replace each module's forward for the while; an instance's own forward, if it has one, comes back."""
    before = [(module.__dict__, module.__dict__.get("forward", _MISSING)) for module, _ in patches]
    try:
        for module, forward in patches:
            module.__dict__["forward"] = forward
        yield
    finally:
        for attributes, forward in before:
            if forward is _MISSING:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = forward


def _constant(result: Template, pick: int, value: Tensor, poison: float | None) -> Callable[..., Any]:
    """Return a forward that does nothing and returns the activation in its place."""
    output = result.filled_with(pick, value, poison)
    return lambda *_args, **_kwargs: output
