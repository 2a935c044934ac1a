"""A network cut in two without being rewritten: the prefix is the real forward left at the cut, the suffix the real
forward with finished modules left out and the stored activation put in (DESIGN 4.4).
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

    Both take the arguments that the network itself takes, by position or keyword as it was mapped. Works in train and
    eval mode, under autocast and with gradients; the two parts' modes are the caller's business (a stored activation
    means something only where the prefix ran in inference mode). Not safe in two threads at once on one module, since
    the suffix swaps `forward` on modules while it runs; activation checkpointing across the cut isn't supported.
    `skeletons` may be shared by splits of networks that are built alike.
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
        if skeletons is not None:
            self.skeletons = skeletons
        else:
            self.skeletons = SkeletonStore()
        self.poison = poison  # fill what is left out with this value, to see any leak

    def prefix(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The activation at the cut. Raises ModelError if the run doesn't come by there."""
        return run_to(self.model, [self.cut], Call.of(inputs, keywords))[0]

    def suffix(self, activation: Tensor, *inputs: Any, **keywords: Any) -> Any:
        """The network's output, computed from the activation and from the raw inputs that `cut.needs` names.

        Give the network's own arguments; raw inputs that aren't needed may hold anything of the right shape. Left out
        altogether (allowed where none is needed), hollow ones stand in. Raises ModelError for needed inputs left out,
        or for other arguments than those that the network was mapped with.
        """
        hollow = not (inputs or keywords)
        if hollow:
            given = self._stand_ins(activation)
        else:
            given = Call.of(inputs, keywords)
        if not hollow and self.form is not None and given.names != self.form.names:
            raise ModelError(
                f"The network was mapped with {', '.join(self.form.names)}, but the suffix is called with "
                f"{', '.join(given.names)}.",
                "Call it with the same arguments, by position or by keyword as there.",
            )
        return self.rest(activation, given, hollow=hollow)

    def rest(self, activation: Tensor, given: Call, *, hollow: bool = False) -> Any:
        """The suffix for arguments in one piece; `hollow`: none of their values are real."""
        key = signature(given)
        if hollow and key not in self.skeletons:  # what stands in holds no values that a run could rely on
            zeros = given.with_tensors([torch.zeros_like(x) for x in given.tensors])
            self.skeletons.trace(self.model, zeros, key)
        stubs = self.skeletons.stubs(self.model, self.cut, given, key)
        target = self.model.get_submodule(self.cut.module)
        value = _as_in_network(activation.clone() if self.cut.mutated else activation, self.cut)
        patches = [(self.model.get_submodule(name), stub(results, self.poison)) for name, results in stubs.items()]
        with exact(), contextlib.ExitStack() as stack:
            if self.cut.module in self.cut.real:  # what else it returns is needed, such as a bias of positions
                stack.enter_context(_swapped_result(target, self.cut.pick, value))
            elif self.cut.where == "out":
                result = self.skeletons.result(self.cut, key)
                patches.append((target, _constant(result, self.cut.pick, value, self.poison)))
            else:
                stack.enter_context(_swapped_argument(target, self.cut.pick, value))
            stack.enter_context(_patched(patches))
            return given.run(self.model)

    def _stand_ins(self, activation: Tensor) -> Call:
        """Inputs of the right shape for the activation's number of samples."""
        if self.form is None:
            raise ModelError("This network was only cut for its prefix.", "Map it with frostline.split.")
        if self.cut.needs:
            names = " and ".join(self.form.names[i] for i in self.cut.needs)
            raise ModelError(
                f"The part of the network after {self.cut.module} reads {names} as well.",
                "Call suffix(activation, *inputs) with the raw inputs.",
            )
        rows = activation.shape[0] * self.cut.batch // self.cut.shape[0]
        return self.form.stand_in(rows, activation.device)


def _as_in_network(activation: Tensor, cut: Cut) -> Tensor:
    """With its axes, and (kernels are chosen by strides) its memory, as the network has them."""
    if not cut.batch_axis:
        return activation
    turned = activation.transpose(0, cut.batch_axis)
    if cut.layout == "contiguous":
        return turned
    return turned.contiguous()


def taps(model: nn.Module, cuts: Sequence[Cut], *inputs: Any, **keywords: Any) -> list[Tensor]:
    """The activation at each of several cuts from one forward pass, which stops at the deepest.

    Bitwise what each cut's own prefix gives. Raises ModelError if the run doesn't come by one of them.
    """
    return run_to(model, cuts, Call.of(inputs, keywords))


def run_to(model: nn.Module, cuts: Sequence[Cut], call: Call) -> list[Tensor]:
    """:func:`taps` for arguments in one piece."""
    found: dict[int, Tensor] = {}
    if not cuts:
        return []

    def grab(position: int, value: Any) -> None:
        cut = cuts[position]
        tensor = boundary_tensors(value)[cut.pick]
        last = len(found) == len(cuts) - 1
        if cut.mutated and not last:
            found[position] = tensor.clone()
        else:
            found[position] = tensor
        if len(found) == len(cuts):
            raise _Stop

    with contextlib.ExitStack() as stack:
        stack.enter_context(exact())
        for position, cut in enumerate(cuts):
            stack.enter_context(_hooked(model.get_submodule(cut.module), cut, position, grab))
        with contextlib.suppress(_Stop):
            call.run(model)
    for position, cut in enumerate(cuts):
        if position not in found:
            raise ModelError(
                f"The network's run didn't come by the cut {cut.name}.", "Make the stage map again for this network."
            )
    return [found[i].transpose(0, cut.batch_axis) for i, cut in enumerate(cuts)]


@contextlib.contextmanager
def _hooked(target: nn.Module, cut: Cut, position: int, grab: Callable[[int, Any], None]) -> Iterator[None]:
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
    """Each module's forward replaced for the while; an instance's own forward, if it has one, comes back."""
    before = [(m.__dict__, m.__dict__.get("forward", _MISSING)) for m, _ in patches]
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
    filled = result.filled_with(pick, value, poison)
    return lambda *_args, **_kwargs: filled
