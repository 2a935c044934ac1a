"""A long command runs in a worker process, so that what ends the worker doesn't end the command.

The system may end a process for want of memory, and native code may crash. This process imports next to nothing, so it
lives on: it starts another worker, which takes the run up with --resume. A piece of work that has cost two workers
their lives fails with its reason (base/worker.py), and the comparison goes on. When this process ends, in whatever way,
its worker does too.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from frostline.base import worker
from frostline.base.worker import ATTEMPTS, Board, Death
from frostline.cli.problems import INTERRUPTED, LESS_MEMORY, USER_ERROR, complain
from frostline.cli.session import RESUMABLE, Session

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform != "win32" else ()
_FROM_KERNEL = 0x80  # SI_KERNEL of a signal's origin: a terminal has sent it to all processes of its group, then


@dataclass(frozen=True)
class _Ended:
    """How a worker ended: its exit code, or the signal, with the most memory that it held, in MiB."""

    code: int | None
    signal: int
    held_mb: float


def is_supervised(words: Sequence[str]) -> bool:
    """True for a command that is run in a worker: one that can be resumed, on Linux, in a process without threads."""
    return sys.platform == "linux" and words[0] in RESUMABLE and "torch" not in sys.modules


def supervise(session: Session) -> int | None:
    """Start workers until one comes to an end by itself, and return its exit code.

    In a worker: return None, for it to go on with the session's words.
    """
    board = Board()
    deaths: list[Death] = []
    while True:
        ended = _run_worker(board, deaths)
        if ended is None:
            return None
        if ended.code is not None:
            return ended.code
        if ended.signal in _PASSED_ON:
            return INTERRUPTED
        noted = board.read()
        board.write({})
        death = Death(
            signal=ended.signal, held_mb=ended.held_mb, work=noted.get("work"), strategy=noted.get("strategy")
        )
        deaths.append(death)
        session.run = noted.get("run", session.run)
        if _is_lost(deaths):
            _give_up(death, session)
            return USER_ERROR
        if session.run is not None:
            words = shlex.split(session.resume_command() or "")
            session.argv = words[1:]
        _tell(death)


def _is_lost(deaths: Sequence[Death]) -> bool:
    """True where workers have died twice at something that can't be left out, such as reading the data."""
    return sum(death.work is None for death in deaths) >= ATTEMPTS


def _run_worker(board: Board, deaths: Sequence[Death]) -> _Ended | None:
    """Fork a worker and wait for its end; None in the worker."""
    own_pid = os.getpid()
    awaited = {*_PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    pid = os.fork()
    if pid == 0:
        worker.die_with(own_pid)
        worker.become(board, deaths)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        told = signal.sigwaitinfo(awaited)
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return _ended(status, usage.ru_maxrss / 1024)
        if told.si_signo in _PASSED_ON and told.si_code != _FROM_KERNEL:
            os.kill(pid, told.si_signo)


def _ended(status: int, held_mb: float) -> _Ended:
    if os.WIFEXITED(status):
        return _Ended(os.WEXITSTATUS(status), 0, held_mb)
    return _Ended(None, os.WTERMSIG(status), held_mb)


def _tell(death: Death) -> None:
    where = ""
    if death.strategy is not None:
        where = f" at {death.strategy}"
    sys.stderr.write(f"the worker process was ended{where} by {death.in_words()}; going on from what it had finished\n")


def _give_up(death: Death, session: Session) -> None:
    hint = f"Most likely memory ran out. {LESS_MEMORY}"
    command = session.resume_command()
    if session.run is not None and command:
        hint += f"\nTo go on from what is finished:\n  {command}"
    complain(f"The system ended the process that computes by {death.in_words()}.", hint)
