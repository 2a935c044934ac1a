"""What usually takes a process of its own, in this one: that saves the seconds that the imports of each take."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from frostline.cli.main import main
from frostline.planning import rehearse


def frostline(*words: object, cwd: Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a current folder of its own, and with its own cache where one is given."""
    given = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    before = os.environ["FROSTLINE_CACHE"]
    os.environ["FROSTLINE_CACHE"] = str(cache or before)
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(given)
    finally:
        os.environ["FROSTLINE_CACHE"] = before
    return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())


class _Understudy:
    """Tries a saved model at once."""

    def __init__(self, _program: str) -> None:
        self.answer: Mapping[str, Any] | None = None

    def tell(self, folder: Path, *, cwd: Path) -> None:
        with contextlib.chdir(cwd):
            self.answer = rehearse.answer(folder)

    def wait(self, _seconds: float) -> Mapping[str, Any] | None:
        return self.answer

    def end(self) -> None:
        pass


@contextlib.contextmanager
def rehearsals() -> Iterator[None]:
    """Saved models are tried in this process; tests/e2e/test_rehearsal.py is about the process that does it else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearse, "spawn", _Understudy)
        yield
