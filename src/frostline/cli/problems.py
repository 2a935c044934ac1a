"""One sentence and a hint for everything that can go wrong, and its exit code.

0 done, 2 user error, fixable, 1 a bug in frostline, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from frostline.base.errors import ACCESS_ERRORS, FULL, AuditError, FrostlineError, describe
from frostline.base.memory import is_shortage
from frostline.base.terminal import bounded_line, harmless
from frostline.cli.screen import print_json
from frostline.cli.session import Session

DONE = 0
BUG = 1
USER_ERROR = 2
INTERRUPTED = 130
LESS_MEMORY = "Give a smaller --batch-size, or --threads 1."
# The parser's base class of usage errors; no name for it is public in every typer that this project allows.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def complain(message: str, hint: str = "") -> None:
    """Write `error: message` and the hint, indented, to stderr."""
    lines = [f"error: {bounded_line(message)}", *(f"  {bounded_line(line)}" for line in hint.split("\n") if line)]
    sys.stderr.write("\n".join(lines) + "\n")


def handle(problem: BaseException, session: Session) -> int:
    """Tell the user what went wrong, with --json also programs, and return the exit code."""
    if isinstance(problem, typer.Exit):
        return problem.exit_code
    problem = _as_sentence(problem, session)
    code = _tell_user(problem, session)
    if code != DONE and "--json" in session.argv:
        _tell_programs(problem, code, session)
    return code


def _as_sentence(problem: BaseException, session: Session) -> BaseException:
    """Return the sentence for what the parser, the disk or the memory refused, and anything else as it is."""
    if isinstance(problem, UsageError):
        return restyled(problem, session)
    if isinstance(problem, OSError) and problem.errno in ACCESS_ERRORS:
        return access_problem(problem, session)
    if is_shortage(problem):
        reason = (str(problem).splitlines() or [""])[0]
        return FrostlineError(f"There is not enough memory ({reason}).", LESS_MEMORY)
    return problem


def _tell_user(problem: BaseException, session: Session) -> int:
    if isinstance(problem, (KeyboardInterrupt, typer.Abort)):
        return _interrupted(session)
    if isinstance(problem, BrokenPipeError) or isinstance(problem.__context__, BrokenPipeError):
        return _nobody_reads()
    if isinstance(problem, FrostlineError):
        complain(problem.message, problem.hint)
        return USER_ERROR
    if isinstance(problem, AuditError):
        complain(
            str(problem), "Either the network's own code changes frozen tensors or frostline does; please report it."
        )
        return BUG
    return _bug(problem)


def access_problem(problem: OSError, session: Session) -> FrostlineError:
    """Return the sentence for a file that can't be written or read; the hint says how to go on, once that is mended."""
    where = problem.filename or "a file"
    first = "Fix this"
    if problem.errno in FULL:
        first = "Make room (frostline cache --clear empties the store)"
    again = " and run the command again."
    command = session.resume_command()
    if session.run is not None and command:
        again = f", then go on with:\n{command}"
    return FrostlineError(f"Can't access {where}: {problem.strerror}.", first + again)


def _tell_programs(problem: BaseException, code: int, session: Session) -> None:
    """Write the error as the last line of JSON, as docs/errors.md describes it."""
    facts = describe(problem)
    data = {name: facts[name] for name in ("class", "hint", "docs")}
    with contextlib.suppress(OSError, ValueError):  # nobody reads
        print_json(
            {
                "kind": "error",
                "text": facts["message"],
                "data": {**data, "exit_code": code, "resume": session.run and session.resume_command()},
            },
            indent=None,
        )


def restyled(problem: Any, session: Session) -> FrostlineError:
    """Return the parser's usage error as a sentence; the hint names the nearest option or explains the option."""
    context = problem.ctx
    verb = " ".join(["frostline", *session.argv[:1]])
    if context is not None:
        verb = context.command_path
    help_hint = f"All options: {verb} --help."
    option = getattr(problem, "option_name", None)
    if option is not None and hasattr(problem, "possibilities"):
        hint = did_you_mean(option, _long_options(context)) or help_hint
        return FrostlineError(f"{verb} has no option {option}.", hint)
    parameter = getattr(problem, "param", None)
    if option is not None or parameter is None:  # an option without its value, or nothing to name
        return FrostlineError(_sentence(problem.format_message()), help_hint)
    about = getattr(parameter, "help", None) or ""
    name = _shown_name(parameter)
    if type(problem).__name__ == "MissingParameter":
        return FrostlineError(f"{verb} needs {name}, which is missing.", f"{about}\n{context.get_usage().strip()}")
    return FrostlineError(_sentence(f"{name}: {problem.message}"), about or help_hint)


def _long_options(context: Any) -> list[str]:
    if context is None:
        return []
    return [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]


def _shown_name(parameter: Any) -> str:
    """Return how help names a parameter: `--epochs`, `DATA`."""
    if parameter.opts[0].startswith("-"):
        return str(parameter.opts[0])
    return str(parameter.metavar or parameter.name.upper())


def unknown_verb(word: str, verbs: Iterable[str]) -> FrostlineError:
    """Return the error for a verb that doesn't exist."""
    names = list(verbs)
    hint = did_you_mean(word, names) or f"Verbs: {', '.join(names)}."
    return FrostlineError(f"frostline has no verb {word!r}.", hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean --epochs?`, or nothing where no known word is close."""
    names = {name.strip("-"): name for name in known}  # dashes always agree, so they are not compared
    close = difflib.get_close_matches(word.strip("-"), names, n=1, cutoff=0.65)
    if not close:
        return ""
    return f"Did you mean {names[close[0]]}?"


def _sentence(text: str) -> str:
    return text.removesuffix(".") + "."


def _interrupted(session: Session) -> int:
    command = session.resume_command()
    text = "\ninterrupted"
    if command:
        text += f"; to continue:\n  {command}"
    command = session.conclude_command()
    if command:
        text += f"\nto end it with what it has measured so far:\n  {command}"
    sys.stderr.write(text + "\n")
    return INTERRUPTED


def _nobody_reads() -> int:
    """Stop silently, also when the interpreter flushes at exit: the reader of our output has gone (`| head`)."""
    with contextlib.suppress(OSError, ValueError):  # stdout is no file: a test, a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _bug(problem: BaseException) -> int:
    frames = traceback.extract_tb(problem.__traceback__)
    where = ""
    if frames:
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    text = " ".join(str(problem).split())
    hint = (
        "Run it again with FROSTLINE_DEBUG=1 to see the traceback; please report that and the command, with what\n"
        "frostline doctor --bundle report.zip writes (docs/errors.md)."
    )
    if os.environ.get("FROSTLINE_DEBUG") == "1":
        sys.stderr.write(harmless("".join(traceback.format_exception(problem)), lines=True))
        hint = "Please report the traceback and the command."
    complain(f"This is a bug in frostline: {type(problem).__name__}: {text}{where}.", hint)
    return BUG
