"""Gradients of strided depthwise convolutions in fp32, where the processor has no fast bf16 kernel for them.

On CPUs oneDNN's bf16 gradient with respect to the input of a depthwise convolution of stride 2 falls back to a
reference loop: 95 to 145 ms where fp32 takes 1 to 10 ms (MobileNet V1 0.75 at 224 pixels, batch 32). Four such layers
were three quarters of a fine-tuning step. Here the forward pass stays as it is, bit for bit; only the gradient is
computed in fp32. Measured: 52 -> 83 images a second (docs/decisions/0005).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from frostline.base.device import Compute

Pair = tuple[int, int]
How = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation, groups


class StridedDepthwise(TorchFunctionMode):
    """While active, `torch.conv2d` calls that autocast would run as bf16 strided depthwise get an fp32 gradient."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and _slow(args):
            x, weight, bias, stride, padding, dilation, groups = args
            low = torch.bfloat16
            cast_bias = None if bias is None else bias.to(low)
            how = (_pair(stride), _pair(padding), _pair(dilation), groups)
            return _Convolution.apply(x.to(low), weight.to(low), cast_bias, how)
        return func(*args, **kwargs)


def fast_gradients(compute: Compute) -> contextlib.AbstractContextManager[Any]:
    """The mode where it helps: bf16 on a CPU; elsewhere nothing."""
    slow = compute.precision == "bf16" and compute.device == "cpu"
    return StridedDepthwise() if slow else contextlib.nullcontext()


def _slow(args: tuple[Any, ...]) -> bool:
    """Whether conv2d called with these arguments falls back to the reference loop in its backward pass."""
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
        and max(_pair(stride)) > 1
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _pair(value: Any) -> Pair:
    numbers = (value, value) if isinstance(value, int) else tuple(value)
    return (int(numbers[0]), int(numbers[-1]))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: How) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.bias = how, bias is not None
        return torch.conv2d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        need_x, *need_others = ctx.needs_input_grad[:3]
        _, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [weight.shape[0]] if ctx.bias else None,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            [False, *need_others],
        )
        of_x = _input_gradient(gradient, x, weight, ctx.how) if need_x else None
        return (of_x, of_weight, of_bias, None)


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, how: How) -> Tensor:
    """The output's gradient through the transposed convolution, in fp32; no window reached the `missing` rows."""
    stride, padding, dilation, groups = how
    missing = [
        x.shape[2 + i]
        + 2 * padding[i]
        - dilation[i] * (weight.shape[2 + i] - 1)
        - 1
        - stride[i] * (gradient.shape[2 + i] - 1)
        for i in (0, 1)
    ]
    made = torch.conv_transpose2d(gradient.float(), weight.float(), None, stride, padding, missing, groups, dilation)
    return made.to(x.dtype)
