"""Gradients of strided depthwise convolutions in fp32, where the processor has no fast bf16 kernel for them.

On CPUs oneDNN's bf16 gradient with respect to the input of a depthwise convolution of stride 2 falls back to a
reference loop: 95 to 145 ms where fp32 takes 1 to 10 ms (MobileNet V1 0.75 at 224 pixels, batch 32). Four such layers
were three quarters of a fine-tuning step. Here the forward pass stays as it is, bit for bit; only the gradient is
computed in fp32. Measured: 52 -> 83 images per second (docs/decisions/0005).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from frostline.base.device import Compute

IntPair = tuple[int, int]
ConvolutionOptions = tuple[IntPair, IntPair, IntPair, int]  # stride, padding, dilation, groups


class StridedDepthwise(TorchFunctionMode):
    """While active, strided depthwise `torch.conv2d` calls that autocast runs in bf16 get an fp32 gradient."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and _has_slow_gradient(args):
            x, weight, bias, stride, padding, dilation, groups = args
            if bias is not None:
                bias = bias.to(torch.bfloat16)
            options = (_two_numbers(stride), _two_numbers(padding), _two_numbers(dilation), groups)
            return _Convolution.apply(x.to(torch.bfloat16), weight.to(torch.bfloat16), bias, options)
        return func(*args, **kwargs)


def fast_gradients(compute: Compute) -> contextlib.AbstractContextManager[Any]:
    """Return the mode where it helps (bf16 on a CPU), elsewhere a context that changes nothing."""
    if compute.precision == "bf16" and compute.device == "cpu":
        return StridedDepthwise()
    return contextlib.nullcontext()


def _has_slow_gradient(args: tuple[Any, ...]) -> bool:
    """True where conv2d called with these arguments falls back to the reference loop in its backward pass."""
    if len(args) != 7:  # x, weight, bias, stride, padding, dilation, groups
        return False
    x, _, _, stride, padding, _, groups = args
    return bool(
        groups > 1
        and isinstance(x, Tensor)
        and not isinstance(padding, str)
        and x.device.type == "cpu"
        and x.dim() == 4
        and groups == x.shape[1]
        and max(_two_numbers(stride)) > 1
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _two_numbers(value: Any) -> IntPair:
    """Return a setting of conv2d, one number or one per axis, as one per axis."""
    if isinstance(value, int):
        return (value, value)
    numbers = tuple(value)
    return (int(numbers[0]), int(numbers[-1]))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvolutionOptions) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = options
        ctx.bias_sizes = None
        if bias is not None:
            ctx.bias_sizes = [weight.shape[0]]
        return torch.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        x_needed, *others_needed = ctx.needs_input_grad[:3]
        _, weight_gradient, bias_gradient = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            ctx.bias_sizes,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            [False, *others_needed],
        )
        x_gradient = None
        if x_needed:
            x_gradient = _input_gradient(gradient, x, weight, ctx.options)
        return (x_gradient, weight_gradient, bias_gradient, None)


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, options: ConvolutionOptions) -> Tensor:
    """Take the output's gradient through the transposed convolution in fp32; no window reached the `missing` rows."""
    stride, padding, dilation, groups = options
    missing = [
        x.shape[2 + i]
        + 2 * padding[i]
        - dilation[i] * (weight.shape[2 + i] - 1)
        - 1
        - stride[i] * (gradient.shape[2 + i] - 1)
        for i in (0, 1)
    ]
    exact = torch.conv_transpose2d(gradient.float(), weight.float(), None, stride, padding, missing, groups, dilation)
    return exact.to(x.dtype)
