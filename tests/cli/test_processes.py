"""The installed command in processes of its own."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "pyarrow", "numpy", "pydantic")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, frostline.cli.main; print([m for m in {HEAVY} if m in sys.modules])"
    done = python("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_python_m_frostline_is_the_same_command() -> None:
    done = python("-m", "frostline", "fti")
    assert done.returncode == 2
    assert done.stderr == "error: frostline has no verb 'fti'.\n  Did you mean fit?\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m frostline strategies | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
