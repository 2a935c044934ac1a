"""Errors that a user can fix: one sentence (what was found, where, what was expected) and a hint (what to type)."""

from __future__ import annotations

import contextlib
import difflib
import errno
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DOCS = "docs/errors.md"  # a section for every class of error and every exit code
PACKAGE = Path(__file__).resolve().parents[1]
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
ACCESS_ERRORS = FULL | {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}  # that users can mend
CAUSES = 5  # of an error that are described, at most


class FrostlineError(Exception):
    """Base of every error that the user can fix; the command line prints it and exits with 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    @property
    def docs(self) -> str:
        """Where this class of error is explained: `docs/errors.md#dataerror`."""
        return docs_of(self)


class DataError(FrostlineError):
    """The data folder or a file in it can't be used."""


class RecipeError(FrostlineError):
    """A strategy or a setting isn't known, isn't allowed, or doesn't apply."""


class ModelError(FrostlineError):
    """A network or its weights can't be built, loaded or cut."""


class TrialError(FrostlineError):
    """A training run went wrong in a way that settings can fix (divergence, memory)."""


class BundleError(FrostlineError):
    """A RUN folder or a saved model can't be written or read."""


class AuditError(Exception):
    """A frozen tensor has changed: a fault of frostline or of the network's code, never the user's."""


def docs_of(error: BaseException) -> str:
    """Return where an error is explained; what isn't ours is a bug, if it isn't a disk that is full or read-only."""
    if isinstance(error, (FrostlineError, AuditError)):
        return f"{DOCS}#{type(error).__name__.lower()}"
    if isinstance(error, KeyboardInterrupt):
        return f"{DOCS}#exit-code-130"
    if isinstance(error, OSError) and error.errno in ACCESS_ERRORS:
        return f"{DOCS}#exit-code-2"
    return f"{DOCS}#exit-code-1"


def describe(error: BaseException) -> dict[str, Any]:
    """Describe an error for a log: `class`, `message`, `hint`, `docs`, `traceback` and `causes`.

    The traceback has frostline's own lines only, `frostline/train/loop.py:120 in train`; `elsewhere` counts the others.
    """
    own, elsewhere = _own_frames(error)
    causes: list[dict[str, Any]] = []
    before = _raised_after(error)
    while before is not None and len(causes) < CAUSES:
        causes.append({"class": type(before).__name__, "message": str(before), "traceback": _own_frames(before)[0]})
        before = _raised_after(before)
    return {
        "class": type(error).__name__,
        "message": getattr(error, "message", str(error)),
        "hint": getattr(error, "hint", ""),
        "docs": docs_of(error),
        "traceback": own,
        "elsewhere": elsewhere,
        "causes": causes,
    }


def _own_frames(error: BaseException) -> tuple[list[str], int]:
    frames = traceback.extract_tb(error.__traceback__)
    own = []
    for frame in frames:
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            own.append(f"frostline/{path.relative_to(PACKAGE).as_posix()}:{frame.lineno} in {frame.name}")
    return own, len(frames) - len(own)


def _raised_after(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


@contextlib.contextmanager
def described_by(
    file: Path | str, kind: type[FrostlineError] = BundleError, hint: str = "Run frostline fit again."
) -> Iterator[None]:
    """What is built within it is described in a file; raises an error of that kind where nothing can be built from
    that."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        what = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise kind(f"{file} describes nothing that can be built ({what}).", hint) from error


@contextlib.contextmanager
def shown_from(place: Path | str) -> Iterator[None]:
    """What is shown within it is read from a record; raises BundleError where that holds what no run writes."""
    try:
        yield
    except (FrostlineError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # a record is free text to whoever edits it, so any reader may fail on it
        what = (str(error).splitlines() or [""])[0]
        raise BundleError(
            f"{place} holds something that can't be shown ({type(error).__name__}: {what}).",
            "Put back what frostline wrote. If nothing was changed there, please report this.",
        ) from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known word, or lists them all."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(names)}."
