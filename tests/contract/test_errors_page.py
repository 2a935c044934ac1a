"""docs/errors.md explains every class of error and every exit code, and quotes what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from frostline.base import errors
from frostline.cli import problems

FROM_THE_SYSTEM = ("No space left on device", "Read-only file system")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def page(root: Path) -> str:
    return (root / errors.DOCS).read_text(encoding="utf-8")


def error_classes(root: Path) -> set[str]:
    """Every class of exception that the package defines under a public name."""
    found = set()
    for module in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            bases = [base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)]
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if any(base.endswith(("Error", "Exception")) for base in bases):
                found.add(node.name)
    return found


def test_every_class_of_error_has_a_section(root: Path, page: str) -> None:
    classes = error_classes(root)
    assert {"FrostlineError", "DataError", "AuditError"} <= classes
    assert not {name for name in classes if name.lower() not in anchors(page)}


def test_an_error_names_its_section(page: str) -> None:
    known: list[type[Exception]] = [errors.FrostlineError, errors.AuditError, *errors.FrostlineError.__subclasses__()]
    for kind in known:
        path, _, anchor = errors.docs_of(kind("Something.")).partition("#")
        assert path == errors.DOCS
        assert anchor == kind.__name__.lower()
        assert anchor in anchors(page)
    assert errors.DataError("No images.").docs == "docs/errors.md#dataerror"
    assert errors.docs_of(KeyError("x")).partition("#")[2] in anchors(page)


def test_every_exit_code_has_a_section(page: str) -> None:
    for code in (problems.DONE, problems.BUG, problems.USER_ERROR, problems.INTERRUPTED):
        assert f"exit-code-{code}" in anchors(page)


def test_what_the_page_quotes_is_what_the_code_says(root: Path, page: str) -> None:
    source = "\n".join(p.read_text(encoding="utf-8") for p in sorted((root / "src").rglob("*.py")))
    quoted = re.findall(r"^\| `([^`]{20,})`", page, re.MULTILINE)
    parts = [part.strip(" :") for sentence in quoted for part in sentence.split("...")]
    assert len(quoted) > 25
    assert not [part for part in parts if part not in source and part not in FROM_THE_SYSTEM]
