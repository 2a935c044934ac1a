"""What is fuzzed: a reader of foreign bytes, how an odd input for it is made, and what it may answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any


class WrongAnswerError(Exception):
    """A reader took what it had to refuse, or answered twice in two ways."""


class TooSlowError(BaseException):
    """An input took longer than its target allows; no `except Exception` may catch it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader of foreign bytes.

    `prepare` makes valid inputs in a folder, once. `write` makes one input in an empty folder, from the valid ones and
    a random generator alone. `read` hands it to the reader and returns what was read as text, so that two readings can
    be compared; it raises WrongAnswerError for what a checksum should have refused. `seconds` and `megabytes` are what
    one input may cost.
    """

    name: str
    write: Callable[[Random, Path, Path], None]  # generator, folder of valid inputs, folder of the input
    read: Callable[[Path, Path], str]  # folder of valid inputs, folder of the input
    prepare: Callable[[Path], None] = lambda _folder: None
    seconds: float = 5.0
    megabytes: float = 500.0
    needs: str | None = None  # a package without which there is nothing to fuzz


def copy_valid(valid: Path, folder: Path) -> None:
    """Put a copy of the valid inputs into the folder of an input."""
    shutil.copytree(valid, folder, dirs_exist_ok=True, symlinks=True)


def pick_file(random: Random, folder: Path, pattern: str = "**/*") -> Path:
    """Choose one of the files below a folder."""
    return random.choice([path for path in sorted(folder.glob(pattern)) if path.is_file()])


def in_short(value: Any) -> str:
    """What was read, as text of bounded length."""
    return repr(value)[:20_000]
