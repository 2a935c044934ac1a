"""The state of a process that the user's code may change and that is put back: it is ours to compute with."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.backends import cuda, cudnn, mha, mkldnn

Restore = Callable[[], object]

# What holds the rounding of float32, the general before the particular, which takes over what isn't set for itself.
_ROUNDED: tuple[Any, ...] = (
    *(torch.backends, cuda.matmul),
    *(cudnn, cudnn.conv, cudnn.rnn),  # type: ignore[attr-defined]
    *(mkldnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn),  # type: ignore[attr-defined]
)


@contextlib.contextmanager
def kept_state() -> Iterator[None]:
    """Run the user's code; on leaving, everything it may have switched in the process is as it was.

    That is torch's gradient mode, default type and device, threads, rounding and debugging switches; the generators of
    torch, NumPy and Python; NumPy's handling of floating-point errors; warning filters; the current folder. What is
    printed meanwhile goes to stderr: stdout is for results.
    """
    restores = [*_switches(), _rounding(), *_generators(), _current_folder()]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for restore in restores:
            restore()


def _switches() -> list[Restore]:
    """Read every switch, and return what sets each back to what was read."""
    dtype = torch.get_default_dtype()
    device = torch.get_default_device()
    gradients = torch.is_grad_enabled()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomalies = torch.is_anomaly_enabled()
    check_nan = torch.is_anomaly_check_nan_enabled()
    fast_attention = mha.get_fastpath_enabled()
    cudnn_flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    errors = np.geterr()
    return [
        lambda: torch.set_default_dtype(dtype),
        lambda: _set_device(device),
        lambda: torch.set_grad_enabled(gradients),
        lambda: _set_threads(threads),
        lambda: torch.use_deterministic_algorithms(deterministic, warn_only=warn_only),
        lambda: torch.autograd.set_detect_anomaly(anomalies, check_nan),
        lambda: mha.set_fastpath_enabled(fast_attention),
        *(lambda n=name, v=value: setattr(cudnn, n, v) for name, value in cudnn_flags.items()),
        lambda: np.seterr(**errors),
    ]


def _set_device(device: torch.device) -> None:
    if torch.get_default_device() == device:
        return
    torch.set_default_device(None if device.type == "cpu" else device)  # None: a set device slows every call


def _set_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _rounding() -> Restore:
    """Return what puts back how precisely float32 is multiplied, by either of torch's two ways to say so."""
    before = _matmul_precision()
    held = [holder.fp32_precision for holder in _ROUNDED]

    def restore() -> None:
        if before is not None and _matmul_precision() != before:
            torch.set_float32_matmul_precision(before)
        for holder, precision in zip(_ROUNDED, held, strict=True):
            if holder.fp32_precision != precision:
                holder.fp32_precision = precision

    return restore


def _matmul_precision() -> str | None:
    """Return torch's older setting; None where the newer one was used, beside which it can't be read."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _generators() -> list[Restore]:
    """Return what puts the generators back; those of GPUs are read only where one is in use already."""
    torch_state = torch.get_rng_state()
    python_state = random.getstate()
    numpy_state: Any = np.random.get_state()
    restores: list[Restore] = [
        lambda: torch.set_rng_state(torch_state),
        lambda: random.setstate(python_state),
        lambda: np.random.set_state(numpy_state),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        cuda_states = torch.cuda.get_rng_state_all()
        restores.append(lambda: torch.cuda.set_rng_state_all(cuda_states))
    return restores


def _current_folder() -> Restore:
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was removed, so there is none to go back to
        return lambda: None
    return lambda: os.chdir(folder)
