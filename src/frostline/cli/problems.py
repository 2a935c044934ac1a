"""One sentence and a hint for everything that can go wrong, and the exit code that belongs to it.

0 done, 2 the user can mend it, 1 a fault of frostline, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from frostline.base.errors import AuditError, FrostlineError
from frostline.cli.session import Session

DONE, BUG, MENDABLE, INTERRUPTED = 0, 1, 2, 130
# The public name of the parser's own base of usage errors, in every typer that this project allows.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}


def complain(message: str, hint: str = "") -> None:
    """Write `error: message` and the hint, indented, to stderr."""
    lines = [f"error: {message}", *(f"  {line}" for line in hint.splitlines() if line)]
    sys.stderr.write("\n".join(lines) + "\n")


def handle(problem: BaseException, session: Session) -> int:
    """Tell the user what went wrong; returns the exit code."""
    if isinstance(problem, typer.Exit):
        return problem.exit_code
    if isinstance(problem, (KeyboardInterrupt, typer.Abort)):
        return _interrupted(session)
    if isinstance(problem, BrokenPipeError) or isinstance(problem.__context__, BrokenPipeError):
        return _nobody_reads()
    if isinstance(problem, UsageError):
        problem = restyled(problem, session)
    if isinstance(problem, OSError) and problem.errno in _OF_THE_SYSTEM:
        where = problem.filename or "a file"
        problem = FrostlineError(f"The system refuses {where}: {problem.strerror}.", "Mend that and run it again.")
    if isinstance(problem, FrostlineError):
        complain(problem.message, problem.hint)
        return MENDABLE
    if isinstance(problem, AuditError):
        complain(str(problem), "Either the network's code moves frozen tensors or frostline does: please report it.")
        return BUG
    return _bug(problem)


def restyled(problem: Any, session: Session) -> FrostlineError:
    """The parser's usage error as a sentence; the hint names the nearest option or says what the option is for."""
    context = problem.ctx
    verb = context.command_path if context is not None else " ".join(["frostline", *session.argv[:1]])
    help_hint = f"All options: {verb} --help."
    option = getattr(problem, "option_name", None)
    if option is not None and hasattr(problem, "possibilities"):
        known = [name for p in context.command.params for name in p.opts if name.startswith("--")] if context else []
        hint = did_you_mean(option, known)
        return FrostlineError(f"{verb} has no option {option}.", hint or help_hint)
    if option is not None:  # an option without its value
        return FrostlineError(_sentence(problem.format_message()), help_hint)
    parameter = getattr(problem, "param", None)
    if parameter is None:
        return FrostlineError(_sentence(problem.format_message()), help_hint)
    about = getattr(parameter, "help", None) or ""
    name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name.upper()
    if type(problem).__name__ == "MissingParameter":
        return FrostlineError(f"{verb} needs {name}, which is missing.", f"{about}\n{context.get_usage().strip()}")
    return FrostlineError(_sentence(f"{name}: {problem.message}"), about or help_hint)


def unknown_verb(word: str, verbs: Iterable[str]) -> FrostlineError:
    """What to say to a verb that doesn't exist."""
    names = list(verbs)
    hint = did_you_mean(word, names) or f"Verbs: {', '.join(names)}."
    return FrostlineError(f"frostline has no verb {word!r}.", hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean --epochs?`, or nothing where no known word is near."""
    names = {name.strip("-"): name for name in known}  # dashes always agree: they say nothing about nearness
    close = difflib.get_close_matches(word.strip("-"), names, n=1, cutoff=0.65)
    return f"Did you mean {names[close[0]]}?" if close else ""


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _interrupted(session: Session) -> int:
    again = session.resume_command()
    sys.stderr.write("\ninterrupted" + (f"; to go on:\n  {again}\n" if again else "\n"))
    return INTERRUPTED


def _nobody_reads() -> int:
    """The reader of our output has gone (`| head`): stop without a word, also when the interpreter flushes at exit."""
    with contextlib.suppress(OSError, ValueError):  # no file below it: a test, a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _bug(problem: BaseException) -> int:
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(problem).split())
    hint = "FROSTLINE_DEBUG=1 before the same command prints the traceback; please report it with the command."
    if os.environ.get("FROSTLINE_DEBUG") == "1":
        traceback.print_exception(problem)
        hint = "Please report it with the traceback and the command."
    complain(f"This is a bug in frostline: {type(problem).__name__}: {text}{where}.", hint)
    return BUG
