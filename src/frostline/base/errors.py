"""Errors that a user can fix: one sentence (what was found, where, what was expected) and a hint (what to type)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FrostlineError(Exception):
    """Base of every error that the user can fix; the command line prints it and exits with 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


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


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known word, or lists them all."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(names)}."
