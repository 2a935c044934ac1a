"""Proof that a cut is exact: with NaN in all that is left out, the two parts must equal the whole bit for bit."""

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
from frostline.cutting.guard import (
    BufferCopies,
    copy_buffers,
    device_of,
    exact,
    forked_seed,
    may_have_gradients,
    restore,
    untouched,
)
from frostline.cutting.inputs import Call, as_call
from frostline.cutting.outputs import logits, tensors_of
from frostline.cutting.skeleton import ALTERNATING, SkeletonStore, ancestors, fill_values
from frostline.cutting.split import Split, run_to

SAMPLES_INFERENCE = 3  # another batch size than the recorded one
# Training never takes a batch of one, and on two threads the gradient of a 1 x 1 convolution isn't repeatable with it.
SAMPLES_TRAINING = 2
STEP_SEED = 1
# Placeholders for values that are left out. Where Python code before the cut read values, numbers of both signs too,
# small and large, alike and unlike: a comparison with NaN is always false, so it can't show which way the code goes.
FILLS = (float("nan"), 1e4, -1e4, 0.0, ALTERNATING)
SPARE_OPERATIONS = 20_000  # that a suffix with placeholders may do beyond ten times those before the cut
CHANGEABLE = (
    "the network gives different outputs when it runs again on the same samples (it draws at random in inference mode, "
    "or keeps something from one run to the next)"
)
UNSEEDED = (
    "in training mode, the network gives different outputs when it runs again on the same samples with the same seed"
)
NOT_BY_SAMPLE = "the first axis of its output doesn't grow with the number of samples"
UNEQUAL = "prefix and suffix don't give the whole network's output"
UNEQUAL_IN_TRAINING = "in training mode, prefix and suffix don't give the whole network's output"
LOOKED = ", because Python code before the cut looks at values"


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of proving some cuts, by the stages that they follow."""

    failed: Mapping[int, str]  # those that aren't exact, each with the reason
    stays_in_inference: frozenset[int]  # exact in training only while the modules around the cut are in inference mode


def verify_cuts(
    model: nn.Module,
    cuts: Mapping[int, Cut],
    inputs: Call | Sequence[Tensor],
    *,
    skeletons: SkeletonStore | None = None,
) -> Verified:
    """Prove cuts, bit for bit.

    In inference mode, on another batch size: outputs equal. With the suffix in training mode (prefix in inference
    mode), same seed: outputs, gradients of parameters that are read after the cut only, and buffers equal. All modules
    left out and all raw inputs that aren't needed are filled with NaN. Before the suffix runs, the network has run on
    other samples, so that nothing that a module remembers of these ones can help. The module is left as it was.
    """
    if not cuts:
        return Verified({}, frozenset())
    call = as_call(inputs)
    store = SkeletonStore() if skeletons is None else skeletons
    with untouched(model), exact():
        model.eval()
        failed = _failures_in_inference(model, cuts, call, store)
        exact_cuts = {stage: cut for stage, cut in cuts.items() if stage not in failed}
        training_call = _varied(call, SAMPLES_TRAINING)
        training = _verify_in_training(model, exact_cuts, training_call, store)
    return Verified(failed | dict(training.failed), training.stays_in_inference)


def _varied(call: Call, samples: int, *, other: bool = False) -> Call:
    """Return the example with its samples repeated to a number, floating-point ones scaled so that no two are alike.

    `other`: in another order and with another scale. Tensors without one entry per sample stay as they are.
    """
    return call.with_tensors([_varied_input(x, call.batch, samples, other) for x in call.tensors])


def _varied_input(tensor: Tensor, batch: int, samples: int, other: bool) -> Tensor:
    if tensor.ndim == 0 or tensor.shape[0] != batch:
        return tensor
    varied = tensor.detach()[(torch.arange(samples, device=tensor.device) + other) % batch]
    if varied.is_floating_point():
        low, high = (0.7, 1.3) if other else (1.4, 0.6)
        scale = torch.linspace(low, high, samples, dtype=varied.dtype, device=varied.device)
        varied = varied * scale.view(-1, *[1] * (varied.ndim - 1))
    return varied.contiguous()


def _poisoned(call: Call, needs: Sequence[int], fill: float) -> Call:
    """Return the call with one value in all raw inputs that the suffix doesn't need."""
    tensors = list(call.tensors)
    for i, tensor in enumerate(tensors):
        if i not in needs:
            tensors[i] = fill_values(torch.empty_like(tensor), fill)
    return call.with_tensors(tensors)


