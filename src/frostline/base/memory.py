"""How much memory this process holds, how much it may hold, and arrays that leave it where they are larger.

The limit never changes a result: it decides what is kept in memory and what lies in a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import platform
import re
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from frostline.base.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATUS = Path("/proc/self/status")
CPU_ALLOCATOR = "DefaultCPUAllocator"  # in the words of torch's error
ROOT = Path("/")
SHARE = 0.75  # of what is there, which is used unless --max-memory says otherwise
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
PAGES = 1 << 20  # bytes; a smaller array isn't worth a file
SMALL = 1 << 26  # bytes; a larger array gets pages of its own, which the system has back once it is gone
ONE_DECODER = 1 << 30  # bytes that a thread takes to decode the largest image that is read


def peak_rss_mb() -> float:
    """Return the largest memory that this process has held, mapped files included, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 << 20 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return peak / unit


def anonymous_mb() -> float:
    """Return the memory that this process holds now and that no file backs, in MiB; 0.0 where Linux doesn't say.

    Pages of mapped files, such as the store's, can be given back by the system at any time; these can't.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def give_back_memory() -> None:
    """Give freed memory that the allocator keeps back to the system, where it is glibc's.

    Keeping it makes the passes within one part of a job fast (docs/decisions/0003), but the next part needs memory of
    other sizes, so what is kept adds up from part to part.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def memory_there(root: Path = ROOT) -> int:
    """Return the bytes that this process can have: the machine's memory, or less where a limit says so.

    Limits are those of the process's own control group and of the groups above it (`memory.max` of version 2,
    `memory.limit_in_bytes` of version 1), and of its address space (`ulimit -v`). `root`: where `proc` and `sys` lie.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_group_limits(root)]
    with contextlib.suppress(ImportError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    return min(found)


def _group_limits(root: Path) -> list[int]:
    """Return the limits of the control groups that this process is in; none where the system has no such groups."""
    found: list[int] = []
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
            name = "memory.max"
        elif "memory" in controllers.split(","):
            mounts = ["sys/fs/cgroup/memory"]
            name = "memory.limit_in_bytes"
        else:
            continue
        # a container may see its path as the host has it, but its own group as the root
        group = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    found.append(int((root / mount / folder / name).read_text(encoding="ascii")))
    return found


def memory_bytes(setting: str | None, there: int) -> int:
    """Return the bytes that `--max-memory` allows: 4GB, 500MB, or a share of what is there (60%, by default 75%).

    A GB has 1024 MB, an MB 1024 KB, as in the record. Raises RecipeError for anything else.
    """
    if setting is None:
        return int(SHARE * there)
    share = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*%", str(setting).strip())
    if share and 0 < float(share[1]) <= 100:
        return int(float(share[1]) / 100 * there)
    found = size_bytes(str(setting))
    if not found:
        raise RecipeError(f"--max-memory {setting} is not an amount of memory.", "Give one such as 4GB, 500MB or 60%.")
    return found


def size_bytes(text: str) -> int:
    """Return the bytes of a size such as 4GB or 500M; 0 for any other text."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMGT])i?B?", text.strip(), re.IGNORECASE)
    if not match:
        return 0
    return int(float(match[1]) * UNITS[match[2].upper()])


def allowed_memory(setting: str | None) -> int:
    """Return the bytes that this process may hold in memory that no file backs."""
    return memory_bytes(setting, memory_there())


def decoders(threads: int, allowed: int) -> int:
    """Return how many of the threads may decode images at a time."""
    return max(1, min(threads, allowed // ONE_DECODER))


def large_array(shape: tuple[int, ...], dtype: str, room: int | None) -> NDArray[Any]:
    """Return an array to be filled: in memory where it takes at most `room` bytes (None: no limit), or in a temporary
    file that has no name any more.

    The system writes the file's pages to the disk and takes them back where memory is short. Raises MemoryError where
    there is no room for the file.
    """
    import numpy as np

    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= PAGES or room is None or size <= room:
        if size <= SMALL:
            return np.empty(shape, dtype)
        return np.frombuffer(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype).reshape(shape)
    try:
        return _nameless_file(size).view(dtype).reshape(shape)
    except OSError as error:
        place = tempfile.gettempdir()
        raise MemoryError(f"{size >> 20} MB in a temporary file in {place}: {error.strerror}") from error


def _nameless_file(size: int) -> NDArray[Any]:
    """Map a file that is gone with its last reader; it stays open for nobody, so there may be many."""
    import torch

    handle, name = tempfile.mkstemp(prefix="frostline-")
    try:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here; when pages are written it is a crash
            os.posix_fallocate(handle, 0, size)
        pages: NDArray[Any] = torch.from_file(name, shared=True, size=size, dtype=torch.uint8).numpy()
        return pages
    finally:
        os.close(handle)
        os.unlink(name)


def is_shortage(error: BaseException) -> bool:
    """True for an error that says that memory couldn't be had, by Python, NumPy or torch, on the CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)
