"""Proof that a cut is exact: what is left out is filled with NaN, and the two parts must give the whole's very bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut
from frostline.cutting.guard import copy_buffers, device_of, exact, forked_seed, may_have_gradients, restore, untouched
from frostline.cutting.inputs import Call, as_call
from frostline.cutting.outputs import logits, tensors_of
from frostline.cutting.skeleton import ALTERNATING, SkeletonStore, ancestors, filled
from frostline.cutting.split import Split, run_to

ROWS_INFERENCE = 3  # another batch size than the recorded one
# Training never takes a batch of one, and on two threads the gradient of a 1 x 1 convolution isn't repeatable with it.
ROWS_TRAINING = 2
SEED = 1
# What stands in for values that are left out. Where Python code before the cut read values, numbers of both signs too,
# small and large, alike and unlike: a comparison with NaN is always false, so it can't show which way the code goes.
FILLS = (float("nan"), 1e4, -1e4, 0.0, ALTERNATING)
OPERATIONS = 20_000  # what a suffix may do more than ten times the whole network, with values that stand in
CHANGEABLE = (
    "the network gives other outputs when it runs again on the same samples (it draws at random in inference mode, or "
    "keeps something from one run to the next)"
)
UNSEEDED = "in training mode, the network gives other outputs when it runs again on the same samples with the same seed"
UNEQUAL = "prefix and suffix don't give the whole network's output"
LOOKED = ", for Python code before it looks at values"


@dataclass(frozen=True, slots=True)
class Verified:
    """What proving some cuts gave, by the stages they follow."""

    failed: Mapping[int, str]  # those that aren't exact, each with the reason
    quiet: frozenset[int]  # exact in training only while the modules around the cut are in inference mode


def verify_cuts(
    model: nn.Module,
    cuts: Mapping[int, Cut],
    inputs: Call | Sequence[Tensor],
    *,
    skeletons: SkeletonStore | None = None,
) -> Verified:
    """Prove cuts, bit for bit.

    In inference mode, on another batch size: outputs equal. With the suffix in training mode (prefix in inference
    mode), same seed: outputs, gradients of what is read after the cut only, and buffers equal. All modules left out
    and all raw inputs that aren't needed are filled with NaN. Before the suffix runs the network has run on other
    samples, so that nothing that a module remembers of these ones can help. The module is left as it was.
    """
    if skeletons is not None:
        store = skeletons
    else:
        store = SkeletonStore()
    call = as_call(inputs)
    if not cuts:
        return Verified({}, frozenset())
    with untouched(model), exact():
        model.eval()
        failed = _in_inference(model, cuts, call, store)
        left = {k: cut for k, cut in cuts.items() if k not in failed}
        more, quiet = _in_training(model, left, _varied(call, ROWS_TRAINING), store)
        return Verified(failed | more, frozenset(quiet))


def _varied(call: Call, rows: int, *, other: bool = False) -> Call:
    """The example's samples repeated to `rows`, floating-point ones scaled so that no two are alike; `other`: in
    another order and otherwise scaled. What isn't one entry for each sample stays as it is."""
    return call.with_tensors([_varied_input(x, call.batch, rows, other) for x in call.tensors])


def _varied_input(x: Tensor, batch: int, rows: int, other: bool) -> Tensor:
    if x.ndim == 0 or x.shape[0] != batch:
        return x
    y = x.detach()[(torch.arange(rows, device=x.device) + other) % batch]
    if y.is_floating_point():
        if other:
            low = 0.7
            high = 1.3
        else:
            low = 1.4
            high = 0.6
        scale = torch.linspace(low, high, rows, dtype=y.dtype, device=y.device)
        y = y * scale.view(-1, *[1] * (y.ndim - 1))
    return y.contiguous()


def _poisoned(call: Call, needs: Sequence[int], fill: float) -> Call:
    return call.with_tensors(
        [x if i in needs else filled(torch.empty_like(x), fill) for i, x in enumerate(call.tensors)]
    )


def _suffix(
    model: nn.Module, cut: Cut, activation: Tensor, call: Call, store: SkeletonStore, fill: float = FILLS[0]
) -> Any:
    split = Split(model, cut, skeletons=store, poison=fill)
    poisoned = _poisoned(call, cut.needs, fill)
    if not cut.decided:
        return split.rest(activation, poisoned)
    with _Bounded(OPERATIONS + 10 * cut.clock):  # a loop that runs until a value is reached may never reach it
        return split.rest(activation, poisoned)


