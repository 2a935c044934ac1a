"""Tried before anything is trained: values that are no numbers, answers that depend on the batch or on chance, and
outputs that differ between training and inference.

Each fault is refused in one sentence that names the layer; a sound network costs two runs, on one and on two samples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from frostline.base.errors import ModelError
from frostline.cutting.guard import exact, forked_seed, untouched
from frostline.cutting.inputs import Call
from frostline.cutting.outputs import tensors_of
from frostline.cutting.recorder import Recording
from frostline.cutting.refuse import scripted
from frostline.models.kinds import is_batchnorm

STATISTICS = ("running_mean", "running_var")
TOGETHER = (0, 1)
ELSEWHERE = (1, 1, 0)  # the first sample again, at another place, in a batch of another size with other samples
TOLERANCE = 1e-4  # of the largest value; batches of other sizes round differently
TOLERANCE_FP64 = 1e-5  # some networks compute in fp32 whatever they are given
TOLERANCE_FP32_ALONE = 1e-3  # of networks that can't be run in fp64
FEW_VALUES = "more than 1 value per channel"  # what BatchNorm says of an input that is too small to train on
NAMED = 3  # layers, in a message


def check_values(spec: str, module: nn.Module) -> None:
    """Raise ModelError for a parameter with NaN or infinity, a buffer with NaN, or running statistics with infinity.

    Other buffers may hold infinities, as attention masks do.
    """
    found = [name for name, parameter in module.named_parameters() if not _all_finite(parameter)]
    for name, buffer in module.named_buffers():
        if _all_finite(buffer):
            continue
        if name.rpartition(".")[2] in STATISTICS or bool(buffer.isnan().any()):
            found.append(name)
    if not found:
        return
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    first = tensors[found[0]]
    kind = "NaN" if bool(first.isnan().any()) else "infinity"
    wrong = first.numel() - int(first.isfinite().sum())
    more = f", and {len(found) - 1} other tensors hold such values" if len(found) > 1 else ""
    raise ModelError(
        f"The weights of {spec} hold {kind} in {found[0]} ({wrong} of {first.numel()} values){more}.",
        "Take weights from before that training diverged, or repair the file.",
    )


def _all_finite(tensor: Tensor) -> bool:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer) or tensor.is_meta:
        return True
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # one pass: NaN and infinity never leave a sum; only a sum that overflows needs a second look
    if bool(tensor.detach().sum().isfinite()):
        return True
    return bool(tensor.detach().isfinite().all())


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a run gave: the tensors that enter the last layer with weights, and those that the network returns."""

    tensors: tuple[Tensor, ...]
    rows: int

    def row(self, row: int) -> list[Tensor]:
        """Return one sample's part of each tensor that has a row for every sample."""
        return [x[row] for x in self.tensors if x.ndim and x.shape[0] == self.rows]


def check_answers(spec: str, module: nn.Module, call: Call, end: str, recording: Recording | None) -> None:
    """Raise ModelError where the answer for a sample depends on the others in its batch, or on chance, in inference.

    `call` has two samples, and `recording` is a run of this very module on it (None: there is none). `end` is the path
    of the last layer with weights, whose inputs are compared too: a head of zeros answers alike whatever it reads.
    """
    with untouched(module), exact(), torch.no_grad():
        module.eval()
        if recording is not None and _same_alone(spec, module, call, end, recording):
            return
        together = _rows(call, TOGETHER)
        elsewhere = _among_others(call)
        first = _run_seeing(spec, module, together, end, seed=0)
        other = _run_seeing(spec, module, elsewhere, end, seed=1)
        if _alike(first.row(0), other.row(ELSEWHERE.index(0)), TOLERANCE):
            return
        again = _run_seeing(spec, module, together, end, seed=1)
        if not _alike(first.row(0), again.row(0), TOLERANCE):
            raise _changing(spec, _first_difference(module, together, together))
        if _depends_in_fp64(spec, module, call, end, (first, other)):
            raise _depending(spec, module, _first_difference(module, together, elsewhere))


