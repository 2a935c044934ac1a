"""What the machine has and the written rule that follows from it: device, precision, memory layout, threads, allocator.

The rule reads hardware flags and the network, never a timing, so that it gives the same answer each time; what it
chose is recorded with its reasons. No other module asks what hardware is there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.base.errors import RecipeError, nearest

if TYPE_CHECKING:
    from torch import nn

MAX_THREADS = 2  # more threads than promised cores make OpenMP's barriers collapse on virtual machines
BF16_FROM_OPERATIONS = 1e8  # per sample; below it the casts cost more than bf16 saves
NARROW = 16  # input channels; see _overruns
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How tensors are computed. `chunk` is the fixed batch of every inference pass: partial batches are padded to it,
    so a sample's result never depends on how many others came with it."""

    device: str
    precision: str  # 'fp32' or 'bf16' (autocast)
    channels_last: bool
    threads: int
    chunk: int
    reasons: tuple[str, ...] = ()


def prepare_process(threads: int | None = None) -> None:
    """Set what has to stand before torch is imported: passive OpenMP waiting and an allocator that keeps freed memory.

    Values that the user has put into the environment are left alone. Freed memory kept is worth 1.6 to 3 times in
    convolution inference (notes in docs/decisions/0003); it needs glibc and is skipped elsewhere.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    user_tuned = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if platform.libc_ver()[0] == "glibc" and not user_tuned:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def default_threads() -> int:
    """Threads by rule: the cores this process may use, at most two."""
    return max(
        1, min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    )


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the first core (Linux), else nothing."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def find_device(wanted: str) -> str:
    """`auto` gives cuda, mps or cpu, whichever is there first; a name is checked. Raises RecipeError."""
    import torch

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there[0:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise RecipeError(f"--device {wanted!r} is not on this machine.", nearest(wanted, ["auto", *there]))
    return wanted


def has_bf16(device: str) -> bool:
    """The device multiplies bf16 in hardware."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def choose_compute(
    *, device: str, precision: str, threads: int | None, chunk: int, model: nn.Module, operations: float
) -> Compute:
    """Apply the written rule.

    Args:
        device, precision: as the user set them ('auto' leaves the choice to the rule).
        threads: CPU threads, None for the rule.
        chunk: fixed batch of inference passes, at least 2.
        model: the network; two or more 2-D convolutions make it channels_last, but for those of :func:`_overruns`.
        operations: floating-point operations of one sample's forward pass.
    """
    from torch import nn

    found = find_device(device)
    chosen, why = precision, "set by --precision"
    if precision == "auto":
        fast = has_bf16(found)
        chosen = "bf16" if fast and operations >= BF16_FROM_OPERATIONS else "fp32"
        why = "hardware bf16" if chosen == "bf16" else ("small network" if fast else "no hardware bf16")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    overrun = found == "cpu" and any(_overruns(m) for m in convolutions)
    layout = ", one of them too narrow for channels_last" if overrun else ""
    return Compute(
        device=found,
        precision=chosen,
        channels_last=len(convolutions) >= 2 and not overrun,
        threads=threads or default_threads(),
        chunk=chunk,
        reasons=(f"precision {chosen}: {why}", f"{len(convolutions)} convolutions{layout}"),
    )


def _overruns(convolution: nn.Conv2d) -> bool:
    """In channels_last the CPU's weight gradient of a strided 1 x 1 convolution of few input channels writes past its
    workspace and kills the process (oneDNN issue 6035; seen with 4, 8, 12 and 15 channels on AVX-512, not with 16)."""
    return convolution.kernel_size == (1, 1) and convolution.stride != (1, 1) and convolution.weight.shape[1] < NARROW


def place(model: nn.Module, compute: Compute) -> nn.Module:
    """The network on its device and in its memory layout (in place)."""
    import torch

    model = model.to(compute.device)
    return model.to(memory_format=torch.channels_last) if compute.channels_last else model


def apply_threads(compute: Compute) -> None:
    """Set torch's threads, and on CUDA its deterministic, full-precision kernels."""
    import torch

    torch.set_num_threads(compute.threads)
    if compute.device.startswith("cuda"):  # same machine, same seed: same bits; and fp32 means fp32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def autocast(compute: Compute) -> Iterator[None]:
    """The recorded precision; in fp32 nothing changes."""
    import torch

    kind = compute.device.split(":")[0]
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=compute.precision == "bf16"):
        yield


def machine() -> dict[str, Any]:
    """What the record says about the machine; no host or user name."""
    import torch

    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
    }
