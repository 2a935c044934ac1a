"""Leave things as they were: the user's module, torch's global generators and switches."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.backends import mha


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put training flags, `requires_grad`, gradients and buffers of `model` back on leaving."""
    flags = [(m, m.training) for m in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    buffers = copy_buffers(model)
    for parameter, _, _ in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
        for parameter, requires_grad, grad in parameters:
            parameter.grad = None
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        restore(buffers)


Snapshot = list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]


def copy_buffers(model: nn.Module) -> Snapshot:
    """Owner, name, the buffer itself and a copy of its values."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]


def restore(buffers: Snapshot) -> None:
    """Undo in-place writes as well as assignments of another tensor."""
    with torch.no_grad():
        for module, name, buffer, values in buffers:
            if not torch.equal(buffer, values):  # its version doesn't tell: batch norm writes past it
                buffer.copy_(values)
            module._buffers[name] = buffer


@contextmanager
def exact() -> Iterator[None]:
    """Switch off the fused attention kernel of nn.MultiheadAttention and nn.TransformerEncoder.

    It runs in inference only, and having hooks on switches it off again, so hooked and unhooked runs would differ in
    their last bits.
    """
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


@contextmanager
def may_have_gradients(model: nn.Module) -> Iterator[None]:
    """Every parameter is marked as one that may have gradients, whether any are kept or not.

    Kernels are chosen by that mark even under `no_grad` and round differently, so a frozen prefix would else give
    other last bits than the same layers before they were frozen.
    """
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def forked_seed(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from torch's generators as if freshly seeded, and give them back in the state they had.

    Of torch's only the CPU generator and, where `device` is an accelerator, that one's are touched; Python's own and
    NumPy's as well, since some networks drop layers by these.
    """
    kind = torch.device(device)
    devices = []
    if kind.type != "cpu":
        devices = [kind]
    with _forked_others(seed), torch.random.fork_rng(devices=devices, device_type=kind.type if devices else "cuda"):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.get_device_module(kind.type).manual_seed(seed)
        yield


@contextmanager
def _forked_others(seed: int) -> Iterator[None]:
    before = random.getstate()
    numpy = sys.modules.get("numpy")
    arrays = None
    if numpy:
        arrays = numpy.random.get_state()
    random.seed(seed)
    if numpy:
        numpy.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before)
        if numpy:
            numpy.random.set_state(arrays)


def device_of(model: nn.Module) -> torch.device:
    """Where the network lives: the device of its first parameter or buffer."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
