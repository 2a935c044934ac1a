"""The example notebook: stored as its sources give it, harmless to open, and it still runs to the same answer."""

from __future__ import annotations

import importlib
import json
import re
import sys
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest

MOST = 1_000_000  # bytes of the file
PLACES = re.compile(r"(?<![\w.])/(tmp|home|root|work|usr|var|opt|private|Users)/|[A-Z]:\\\\")
# Equal runs on one machine are equal bit for bit, but another processor's kernels round differently. AVX2 in place of
# AVX-512 changed no figure of this notebook; SSE alone moved the sealed accuracy by 0.002 and `scratch`, whose training
# from random weights is the least stable, by 0.075.
SEALED, PRETRAINED, SCRATCH = 0.01, 0.02, 0.15  # so much may accuracies differ; 0.02 are 2 of 100 labelled scans


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The tool that stores the notebook."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} isn't installed (the extra dev has it)")
    return importlib.import_module("tools.make_notebook")


@pytest.fixture(scope="module")
def stored(maker: ModuleType) -> Any:
    return maker.read_notebook(maker.EXAMPLE)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output(notebook: Any, cell: str, kind: str) -> str:
    """The one output of a cell with data of this kind."""
    (found,) = [o for c in notebook.cells if c.id == cell for o in c.outputs if kind in o.get("data", {})]
    return str(found.data[kind])


def accuracies(notebook: Any) -> dict[str, float]:
    """Accuracy by strategy, from the table as it is shown; the verdict's name has a star."""
    rows = re.findall(r"<tr><th[^>]*><bdi>([^<]*)</bdi></th><td[^>]*><bdi>([0-9.]+)</bdi>", table_of(notebook))
    return {name: float(accuracy) for name, accuracy in rows}


def table_of(notebook: Any) -> str:
    return output(notebook, "run", "text/html")


def sealed_accuracy(notebook: Any) -> float:
    (found,) = re.findall(r"sealed accuracy ([0-9.]+)", output(notebook, "run", "text/plain"))
    return float(found)


def verdict(notebook: Any) -> str:
    (name,) = [name for name in accuracies(notebook) if name.endswith(" *")]
    return name.removesuffix(" *")


def test_the_outputs_were_made_from_these_sources(maker: ModuleType, stored: Any) -> None:
    remedy = "python tools/make_notebook.py stores it again"
    assert stored.metadata[maker.KEY]["sources"] == maker.source_hash(stored), remedy
    assert [cell.execution_count for cell in code_cells(stored)] == list(range(1, len(code_cells(stored)) + 1)), remedy
    assert not [o for cell in code_cells(stored) for o in cell.outputs if o.output_type == "error"]


def test_a_changed_source_is_noticed(maker: ModuleType, stored: Any) -> None:
    before = maker.source_hash(stored)
    changed = maker.read_notebook(maker.EXAMPLE)
    code_cells(changed)[-1].source += "\n"
    assert maker.source_hash(changed) != before


def test_the_stored_file_is_small_and_tells_nothing_of_the_machine(maker: ModuleType, stored: Any) -> None:
    assert maker.EXAMPLE.stat().st_size < MOST
    told = json.dumps([cell.outputs for cell in code_cells(stored)] + [stored.metadata], ensure_ascii=False)
    assert not PLACES.search(told)
    assert "<script" not in told
    assert "http" not in told
    assert not re.search(r"\d (s|ms|seconds|minutes)\b", told)
    assert "execution" not in {key for cell in stored.cells for key in cell.metadata}


def test_its_links_lead_somewhere(maker: ModuleType, stored: Any) -> None:
    text = "\n".join(cell.source for cell in stored.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(targets) >= 5
    for target in targets:
        assert (maker.EXAMPLE.parent / target).exists(), target


def test_the_kernel_is_this_interpreter_and_a_cell_that_fails_is_told(maker: ModuleType) -> None:
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    sources = (f"import sys\nassert sys.executable == {sys.executable!r}", "1 / 0")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        maker.executed(new_notebook(cells=[new_code_cell(source) for source in sources]))


@pytest.mark.slow
def test_it_runs_to_the_answer_that_is_stored(maker: ModuleType, stored: Any) -> None:
    made = maker.executed(without_outputs(stored))
    assert verdict(made) == verdict(stored)
    assert sealed_accuracy(made) == pytest.approx(sealed_accuracy(stored), abs=SEALED)
    before, now = accuracies(stored), accuracies(made)
    assert len(before) >= 4
    assert set(now) == set(before)
    for name, accuracy in before.items():
        assert now[name] == pytest.approx(accuracy, abs=SCRATCH if name == "scratch" else PRETRAINED), name
    for old, new in zip(code_cells(stored), code_cells(made), strict=True):
        assert [kinds(o) for o in new.outputs] == [kinds(o) for o in old.outputs], old.id
    assert re.findall(r"<th scope=.col[^<]*", table_of(made)) == re.findall(r"<th scope=.col[^<]*", table_of(stored))


def without_outputs(notebook: Any) -> Any:
    """The notebook as it was written, so that nothing stored can pass for a new output."""
    bare = deepcopy(notebook)
    for cell in code_cells(bare):
        cell.outputs = []
    return bare


def kinds(shown: Any) -> tuple[str, ...]:
    """What sort of output this is, and the forms that it is stored in."""
    return (shown.output_type, *sorted(shown.get("data", ())))