def _same_alone(spec: str, module: nn.Module, call: Call, end: str, recording: Recording) -> bool:
    """Return True where the second sample alone gives what it gave in the recorded run beside the first.

    False may also mean that the code can't take a batch of one, which is no fault: nothing here ever gives it one.
    """
    entering = [recording.tensors[key].tensor for key in recording.first("in", end).tensors]
    together = _Seen((*entering, *tensors_of(recording.output)), call.batch)
    try:
        alone = _run_seeing(spec, module, _rows(call, (1,)), end, seed=1)
    except ModelError:
        return False
    return _alike(together.row(1), alone.row(0), TOLERANCE)


def _among_others(call: Call) -> Call:
    """Return the call on :data:`ELSEWHERE`, the other images in other contrasts: companions that weigh."""
    tensors = []
    for tensor in _rows(call, ELSEWHERE).tensors:
        if tensor.is_floating_point():
            tensor[0] = tensor[0] * 3 + 1
            tensor[1] = tensor[1] * 0.1 - 1
        tensors.append(tensor)
    return call.with_tensors(tensors)


def _rows(call: Call, rows: Sequence[int]) -> Call:
    return call.with_tensors([tensor[list(rows)] for tensor in call.tensors])


def _run_seeing(spec: str, module: nn.Module, call: Call, end: str, *, seed: int) -> _Seen:
    entering: list[Tensor] = []

    def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entering.extend(tensors_of([args, kwargs]))

    handle = module.get_submodule(end).register_forward_pre_hook(enter, with_kwargs=True)
    try:
        with forked_seed(seed):
            output = call.with_tensors([x.clone() for x in call.tensors]).run(module)
    except Exception as error:  # whatever the network's code raises
        raise ModelError(
            f"{spec} can't read {call.batch} samples at once ({_first_line(error)}).",
            "Let its code take a batch of any size.",
        ) from error
    finally:
        handle.remove()
    return _Seen((*entering, *tensors_of(output)), call.batch)


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _alike(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float) -> bool:
    return len(ours) == len(theirs) and all(_nearly_equal(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))