def _run_suffix(
    model: nn.Module, cut: Cut, activation: Tensor, call: Call, store: SkeletonStore, fill: float = FILLS[0]
) -> Any:
    split = Split(model, cut, skeletons=store, poison=fill)
    poisoned = _poisoned(call, cut.needs, fill)
    if not cut.decided:
        return split.rest(activation, poisoned)
    with _Bounded(SPARE_OPERATIONS + 10 * cut.clock):  # a loop that runs until a value is reached may never reach it
        return split.rest(activation, poisoned)


class _Bounded(TorchFunctionMode):
    """Raises RuntimeError after a number of operations."""

    def __init__(self, operations: int) -> None:
        super().__init__()
        self.remaining = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.remaining -= 1
        if self.remaining < 0:
            raise RuntimeError("a loop in Python code before the cut doesn't end without the values there")
        return func(*args, **(kwargs or {}))


def _failures_in_inference(
    model: nn.Module, cuts: Mapping[int, Cut], call: Call, store: SkeletonStore
) -> dict[int, str]:
    """Return the reasons of those cuts that aren't exact in inference mode."""
    these = _varied(call, SAMPLES_INFERENCE)
    others = _varied(call, SAMPLES_INFERENCE, other=True)
    failed: dict[int, str] = {}
    with torch.no_grad():
        try:
            whole = these.run(model)
            activations = dict(zip(cuts, run_to(model, list(cuts.values()), these), strict=True))
        except Exception as error:
            reason = f"the network doesn't run on {SAMPLES_INFERENCE} samples ({_error_text(error)})"
            return dict.fromkeys(cuts, reason)
        store.learn(model, others)
        for stage, cut in cuts.items():
            difference = _inference_difference(model, cut, activations[stage], these, whole, store)
            if difference:
                failed[stage] = difference
        if failed and not _same_tensors(whole, these.run(model)):
            return dict.fromkeys(cuts, CHANGEABLE)
    return failed


def _inference_difference(
    model: nn.Module, cut: Cut, activation: Tensor, call: Call, whole: Any, store: SkeletonStore
) -> str | None:
    """Return the reason why the suffix doesn't give the output `whole` in inference mode, None where it does."""
    if activation.shape[0] * cut.batch != cut.shape[0] * SAMPLES_INFERENCE:
        return NOT_BY_SAMPLE
    unequal = UNEQUAL + LOOKED if cut.decided else UNEQUAL
    for fill in FILLS if cut.decided else FILLS[:1]:
        try:
            equal = _same_tensors(whole, _run_suffix(model, cut, activation, call, store, fill))
        except Exception as error:
            return f"the suffix doesn't run by itself ({_error_text(error)})"
        if not equal:
            return unequal
    return None