class _Bounded(TorchFunctionMode):
    """Raises RuntimeError after so many operations."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("a loop in Python code before the cut doesn't end without the values there")
        return func(*args, **(kwargs or {}))


def _in_inference(model: nn.Module, cuts: Mapping[int, Cut], call: Call, store: SkeletonStore) -> dict[int, str]:
    failed: dict[int, str] = {}
    these = _varied(call, ROWS_INFERENCE)
    others = _varied(call, ROWS_INFERENCE, other=True)
    with torch.no_grad():
        try:
            whole = these.run(model)
            activations = dict(zip(cuts, run_to(model, list(cuts.values()), these), strict=True))
        except Exception as error:
            return dict.fromkeys(cuts, f"the network doesn't run on {ROWS_INFERENCE} samples ({_words(error)})")
        store.learn(model, others)
        for k, cut in cuts.items():
            if activations[k].shape[0] * cut.batch != cut.shape[0] * ROWS_INFERENCE:
                failed[k] = "the first axis of its output doesn't grow with the number of samples"
                continue
            for fill in FILLS if cut.decided else FILLS[:1]:
                try:
                    same = _same(whole, _suffix(model, cut, activations[k], these, store, fill))
                except Exception as error:
                    failed[k] = f"the suffix doesn't run by itself ({_words(error)})"
                    break
                if not same:
                    failed[k] = UNEQUAL + (LOOKED if cut.decided else "")
                    break
        if failed and not _same(whole, these.run(model)):
            return dict.fromkeys(cuts, CHANGEABLE)
    return failed


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"


def _in_training(
    model: nn.Module, cuts: Mapping[int, Cut], call: Call, store: SkeletonStore
) -> tuple[dict[int, str], set[int]]:
    failed: dict[int, str] = {}
    quiet: set[int] = set()
    if not cuts:
        return failed, quiet
    with torch.no_grad(), may_have_gradients(model):
        trace = store.trace(model, call)
        activations = dict(zip(cuts, run_to(model, list(cuts.values()), call), strict=True))
    for k, cut in cuts.items():
        later = set(trace.entered) - trace.begun(cut)
        reason = _step_differs(model, cut, activations[k], call, store, later | {""})
        if reason:  # a container around the cut may draw at random before it, by its own training flag
            around = {"", *ancestors(cut.module)}
            if _step_differs(model, cut, activations[k], call, store, later - around) is None:
                quiet.add(k)
            else:
                failed[k] = reason
    return failed, quiet


def _step_differs(
    model: nn.Module, cut: Cut, activation: Tensor, call: Call, store: SkeletonStore, training: set[str]
) -> str | None:
    buffers = copy_buffers(model)
    with _suffix_trains(model, cut, training):
        try:
            whole = _step(model, lambda: whole_run(model, cut, call))
        except Exception as error:
            return f"the network doesn't run in training mode ({_words(error)})"
        finally:
            restore(buffers)
        try:
            parts = _step(model, lambda: _suffix(model, cut, activation, call, store))
        except Exception as error:
            return f"in training mode, the suffix doesn't run by itself ({_words(error)})"
        finally:
            restore(buffers)
        reason = _difference(whole, parts)
        if reason:
            try:
                again = _step(model, lambda: whole_run(model, cut, call))
            finally:
                restore(buffers)
            if _difference(whole, again):
                return UNSEEDED
            return reason
    return None


Step = tuple[list[Tensor], dict[str, Tensor | None], dict[str, Tensor]]


def _step(model: nn.Module, forward: Callable[[], Any]) -> Step:
    """Outputs, gradients and buffers after one forward and backward pass under a fixed seed."""
    model.zero_grad(set_to_none=True)
    with forked_seed(SEED, device_of(model)), torch.enable_grad():
        outputs = _scores(forward())
        loss = sum(((y.float() ** 2).sum() + y.float().sum() for y in outputs if y.requires_grad), torch.zeros(()))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    values = {name: b.detach().clone() for name, b in model.named_buffers()}
    return [y.detach() for y in outputs], gradients, values


def _scores(output: Any) -> list[Tensor]:
    """What training looks at: the class scores where they can be told from auxiliary outputs."""
    try:
        return [logits(output)]
    except ModelError:
        return list(tensors_of(output))


def _difference(whole: Step, parts: Step) -> str | None:
    if not _same(whole[0], parts[0]):
        return "in training mode, prefix and suffix don't give the whole network's output"
    for name, gradient in whole[1].items():
        other = parts[1][name]
        if (gradient is None) != (other is None) or (
            gradient is not None and other is not None and not torch.equal(gradient, other)
        ):
            return f"in training mode, the gradient of {name} differs"
    for name, value in whole[2].items():
        if not torch.equal(value, parts[2][name]):
            return f"in training mode, the buffer {name} differs"
    return None


def _same(a: Any, b: Any) -> bool:
    first = list(tensors_of(a))
    second = list(tensors_of(b))
    return len(first) == len(second) and all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@contextmanager
def _suffix_trains(model: nn.Module, cut: Cut, training: set[str]) -> Iterator[None]:
    """Modules of these names in training mode, all others in inference mode; prefix parameters fixed."""
    before = set(cut.prefix_parameters)
    for name, module in model.named_modules():
        module.training = name in training
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and name not in before)
    try:
        yield
    finally:
        model.eval()


class _NoHistory(TorchFunctionMode):
    """Operations keep no gradients, whereas the network's own code finds them switched on: a `no_grad` of its own,
    entered before the cut and left after it, then ends as it does in training."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._set_grad_enabled:
            return func(*args, **(kwargs or {}))
        with torch.no_grad():
            return func(*args, **(kwargs or {}))


def whole_run(model: nn.Module, cut: Cut, call: Call) -> Any:
    """The whole network's output, gradients being kept from the cut on only: attention chooses other kernels, which
    round otherwise, where it may have to go back. A frozen prefix never has to."""
    target = model.get_submodule(cut.module)

    def begin(*_: Any) -> None:
        marks.close()

    marks = contextlib.ExitStack()
    if cut.where == "in":
        handle = target.register_forward_pre_hook(begin, prepend=True)
    else:
        handle = target.register_forward_hook(begin, prepend=True)
    try:
        with torch.enable_grad(), marks:
            marks.enter_context(may_have_gradients(model))
            marks.enter_context(_NoHistory())
            return call.run(model)
    finally:
        handle.remove()