def _nearly_equal(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return True  # indices may tip over where two values are nearly equal
    a = a.double()
    b = b.double()
    size = float(torch.maximum(a.abs(), b.abs()).nan_to_num(0.0, 0.0, 0.0).max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=tolerance * size, equal_nan=True)


def _depends_in_fp64(spec: str, module: nn.Module, call: Call, end: str, seen: tuple[_Seen, _Seen]) -> bool:
    """Return True where the answers differ in fp64 too, so that it isn't rounding."""
    try:
        exactly = copy.deepcopy(module).double()
        wide = call.with_tensors([x.double() if x.is_floating_point() else x for x in call.tensors])
        first = _run_seeing(spec, exactly, _rows(wide, TOGETHER), end, seed=0)
        other = _run_seeing(spec, exactly, _among_others(wide), end, seed=1)
    except Exception:  # code that names fp32, or can't be copied
        first, other = seen
        return not _alike(first.row(0), other.row(ELSEWHERE.index(0)), TOLERANCE_FP32_ALONE)
    return not _alike(first.row(0), other.row(ELSEWHERE.index(0)), TOLERANCE_FP64)


@dataclass(frozen=True, slots=True)
class _Left:
    """A module that was left: the tensors that it was given, and those that it returned."""

    name: str
    entering: tuple[Tensor, ...]
    result: tuple[Tensor, ...]


def _first_difference(module: nn.Module, together: Call, elsewhere: Call) -> str:
    """Say where the first sample's values begin to differ between the two runs: in a module, or in code before it."""
    place = elsewhere.batch - 1 if elsewhere.batch != together.batch else 0

    def differ(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
        row = _Seen(ours, together.batch).row(0)
        return not _alike(row, _Seen(theirs, elsewhere.batch).row(place), TOLERANCE)

    for ours, theirs in zip(_watched(module, together, 0), _watched(module, elsewhere, 1), strict=False):
        if not differ(ours.result, theirs.result):
            continue
        if not ours.name:
            return "its own forward"
        if differ(ours.entering, theirs.entering):
            return f"the code that runs before {ours.name}"
        return f"{ours.name} ({type(module.get_submodule(ours.name)).__name__})"
    return "its own forward"


def _watched(module: nn.Module, call: Call, seed: int) -> list[_Left]:
    results: list[_Left] = []

    def keep(name: str, args: Any, result: Any) -> None:
        entering, leaving = (tuple(x.clone() for x in tensors_of(value)) for value in (args, result))
        results.append(_Left(name, entering, leaving))  # copies, since code may write into them later

    with _hooks(module, keep), forked_seed(seed):
        call.with_tensors([x.clone() for x in call.tensors]).run(module)
    return results


@contextmanager
def _hooks(module: nn.Module, keep: Callable[[str, Any, Any], None]) -> Iterator[None]:
    handles = [
        part.register_forward_hook(lambda _module, args, result, name=name: keep(name, args, result))
        for name, part in module.named_modules()
        if not scripted(part)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _depending(spec: str, module: nn.Module, place: str) -> ModelError:
    without = [n for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is None]
    if without:
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        what = f"its BatchNorm keeps no statistics in {', '.join(without[:NAMED])}{more}"
        hint = "Build it with track_running_stats=True, or with GroupNorm or LayerNorm instead."
    else:
        what = f"{place} mixes them"
        hint = _mixing_hint(place)
    return ModelError(f"The answer of {spec} for a sample depends on the others in its batch: {what}.", hint)


def _mixing_hint(place: str) -> str:
    if "BatchNorm" in place:
        return "Leave it in inference mode: its code puts it into training mode, so that it reads the batch."
    if "Attention" in place or "Transformer" in place:
        return "Give it batch_first=True, or the tokens as (L, N, D): it takes the batch for the sequence."
    return "Compute each answer from its own sample, such as means over axes other than the first."


def _changing(spec: str, place: str) -> ModelError:
    return ModelError(
        f"{spec} gives another answer each time for the same sample, in inference too: {place} draws random numbers.",
        "Use nn.Dropout, or F.dropout(x, training=self.training), which are off in inference.",
    )


def check_training(spec: str, module: nn.Module, call: Call, inference: Sequence[Tensor]) -> None:
    """Raise ModelError where the network returns other tensors in training than in inference, or doesn't run in it.

    `inference` is what it returns of `call` in inference. BatchNorm stays in inference mode, as in the default policy.
    Nothing of the module is changed.
    """
    expected = [tuple(x.shape) for x in inference]
    with untouched(module), exact(), torch.no_grad():
        module.train()
        for part in module.modules():
            if is_batchnorm(part):
                part.eval()
        try:
            training = _returned(module, call)
        except Exception as error:  # whatever the network's code raises
            if FEW_VALUES in str(error):
                return
            raise ModelError(
                f"{spec} runs in inference but not in training ({_first_line(error)}).",
                "Let its forward take the images (or the tokens) alone in training, too.",
            ) from error
    if training != expected:
        raise ModelError(
            f"{spec} returns {_shapes_in_words(training)} in training, but {_shapes_in_words(expected)} in inference.",
            "Let it return its class scores alone in both, for example without its auxiliary heads.",
        )


def _returned(module: nn.Module, call: Call) -> list[tuple[int, ...]]:
    """Run the network; return the shapes of its outputs."""
    with forked_seed(0):
        output = call.with_tensors([x.clone() for x in call.tensors]).run(module)
    return [tuple(x.shape) for x in tensors_of(output)]


def _shapes_in_words(shapes: Sequence[tuple[int, ...]]) -> str:
    if not shapes:
        return "no tensor"
    sizes = " and ".join(" x ".join(map(str, ("N", *shape[1:]))) if shape else "a number" for shape in shapes)
    if len(shapes) == 1:
        return f"one tensor ({sizes})"
    return f"{len(shapes)} tensors ({sizes})"
