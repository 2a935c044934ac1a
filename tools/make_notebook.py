"""Runs the example notebook and stores it with its outputs.

    python tools/make_notebook.py

Edit examples/first_answer.ipynb in Jupyter or any editor, then run this. tests/e2e/test_notebook.py runs the notebook
again and compares. The kernel is this very interpreter, whatever kernels are installed; it sees none of the
user's settings of IPython, and what the notebook writes is gone afterwards.
"""

from __future__ import annotations

import hashlib
import os
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

FORMAT: Any = nbformat  # its functions have no annotations
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "first_answer.ipynb"
SECONDS = 300  # that one cell may take
KEY = "frostline"  # of the notebook's metadata
METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the interpreter that runs this."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002
        """Return the kernel, whatever its name."""
        return KernelSpec(**get_kernel_dict())


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook. Raises nbformat.ValidationError for a file that isn't one."""
    notebook: NotebookNode = FORMAT.read(path, as_version=4)
    FORMAT.validate(notebook)
    return notebook


def source_hash(notebook: NotebookNode) -> str:
    """Hash the sources of all cells, in order."""
    text = "\x1f".join(f"{cell.cell_type}\x1f{cell.source}" for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()


def executed(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as a fresh kernel runs it. Raises nbclient.exceptions.CellExecutionError where a cell fails.

    What is written meanwhile lies in a folder that is removed: temporary files, the cache, IPython's own.
    """
    made = deepcopy(notebook)
    with TemporaryDirectory() as name:
        folder = Path(name)
        manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=ThisInterpreter(),
            connection_file=str(folder / "kernel.json"),
            transport="ipc",  # sockets in that folder, no port
        )
        client = NotebookClient(made, km=manager, timeout=SECONDS, record_timing=False, coalesce_streams=True)
        own = {"TMPDIR": folder, "IPYTHONDIR": folder / "ipython", "FROSTLINE_CACHE": folder / "cache"}
        environment = {**os.environ, **{key: str(place) for key, place in own.items()}}
        client.execute(env=environment, cwd=name, cleanup_kc=True)
    made.metadata = FORMAT.from_dict({**METADATA, KEY: {"sources": source_hash(made)}})
    return made


def make(path: Path) -> None:
    """Run a notebook and write it back with its outputs."""
    FORMAT.write(executed(read_notebook(path)), path)


if __name__ == "__main__":
    make(EXAMPLE)
