"""Leave the user's module and torch's global generators and switches as they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn
from torch.backends import mha


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put training flags, `requires_grad`, gradients and buffers of `model` back on leaving."""
    flags = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
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


BufferCopies = list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]


def copy_buffers(model: nn.Module) -> BufferCopies:
    """Return each buffer with its owner and name before it, and a copy of its values after it."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]


def restore(buffers: BufferCopies) -> None:
    """Undo in-place writes as well as assignments of another tensor."""
    with torch.no_grad():
        for module, name, buffer, values in buffers:
            if not torch.equal(buffer, values):  # its version doesn't show it: batch norm writes past it
                buffer.copy_(values)
            module._buffers[name] = buffer


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread meanwhile.

    On small work more threads spend their time waiting for each other, actively by default: on two shared cores mapping
    a resnet18 took 18 s of processor time with two threads and 3 s with one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """Mark every parameter as one that may have gradients, whether any are kept or not.

    Kernels are chosen by that mark even under `no_grad` and round differently. Without it, a frozen prefix would give
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
    """Draw from torch's generators as if freshly seeded, and put them back as they were on leaving.

    Of torch's generators, only that of the CPU and, where `device` is an accelerator, that of the device are touched;
    Python's own and NumPy's are too, since some networks drop layers by these.
    """
    place = torch.device(device)
    with _forked_others(seed), _forked_torch(place):
        torch.default_generator.manual_seed(seed)
        if place.type != "cpu":
            torch.get_device_module(place.type).manual_seed(seed)
        yield


def _forked_torch(device: torch.device) -> AbstractContextManager[None]:
    """Keep the state of the CPU's generator and of the device's."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)


@contextmanager
def _forked_others(seed: int) -> Iterator[None]:
    """Seed the generators of Python and, where it is loaded, of NumPy; put both back on leaving."""
    python_state = random.getstate()
    random.seed(seed)
    try:
        with _forked_numpy(seed):
            yield
    finally:
        random.setstate(python_state)


@contextmanager
def _forked_numpy(seed: int) -> Iterator[None]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        yield
        return
    numpy_state = numpy.random.get_state()
    numpy.random.seed(seed % 2**32)
    try:
        yield
    finally:
        numpy.random.set_state(numpy_state)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the network's first parameter or buffer, the CPU where it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
