"""A process in which nothing of the user's has run: it waits from the start, does one piece of work, and ends.

The installed command forks itself, before it runs anything of the user's: that costs milliseconds, where a new
interpreter takes two seconds to import torch. A program that calls frostline may hold anything, so there a new
interpreter is started. Either way the process works in an empty folder, and ends with its parent at the latest.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Work = Callable[[Path], Mapping[str, Any]]  # of a folder's path, to what JSON can hold
COMMAND = "frostline"
SOURCE = str(Path(__file__).resolve().parents[2])  # where this package lies


@dataclass(eq=False)
class Understudy:
    """The process, as its parent sees it: `tell` it the folder, `wait` for its answer, and `end` it in any case."""

    ears: IO[bytes]  # its stdin, so to say
    voice: IO[bytes]
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0  # of a fork

    def tell(self, folder: Path, *, cwd: Path) -> None:
        """Let it work on a folder, with `cwd` as its current one, which lies beside it in a temporary one."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: that shows when its answer is waited for
            self.ears.write((json.dumps([str(folder), str(cwd)]) + "\n").encode())

    def wait(self, seconds: float) -> Mapping[str, Any] | None:
        """Return its answer; None where it ended without one, or doesn't come to an end in time."""
        answer: list[bytes] = []
        reading = threading.Thread(target=lambda: answer.append(_read_all(self.voice)), daemon=True)
        reading.start()
        reading.join(seconds)
        try:
            found: Mapping[str, Any] = json.loads(b"".join(answer))
        except ValueError:
            return None
        return found

    def end(self) -> None:
        """Stop it, whatever it does, and leave nothing of it behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        elif self.pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.pid = 0
            gc.unfreeze()
        for pipe in (self.ears, self.voice):
            with contextlib.suppress(OSError):
                pipe.close()


def _read_all(pipe: IO[bytes]) -> bytes:
    content = b""
    with contextlib.suppress(OSError, ValueError):  # closed meanwhile
        while part := pipe.read(1 << 16):
            content += part
    return content


def fork_early(work: Work, *, before: Callable[[], None]) -> Understudy | None:
    """Fork the installed command, which has run nothing of the user's yet; `before` is called just before.

    None in any other program, elsewhere than on Linux, and where a GPU is in use already, which a fork can't share.
    """
    import torch

    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if sys.platform != "linux" or in_use or not _is_own_command():
        return None
    before()
    gc.freeze()  # a collection writes into all objects, and each page that the two still share would be copied
    told, ears = os.pipe()
    voice, answer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of other threads; those of NumPy prepare for a fork, and none of ours is waited for
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(told)
        os.close(answer)
        return Understudy(os.fdopen(ears, "wb", buffering=0), os.fdopen(voice, "rb", buffering=0), pid=pid)
    try:
        os.close(ears)
        os.close(voice)
        _leave_terminal()
        serve(told, answer, work)
    finally:
        os._exit(0)  # nothing of the parent's is flushed or cleaned up twice


def spawn(program: str) -> Understudy:
    """Start a new interpreter on a line of Python, which should call :func:`serve`. Raises OSError."""
    found = f"import sys; sys.path.append({SOURCE!r}); {program}"
    process = subprocess.Popen(  # nosec B603  # this interpreter, on a line of this package
        [sys.executable or "python", "-P", "-c", found],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return Understudy(process.stdin, process.stdout, process=process)


def serve(told: int, answer: int, work: Work) -> None:
    """Wait for the folder, do the work and write the answer; end at once when the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the parent ends this one
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(told, 1 << 16)
        if not part:
            return
        line += part
    gc.disable()  # it ends before long; a single collection of all that torch has made takes a third of a second
    folder, cwd = json.loads(line)
    threading.Thread(target=_end_with_parent, args=(told, Path(folder).parent), daemon=True).start()
    if sys.path[0] in ("", os.getcwd()):  # python -m frostline
        del sys.path[0]
    os.chdir(cwd)
    content = json.dumps(work(Path(folder))).encode()
    while content:
        content = content[os.write(answer, content) :]


def own_pipes() -> tuple[int, int]:
    """Return copies of stdin and stdout, in whose places nothing is read or shown from now on."""
    pipes = (os.dup(0), os.dup(1))
    _leave_terminal()
    return pipes


def _leave_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)


def _end_with_parent(told: int, room: Path) -> None:
    """End when the parent does; it was killed, so that it has left its temporary folder."""
    with contextlib.suppress(OSError):
        while os.read(told, 1):
            pass
    shutil.rmtree(room, ignore_errors=True)
    os._exit(0)


def _is_own_command() -> bool:
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", "")
    return name == f"{COMMAND}.__main__" or Path(getattr(main, "__file__", None) or "").name == COMMAND
