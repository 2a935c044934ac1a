"""How the functions of torch use their parameters: what each sample's gradient is made of, function by function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from frostline.forecast.projection import Projection
from frostline.forecast.watch import PerSample, Reader, Saved, Uses, Watch, over_positions


def _linear(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
    yield from _bias(watch, given)
    weight = given["weight"]
    name = watch.name_of(weight)
    if name is None:
        return
    projection = watch.projection(name, weight, "matrix")
    saved = Saved(given["input"])
    yield name, lambda g: projection.outer(watch.positions(g), watch.positions(saved.value()))


def _matmul(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
    yield from _bias(watch, given)
    weight = given["weight"]
    name = watch.name_of(weight)
    if name is None or weight.ndim != 2:
        return
    projection = watch.projection(name, weight, "matrix")
    saved = Saved(given["input"])
    yield name, lambda g: projection.outer(watch.positions(saved.value()), watch.positions(g))


def _bias(watch: Watch, given: Mapping[str, Any]) -> Uses:
    name = watch.name_of(given.get("bias"))
    if name is not None:
        projection = watch.projection(name, given["bias"])
        yield name, lambda g: projection.flat(over_positions(watch.positions(g)))


def _convolution(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
    weight = given["weight"]
    bias_name = watch.name_of(given.get("bias"))
    if bias_name is not None:
        shift = watch.projection(bias_name, given["bias"])
        yield bias_name, lambda g: shift.flat(over_positions(_channels_last(watch, g)))
    name = watch.name_of(weight)
    if name is None:
        return
    saved = Saved(given["input"])
    projection = watch.projection(name, weight, "matrix", given.get("groups", 1))
    if projection.filters is None:
        yield name, lambda g: projection.outer(_channels_last(watch, g), _patches(watch, saved.value(), given))
        return
    sides = projection.filters.unbind(2)
    read = [_channels_last(watch, _convolved(side, given)) for side in sides]
    yield name, lambda g: projection.flat(_grouped(_channels_last(watch, g), read))


def _patches(watch: Watch, values: Tensor, given: Mapping[str, Any]) -> Tensor:
    """(B, T, columns): what each position of the output reads, in the order of the weight's axes."""
    weight = given["weight"]
    kernel = weight.shape[2:]
    stride = _each(given.get("stride", 1), kernel)
    dilation = _each(given.get("dilation", 1), kernel)
    padded = F.pad(values, _padding(given.get("padding", 0), kernel, dilation))
    if all(size == 1 for size in kernel):
        steps = tuple(slice(None, None, step) for step in stride)
        return _channels_last(watch, padded[(slice(None), slice(None), *steps)])
    windows = padded
    for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        windows = windows.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    # (B, channels, positions ..., kernel ...) -> (B, positions ..., channels, kernel ...)
    moved = windows.movedim(1, 1 + len(kernel))
    return watch.positions(moved.reshape(len(values), -1, weight.numel() // weight.shape[0]))


def _each(value: Any, kernel: Sequence[int]) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * len(kernel)
    if len(value) == 1:
        return tuple(value) * len(kernel)
    return tuple(value)


def _padding(value: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the padding as `torch.nn.functional.pad` takes it, last axis first."""
    if value == "same":
        totals = [apart * (size - 1) for apart, size in zip(dilation, kernel, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    elif value == "valid":
        sides = [(0, 0)] * len(kernel)
    else:
        sides = [(amount, amount) for amount in _each(value, kernel)]
    return [amount for side in reversed(sides) for amount in side]


def _convolved(filters: Tensor, given: Mapping[str, Any]) -> Tensor:
    """(B, n, ...): the patches that a convolution reads, times each of `filters` (n, columns)."""
    weight = given["weight"]
    values = given["input"].detach()
    shaped = filters.reshape(-1, *weight.shape[1:]).to(values.dtype)
    if shaped.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        shaped = shaped.contiguous(memory_format=torch.channels_last)
    how = {key: given[key] for key in ("stride", "padding", "dilation", "groups") if key in given}
    return _CONVOLUTIONS[weight.ndim](values, shaped, None, **how)


_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def _channels_last(watch: Watch, values: Tensor) -> Tensor:
    """(B, T, C) from (B, C, ...)."""
    if values.ndim == 2:
        return watch.positions(values)
    moved = values.movedim(1, -1).flatten(1, -2)
    if len(moved) != watch.batch:
        return watch.positions(moved)
    return moved


def _grouped(gradient: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """(B, out * sides): products of each group's outputs (B, T, out) with each of its projected patches (B, T, groups),
    summed over positions."""
    groups = sides[0].shape[2]
    if gradient.shape[2] == groups:  # depthwise
        return torch.stack([over_positions(gradient * side) for side in sides], 2).flatten(1)
    own = gradient.reshape(*gradient.shape[:2], groups, -1)
    return torch.einsum("btgo,btgs->bgos", own, torch.stack(list(sides), 3).to(own.dtype)).float().flatten(1)


def _embedding(watch: Watch, given: Mapping[str, Any], output: Tensor) -> Uses:
    weight = given["weight"]
    name = watch.name_of(weight)
    if name is None:
        return
    projection = watch.projection(name, weight, "rows")
    ids = given["input"].expand(output.shape[:-1])
    padding = given.get("padding_idx")

    def looked_up(g: Tensor) -> Tensor:
        if padding is not None:
            g = g * (ids != padding).unsqueeze(-1)
        return projection.looked_up(watch.positions(ids.unsqueeze(-1)).squeeze(-1), watch.positions(g))

    yield name, looked_up


def _batch_norm(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
    """In inference mode the output is scale * (x - mean) / deviation + shift, so sums of g and of g x are enough."""
    bias_name = watch.name_of(given.get("bias"))
    if bias_name is not None:
        shift = watch.projection(bias_name, given["bias"])
        yield bias_name, lambda g: shift.flat(over_positions(_channels_last(watch, g)))
    name = watch.name_of(given.get("weight"))
    if name is None:
        return
    projection = watch.projection(name, given["weight"])
    saved = Saved(given["input"])
    mean = given["running_mean"]
    deviation = (given["running_var"] + given.get("eps", 1e-5)).sqrt()

    def scale(g: Tensor) -> Tensor:
        weighted = over_positions(_channels_last(watch, g * saved.value()))
        return projection.flat((weighted - mean * over_positions(_channels_last(watch, g))) / deviation)

    yield name, scale


def _norm_reader(func: Any, arguments: str, *, channels_second: bool) -> Reader:
    """Other norms: the scale's gradient is that of the output times what was scaled, which is computed again."""

    def read(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
        axes = len(given.get("normalized_shape", ()))

        def summed(values: Tensor) -> Tensor:
            if channels_second:
                return over_positions(_channels_last(watch, values))
            return over_positions(watch.positions(values.flatten(-axes)))

        bias_name = watch.name_of(given.get("bias"))
        if bias_name is not None:
            shift = watch.projection(bias_name, given["bias"])
            yield bias_name, lambda g: shift.flat(summed(g))
        name = watch.name_of(given.get("weight"))
        if name is not None:
            scale = watch.projection(name, given["weight"])
            plain = {key: value for key, value in given.items() if key not in ("weight", "bias")}
            scaled = func(**{**plain, "input": given["input"].detach()})
            yield name, lambda g: scale.flat(summed(g * scaled))

    return Reader(arguments, read)


def _scaled_or_added(*, factor: bool) -> Any:
    """A parameter that is added to a tensor, or multiplied with it: class tokens, positions, scales of layers."""

    def read(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
        pair = (given["input"], given["other"])
        for parameter, other in (pair, pair[::-1]):
            name = watch.name_of(parameter)
            if name is None:
                continue
            projection = watch.projection(name, parameter)
            saved = None
            if factor:
                saved = Saved(other)
            yield name, _broadcast_gradient(watch, projection, tuple(parameter.shape), saved)

    return read


def _broadcast_gradient(watch: Watch, projection: Projection, shape: tuple[int, ...], saved: Saved | None) -> PerSample:
    def per_sample(gradient: Tensor) -> Tensor:
        if saved is not None:
            gradient = gradient * saved.value()
        if gradient.shape[0] != watch.batch or len(shape) > gradient.ndim:
            raise ValueError(f"its use gives {tuple(gradient.shape)}, which isn't a row per sample")
        if len(shape) == gradient.ndim and shape[0] != 1:
            raise ValueError("it has a row per sample itself")
        aligned = (1,) * (gradient.ndim - len(shape)) + tuple(shape)
        over = [axis for axis in range(1, gradient.ndim) if aligned[axis] == 1]
        summed = gradient.float()
        if over:
            summed = summed.sum(over, keepdim=True)
        return projection.flat(summed.flatten(1))

    return per_sample


def _expanded(watch: Watch, given: Mapping[str, Any], _output: Tensor) -> Uses:
    name = watch.name_of(given["input"])
    if name is not None:
        parameter = given["input"]
        yield name, _broadcast_gradient(watch, watch.projection(name, parameter), tuple(parameter.shape), None)


_ADD = Reader("input other", _scaled_or_added(factor=False))
_MULTIPLY = Reader("input other", _scaled_or_added(factor=True))
_NORM = "input normalized_shape weight bias eps"

READERS: Mapping[Any, Reader] = {
    F.linear: Reader("input weight bias", _linear),
    torch.matmul: Reader("input weight", _matmul),
    Tensor.matmul: Reader("input weight", _matmul),
    Tensor.__matmul__: Reader("input weight", _matmul),
    torch.addmm: Reader("bias input weight", _matmul),
    F.conv1d: Reader("input weight bias stride padding dilation groups", _convolution),
    F.conv2d: Reader("input weight bias stride padding dilation groups", _convolution),
    F.conv3d: Reader("input weight bias stride padding dilation groups", _convolution),
    F.embedding: Reader("input weight padding_idx", _embedding, one_for_all=True),
    F.layer_norm: _norm_reader(F.layer_norm, _NORM, channels_second=False),
    F.rms_norm: _norm_reader(F.rms_norm, "input normalized_shape weight eps", channels_second=False),
    F.group_norm: _norm_reader(F.group_norm, "input num_groups weight bias eps", channels_second=True),
    F.batch_norm: Reader("input running_mean running_var weight bias training momentum eps", _batch_norm),
    Tensor.expand: Reader("input", _expanded),
    **dict.fromkeys((torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__), _ADD),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _MULTIPLY),
}