def _error_text(error: Exception) -> str:
    """Return the kind of an error and the beginning of its message."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line[:120]}"


def _verify_in_training(model: nn.Module, cuts: Mapping[int, Cut], call: Call, store: SkeletonStore) -> Verified:
    """Prove cuts with the suffix in training mode."""
    failed: dict[int, str] = {}
    stays: set[int] = set()
    if not cuts:
        return Verified(failed, frozenset())
    with torch.no_grad(), may_have_gradients(model):
        trace = store.trace(model, call)
        activations = dict(zip(cuts, run_to(model, list(cuts.values()), call), strict=True))
    for stage, cut in cuts.items():
        around = {"", *ancestors(cut.module)}
        later = set(trace.entered) - trace.begun(cut)
        reason = _training_difference(model, cut, activations[stage], call, store, later | {""})
        if not reason:
            continue
        # A container around the cut may draw at random before it, by its own training flag.
        if _training_difference(model, cut, activations[stage], call, store, later - around) is None:
            stays.add(stage)
        else:
            failed[stage] = reason
    return Verified(failed, frozenset(stays))


def _training_difference(
    model: nn.Module, cut: Cut, activation: Tensor, call: Call, store: SkeletonStore, training: set[str]
) -> str | None:
    """Return how a step of the two parts differs from one of the whole network, None where it doesn't.

    The modules named in `training` are in training mode.
    """
    buffers = copy_buffers(model)
    with _suffix_trains(model, cut, training):
        try:
            whole = _step(model, lambda: whole_run(model, cut, call), buffers)
        except Exception as error:
            return f"the network doesn't run in training mode ({_error_text(error)})"
        try:
            parts = _step(model, lambda: _run_suffix(model, cut, activation, call, store), buffers)
        except Exception as error:
            return f"in training mode, the suffix doesn't run by itself ({_error_text(error)})"
        reason = _step_difference(whole, parts)
        if reason and _step_difference(whole, _step(model, lambda: whole_run(model, cut, call), buffers)):
            return UNSEEDED
    return reason


@dataclass(frozen=True, slots=True)
class StepResult:
    """All that one training step gives."""

    outputs: list[Tensor]
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]


def _step(model: nn.Module, forward: Callable[[], Any], buffers: BufferCopies) -> StepResult:
    """Run one forward and backward pass under a fixed seed; put the model's buffers back to `buffers`."""
    try:
        model.zero_grad(set_to_none=True)
        with forked_seed(STEP_SEED, device_of(model)), torch.enable_grad():
            outputs = _trained_scores(forward())
            losses = ((y.float() ** 2).sum() + y.float().sum() for y in outputs if y.requires_grad)
            loss = sum(losses, torch.zeros(()))
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        model.zero_grad(set_to_none=True)
        values = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        return StepResult([y.detach() for y in outputs], gradients, values)
    finally:
        restore(buffers)


def _trained_scores(output: Any) -> list[Tensor]:
    """Return the outputs that training uses: the class scores, or all where they can't be told from auxiliary ones."""
    try:
        return [logits(output)]
    except ModelError:
        return list(tensors_of(output))


def _step_difference(whole: StepResult, parts: StepResult) -> str | None:
    if not _same_tensors(whole.outputs, parts.outputs):
        return UNEQUAL_IN_TRAINING
    for name, gradient in whole.gradients.items():
        if not _same_gradient(gradient, parts.gradients[name]):
            return f"in training mode, the gradient of {name} differs"
    for name, value in whole.buffers.items():
        if not torch.equal(value, parts.buffers[name]):
            return f"in training mode, the buffer {name} differs"
    return None


def _same_gradient(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _same_tensors(first: Any, second: Any) -> bool:
    """True where two outputs hold the same number of tensors, equal bit for bit."""
    pair = list(tensors_of(first)), list(tensors_of(second))
    return len(pair[0]) == len(pair[1]) and all(torch.equal(x, y) for x, y in zip(*pair, strict=True))


@contextmanager
def _suffix_trains(model: nn.Module, cut: Cut, training: set[str]) -> Iterator[None]:
    """Put modules of these names in training mode, all others in inference mode; freeze the prefix's parameters."""
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
    """Keeps no gradients of operations, while the network's own code finds them switched on: a `no_grad` of its own,
    entered before the cut and left after it, then ends as it does in training."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._set_grad_enabled:
            return func(*args, **(kwargs or {}))
        with torch.no_grad():
            return func(*args, **(kwargs or {}))


def whole_run(model: nn.Module, cut: Cut, call: Call) -> Any:
    """Run the whole network, keeping gradients from the cut on only, and return its output.

    Attention uses other kernels, which round differently, where gradients may have to go back through it. Through a
    frozen prefix they never have to.
    """
    target = model.get_submodule(cut.module)
    marks = contextlib.ExitStack()

    def begin(*_: Any) -> None:
        marks.close()

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
