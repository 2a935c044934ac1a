"""Keras layers as torch modules: the same numbers, on (N, C, H, W), as modules that training can tell apart.

Keras keeps images as (N, H, W, C) and every weight, running statistics included, in one flat list of parameters.
Here a convolution is an nn.Conv2d, a Dense an nn.Linear, and moving statistics are buffers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

IntPair = tuple[int, int]


def channels_behind(x: Tensor) -> Tensor:
    """Turn (N, C, H, W) into (N, H, W, C), and leave other ranks as they are; a view."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def channels_before(x: Tensor) -> Tensor:
    """Turn (N, H, W, C) into (N, C, H, W), and leave other ranks as they are; a view."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> IntPair:
    """Return the pixels of padding before and after, as Keras' `padding="same"` has them: an odd one goes after."""
    reach = (kernel - 1) * dilation + 1
    total = reach - 1
    if stride > 1:
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def padded(x: Tensor, pads: Sequence[IntPair], value: float = 0.0) -> tuple[Tensor, IntPair]:
    """Pad unevenly here; return the input and the padding that the operation itself has to do, which pads evenly."""
    (top, bottom), (left, right) = pads
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


class KerasConv2d(nn.Conv2d):
    """Conv2D and DepthwiseConv2D; `same` pads as Keras does, which is uneven where the stride is 2."""

    same: bool = False

    def forward(self, input: Tensor) -> Tensor:
        if not self.same:
            return super().forward(input)
        rows, columns = (
            same_padding(input.shape[2 + i], self.kernel_size[i], self.stride[i], self.dilation[i]) for i in (0, 1)
        )
        x, padding = padded(input, (rows, columns))
        # the positional call that models/depthwise.py knows
        return torch.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class KerasSeparableConv2d(nn.Module):
    """SeparableConv2D: a depthwise convolution, then a pointwise one."""

    def __init__(self, depthwise: KerasConv2d, pointwise: KerasConv2d) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.pointwise = pointwise

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class KerasBatchNorm(_BatchNorm):
    """BatchNormalization on axis 1.

    In training mode the moving variance takes in the batch's variance as it is (over n), where torch corrects it (over
    n - 1). Keras' momentum m is 1 - m here. No counter is kept.
    """

    def __init__(self, features: int, *, eps: float, momentum: float, scale: bool, center: bool) -> None:
        super().__init__(features, eps=eps, momentum=momentum)
        if not scale:
            self.weight = None  # type: ignore[assignment]
        if not center:
            self.bias = None  # type: ignore[assignment]
        self.num_batches_tracked = None

    def forward(self, input: Tensor) -> Tensor:
        mean = self.running_mean
        var = self.running_var
        if not self.training:
            return F.batch_norm(input, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        assert mean is not None
        assert var is not None
        assert self.momentum is not None
        batch_mean = torch.empty_like(mean).zero_()
        batch_var = torch.empty_like(var).zero_()
        # with momentum 1 they become the batch's own
        result = F.batch_norm(input, batch_mean, batch_var, self.weight, self.bias, True, 1.0, self.eps)
        with torch.no_grad():
            count = input.numel() // input.shape[1]
            mean.lerp_(batch_mean, self.momentum)
            var.lerp_(batch_var * ((count - 1) / count), self.momentum)  # autograd keeps batch_var as it is
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load without the counter that torch would add for old files."""
        nn.Module._load_from_state_dict(self, *args, **kwargs)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any rank from 2 on."""


class KerasLayerNorm(nn.LayerNorm):
    """LayerNormalization over the channels, wherever they lie."""

    def forward(self, input: Tensor) -> Tensor:
        return channels_before(super().forward(channels_behind(input)))


class KerasNormalization(nn.Module):
    """Normalization: (x - mean) / max(sqrt(variance), 1e-7), with the values that the layer was adapted to."""

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.variance.sqrt().clamp_min(1e-7)


class Rescaled(nn.Module):
    """Rescaling by one number, or one per channel: x * scale + offset."""

    scale: Tensor
    offset: Tensor

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class ReversedChannels(nn.Module):
    """RGB to BGR."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


class KerasPool2d(nn.Module):
    """MaxPooling2D and AveragePooling2D; padding is never part of a maximum or a mean."""

    def __init__(self, kind: str, kernel: IntPair, stride: IntPair, *, same: bool) -> None:
        super().__init__()
        self.kind = kind
        self.kernel = kernel
        self.stride = stride
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        padding = (0, 0)
        if self.same:
            pads = [same_padding(x.shape[2 + i], self.kernel[i], self.stride[i]) for i in (0, 1)]
            x, padding = padded(x, pads, float("-inf"))
        if self.kind == "max":
            return F.max_pool2d(x, self.kernel, self.stride, padding)
        return F.avg_pool2d(x, self.kernel, self.stride, padding, count_include_pad=False)


class GlobalPool2d(nn.Module):
    """GlobalAveragePooling2D and GlobalMaxPooling2D."""

    def __init__(self, kind: str, *, keep: bool) -> None:
        super().__init__()
        self.kind = kind
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "mean":
            return x.mean((2, 3), keepdim=self.keep)
        return x.amax((2, 3), keepdim=self.keep)


class Flattened(nn.Module):
    """Flatten in Keras' order, channels fastest; a view where the image is a single pixel."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.shape[2:] != (1, 1):
            x = channels_behind(x)
        return x.flatten(1)


class Reshaped(nn.Module):
    """Reshape to a target without the batch axis, in Keras' order."""

    def __init__(self, target: Sequence[int]) -> None:
        super().__init__()
        self.target = tuple(target)

    def forward(self, x: Tensor) -> Tensor:
        return channels_before(channels_behind(x).reshape(x.shape[0], *self.target))


class Padded(nn.Module):
    """ZeroPadding2D; `pads` as torch wants them: left, right, top, bottom."""

    def __init__(self, pads: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads)


class Merged(nn.Module):
    """Add, Multiply and Concatenate of several inputs of one rank, along axis 1 for the last."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *parts: Tensor) -> Tensor:
        if self.kind == "concatenate":
            return torch.cat(parts, dim=1)
        combine = operator.add if self.kind == "add" else operator.mul
        return functools.reduce(combine, parts)


class DroppedSamples(nn.Module):
    """Dropout with one draw for all values along some axes (`shape` has a 1 there, None elsewhere), as in drop-path.

    It is drawn from torch's generator, which frostline seeds before each step.
    """

    def __init__(self, rate: float, shape: Sequence[int | None]) -> None:
        super().__init__()
        self.rate = rate
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        shape = [n if kept is None else kept for n, kept in zip(x.shape, self.shape, strict=True)]
        return x * F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), self.rate)


ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hard_silu": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "linear": nn.Identity,
}


class DenseOnImages(nn.Linear):
    """Dense on (N, H, W, C): each pixel by itself."""

    def forward(self, input: Tensor) -> Tensor:
        return channels_before(super().forward(channels_behind(input)))
