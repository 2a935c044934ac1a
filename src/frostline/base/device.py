"""The hardware of this machine, and the written rule for device, precision, memory layout, threads and allocator.

The rule reads hardware flags and the network, never a timing, so that it gives the same answer each time; its choices
are recorded with their reasons. No other module asks which hardware is present.
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
# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


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
    """Make OpenMP wait passively and the allocator keep freed memory; call it before torch is imported.

    Values that the user has put into the environment are left alone. Keeping freed memory makes convolution inference
    1.6 to 3 times as fast (docs/decisions/0003); it needs glibc and is skipped elsewhere.
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
    """Return the number of threads by rule: the cores that this process may use, at most two."""
    return max(1, min(MAX_THREADS, usable_cores() or 1))


def usable_cores() -> int | None:
    """Return the number of cores that this process may use; None where the system doesn't report it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


@cache
def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags of the first core; none where the system doesn't list them (not Linux)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def find_device(wanted: str) -> str:
    """Return the first of cuda, mps and cpu that is present for `auto`; check any other name. Raises RecipeError."""
    import torch

    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present[0:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if wanted == "auto":
        return present[0]
    if wanted not in present:
        raise RecipeError(f"--device {wanted!r} is not on this machine.", nearest(wanted, ["auto", *present]))
    return wanted


def has_bf16(device: str) -> bool:
    """True where the device multiplies bf16 in hardware."""
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
        model: the network; two or more 2-D convolutions make it channels_last, unless one of them overruns
            (:func:`_overruns`).
        operations: floating-point operations of one sample's forward pass.
    """
    from torch import nn

    actual_device = find_device(device)
    actual_precision, why = _choose_precision(precision, actual_device, operations)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    overrun = actual_device == "cpu" and any(_overruns(m) for m in convolutions)
    layout = ""
    if overrun:
        layout = ", one of them too narrow for channels_last"
    return Compute(
        device=actual_device,
        precision=actual_precision,
        channels_last=len(convolutions) >= 2 and not overrun,
        threads=threads or default_threads(),
        chunk=chunk,
        reasons=(f"precision {actual_precision}: {why}", f"{len(convolutions)} convolutions{layout}"),
    )


def _choose_precision(wanted: str, device: str, operations: float) -> tuple[str, str]:
    """Return the precision and the reason for it."""
    if wanted != "auto":
        return wanted, "set by --precision"
    if not has_bf16(device):
        return "fp32", "no hardware bf16"
    if operations < BF16_FROM_OPERATIONS:
        return "fp32", "small network"
    return "bf16", "hardware bf16"


def _overruns(convolution: nn.Conv2d) -> bool:
    """True for a strided 1 x 1 convolution of few input channels: in channels_last the CPU's weight gradient writes
    past its workspace and kills the process (oneDNN issue 6035; seen with 4, 8, 12 and 15 channels on AVX-512, not
    with 16)."""
    return convolution.kernel_size == (1, 1) and convolution.stride != (1, 1) and convolution.weight.shape[1] < NARROW


def place(model: nn.Module, compute: Compute) -> nn.Module:
    """Move the network to its device and into its memory layout, in place."""
    import torch

    model = model.to(compute.device)
    if compute.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def apply_threads(compute: Compute) -> None:
    """Set torch's threads, and on CUDA deterministic kernels in full precision."""
    import torch

    torch.set_num_threads(compute.threads)
    if compute.device.startswith("cuda"):  # same machine, same seed: same bits; and fp32 means fp32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def random_devices(device: str) -> list[str]:
    """Return the devices besides the CPU whose random state `torch.random.fork_rng` has to restore."""
    if device.startswith("cuda"):
        return [device]
    return []


@contextlib.contextmanager
def autocast(compute: Compute) -> Iterator[None]:
    """Compute in the recorded precision; in fp32 nothing changes."""
    import torch

    kind = compute.device.split(":")[0]
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=compute.precision == "bf16"):
        yield


def machine() -> dict[str, Any]:
    """Describe the machine for the record, without host or user name."""
    import torch

    gpu = None
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name(0)

    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": usable_cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
        "python": platform.python_version(),
    }
