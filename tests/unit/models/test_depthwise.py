"""Strided depthwise convolutions: the same forward bits as plain autocast, gradients as fp32 gives them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.models import depthwise
from frostline.models.depthwise import StridedDepthwise

SHAPES = [  # channels, kernel, stride, padding, dilation, side, bias
    (8, 3, 2, 1, 1, 9, False),
    (8, 3, 2, 0, 1, 10, True),  # a last column that no window reaches
    (6, 5, 3, 2, 1, 14, True),
    (6, 3, 2, 2, 2, 11, False),
]


def layer(
    channels: int,
    kernel: int,
    stride: Any,
    padding: Any,
    dilation: int,
    bias: bool,
    multiplier: int = 1,
    groups: int | None = None,
) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels * multiplier, kernel, stride, padding, dilation, groups or channels, bias)


def run(convolution: nn.Conv2d, x: Tensor, *, patched: bool, low: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients of a weighted sum of the output; `low` runs under bf16 autocast."""
    convolution.zero_grad()
    x = x.clone().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        if patched:
            with StridedDepthwise():
                y = convolution(x)
        else:
            y = convolution(x)
    (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    gradients = {name: p.grad.clone() for name, p in convolution.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return y, {"x": x.grad, **gradients}


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with one entry a call that took the other way."""
    calls: list[int] = []
    honest = depthwise._Convolution.apply

    def counted(*args: Any) -> Any:
        calls.append(1)
        return honest(*args)

    monkeypatch.setattr(depthwise._Convolution, "apply", counted)
    return calls


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "dilation", "side", "bias"), SHAPES)
def test_forward_is_plain_autocast_and_gradients_are_those_of_fp32(
    channels: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    side: int,
    bias: bool,
    channels_last: bool,
    count: list[int],
) -> None:
    convolution = layer(channels, kernel, stride, padding, dilation, bias)
    x = torch.randn(4, channels, side, side + 1, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    if channels_last:
        x, convolution = (
            x.contiguous(memory_format=torch.channels_last),
            convolution.to(memory_format=torch.channels_last),
        )
    with torch.no_grad():  # weights that bf16 holds exactly, so that only the gradient's own rounding is left
        for p in convolution.parameters():
            p.copy_(p.bfloat16().float())
    output, gradients = run(convolution, x, patched=True)
    assert count == [1]
    plain, _ = run(convolution, x, patched=False)
    assert output.dtype == plain.dtype == torch.bfloat16
    assert torch.equal(output, plain)
    assert output.stride() == plain.stride()
    _, exact = run(convolution, x, patched=False, low=False)
    assert set(gradients) == set(exact)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        # 5e-3: bf16 keeps 8 bits, and the output's gradient is rounded to it before anything is computed
        assert (gradient - exact[name]).norm() <= 5e-3 * exact[name].norm(), name


@pytest.mark.parametrize(
    "convolution",
    [
        layer(8, 3, 1, 1, 1, True),  # depthwise, but no stride
        layer(8, 3, 2, 1, 1, True, groups=1),  # stride, but not depthwise
        layer(8, 3, 2, 1, 1, True, groups=4),  # groups of two channels
        layer(8, 3, 1, "same", 1, True),
    ],
)
def test_other_convolutions_are_left_alone(convolution: nn.Conv2d, count: list[int]) -> None:
    x = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    patched, plain = run(convolution, x, patched=True), run(convolution, x, patched=False)
    assert not count
    assert torch.equal(patched[0], plain[0])
    assert all(torch.equal(patched[1][name], plain[1][name]) for name in plain[1])


def test_nothing_changes_in_fp32_and_without_gradients(count: list[int]) -> None:
    convolution, x = layer(8, 3, 2, 1, 1, True), torch.randn(2, 8, 8, 8)
    assert torch.equal(
        run(convolution, x, patched=True, low=False)[1]["x"], run(convolution, x, patched=False, low=False)[1]["x"]
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), StridedDepthwise():
        convolution(x)
    with torch.autocast("cpu", torch.float16), StridedDepthwise():
        convolution(x)
    assert not count


def test_a_depthwise_layer_that_widens_has_the_gradients_of_fp32(count: list[int]) -> None:
    convolution, x = layer(4, 3, 2, 1, 1, True, multiplier=2), torch.randn(2, 4, 8, 8).bfloat16().float()
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.bfloat16().float())
    gradients, exact = run(convolution, x, patched=True)[1], run(convolution, x, patched=False, low=False)[1]
    assert count == [1]
    assert all((gradients[n] - exact[n]).norm() <= 5e-3 * exact[n].norm() for n in exact)


def test_frozen_weights_get_no_gradient_and_a_leaf_input_needs_none() -> None:
    convolution, x = layer(4, 3, 2, 1, 1, False), torch.randn(2, 4, 8, 8)
    convolution.weight.requires_grad_(False)
    run(convolution, x, patched=True)
    assert convolution.weight.grad is None
    convolution.weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16), StridedDepthwise():
        convolution(x).float().sum().backward()
    assert convolution.weight.grad is not None
