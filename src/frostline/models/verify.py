"""Proof that a cut is exact: what is left out is filled with NaN, and the two parts must give the whole's very bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.models.cuts import Cut
from frostline.models.guard import device_of, exact, forked_seed, restore, snapshot, untouched
from frostline.models.heads import logits
from frostline.models.recorder import tensors_of
from frostline.models.skeleton import SkeletonStore
from frostline.models.split import InputSpec, Split, taps

ROWS_INFERENCE = 3  # another batch size than the recorded one
SEED = 1


def verify_cut(
    model: nn.Module, cut: Cut, inputs: Sequence[Tensor], *, skeletons: SkeletonStore | None = None
) -> str | None:
    """Why the two parts aren't the whole, or None where they are: see :func:`verify_cuts`."""
    return verify_cuts(model, {1: cut}, inputs, skeletons=skeletons).get(1)


def verify_cuts(
    model: nn.Module, cuts: Mapping[int, Cut], inputs: Sequence[Tensor], *, skeletons: SkeletonStore | None = None
) -> dict[int, str]:
    """The cuts that aren't exact, each with the reason.

    In inference mode, on another batch size: outputs equal, bit for bit. With the suffix in training mode (prefix in
    inference mode), same seed: outputs, gradients of what is read after the cut only, and buffers equal. All modules
    left out and all raw inputs that aren't needed are filled with NaN. The module is left as it was.
    """
    store = skeletons if skeletons is not None else SkeletonStore()
    if not cuts:
        return {}
    with untouched(model), exact():
        model.eval()
        failed = _in_inference(model, cuts, _varied(inputs, ROWS_INFERENCE), store)
        left = {k: cut for k, cut in cuts.items() if k not in failed}
        return failed | _in_training(model, left, _varied(inputs, _rows_training(model)), store)


def _rows_training(model: nn.Module) -> int:
    """The smallest batch that the network trains on."""
    return 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()) else 1


def _varied(inputs: Sequence[Tensor], rows: int) -> list[Tensor]:
    """The example's samples repeated to `rows`, floating-point ones scaled so that no two are alike."""
    result = []
    for x in inputs:
        if x.ndim == 0:
            result.append(x)
            continue
        y = x.detach()[torch.arange(rows, device=x.device) % x.shape[0]]
        if y.is_floating_point():
            scale = torch.linspace(1.4, 0.6, rows, dtype=y.dtype, device=y.device)
            y = y * scale.view(-1, *[1] * (y.ndim - 1))
        result.append(y.contiguous())
    return result


def _poisoned(inputs: Sequence[Tensor], needs: Sequence[int]) -> list[Tensor]:
    return [
        x if i in needs else torch.full_like(x, float("nan") if x.is_floating_point() else 0)
        for i, x in enumerate(inputs)
    ]


def _split(model: nn.Module, cut: Cut, inputs: Sequence[Tensor], store: SkeletonStore) -> Split:
    specs = [InputSpec.of(x) for x in inputs]
    return Split(model, cut, input_specs=specs, skeletons=store, poison=True)


def _in_inference(
    model: nn.Module, cuts: Mapping[int, Cut], inputs: Sequence[Tensor], store: SkeletonStore
) -> dict[int, str]:
    failed = {}
    with torch.no_grad():
        whole = store.learn(model, inputs)
        activations = dict(zip(cuts, taps(model, list(cuts.values()), *inputs), strict=True))
        for k, cut in cuts.items():
            if activations[k].shape[0] * cut.batch != cut.shape[0] * ROWS_INFERENCE:
                failed[k] = "the first axis of its output doesn't grow with the number of samples"
                continue
            parts = _split(model, cut, inputs, store).suffix(activations[k], *_poisoned(inputs, cut.needs))
            if not _same(whole, parts):
                failed[k] = "prefix and suffix don't give the whole network's output"
    return failed


def _in_training(
    model: nn.Module, cuts: Mapping[int, Cut], inputs: Sequence[Tensor], store: SkeletonStore
) -> dict[int, str]:
    if not cuts:
        return {}
    failed: dict[int, str] = {}
    buffers = snapshot(model)
    with torch.no_grad():
        trace = store.trace(model, inputs)
        activations = dict(zip(cuts, taps(model, list(cuts.values()), *inputs), strict=True))
    for k, cut in cuts.items():
        with _suffix_trains(model, cut, set(trace.entered) - trace.begun(cut)):
            try:
                whole = _step(model, model, inputs)
            except Exception as error:
                failed[k] = f"the network doesn't run in training mode ({error})"
                continue
            finally:
                restore(buffers)
            split = _split(model, cut, inputs, store)
            parts = _step(model, split.suffix, [activations[k], *_poisoned(inputs, cut.needs)])
            restore(buffers)
        reason = _difference(whole, parts)
        if reason:
            failed[k] = reason
    return failed


Step = tuple[list[Tensor], dict[str, Tensor | None], dict[str, Tensor]]


def _step(model: nn.Module, forward: Any, arguments: Sequence[Tensor]) -> Step:
    """Outputs, gradients and buffers after one forward and backward pass under a fixed seed."""
    model.zero_grad(set_to_none=True)
    with forked_seed(SEED, device_of(model)), torch.enable_grad():
        outputs = _scores(forward(*arguments))
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
    first, second = list(tensors_of(a)), list(tensors_of(b))
    return len(first) == len(second) and all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@contextmanager
def _suffix_trains(model: nn.Module, cut: Cut, later: set[str]) -> Iterator[None]:
    """Modules that run after the cut in training mode, all others in inference mode; prefix parameters fixed."""
    before = set(cut.prefix_parameters)
    for name, module in model.named_modules():
        module.training = not name or name in later
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and name not in before)
    try:
        yield
    finally:
        model.eval()
