"""Imports point down the layers, imports inside functions included; the contract itself stands in pyproject.toml.

Tests and benchmarks don't import each other, and what both share imports neither.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports


def test_imports_point_down_the_layers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True) == 0


def test_every_layer_of_the_package_is_in_the_contract(root: Path) -> None:
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(c for c in config["contracts"] if c["type"] == "layers")["layers"]
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    source = root / "src" / "frostline"
    there = {p.stem for p in source.glob("*.py") if p.stem != "__init__"}
    there |= {p.parent.name for p in source.glob("*/__init__.py")}
    assert there <= named


FOREIGN = {
    "tests": {"benchmarks"},
    "cases": {"benchmarks", "tests", "helpers"},
    "benchmarks": {"tests", "helpers"},
    "src": {"benchmarks", "tests", "helpers", "cases"},
}


def imported(file: Path) -> Iterator[str]:
    """The first part of what a file imports by its full name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def scripts(root: Path, folder: str) -> list[Path]:
    """The Python files of a folder, without environments that lie in it."""
    return [file for file in sorted((root / folder).rglob("*.py")) if file.relative_to(root).parts[1][0] != "."]


@pytest.mark.parametrize("folder", FOREIGN)
def test_tests_and_benchmarks_do_without_each_other(root: Path, folder: str) -> None:
    foreign = FOREIGN[folder] | {file.stem for other in FOREIGN[folder] for file in (root / other).glob("*.py")}
    imports = {file: set(imported(file)) for file in scripts(root, folder)}
    assert imports
    assert {str(file.relative_to(root)): names & foreign for file, names in imports.items() if names & foreign} == {}


def test_no_test_changes_where_modules_are_looked_for(root: Path) -> None:
    changes = ("sys.path.insert", "sys.path.append", "sys.path[")
    texts = {file: file.read_text(encoding="utf-8") for file in scripts(root, "tests") if file != Path(__file__)}
    assert texts
    assert [file.name for file, text in texts.items() if any(words in text for words in changes)] == []


def test_unit_tests_lie_in_the_folders_of_src_and_do_not_repeat_their_names(root: Path) -> None:
    files = [file for file in scripts(root, "tests/unit") if file.stem.startswith("test_")]
    assert files
    assert {file.parent.name for file in files} <= {room.stem for room in (root / "src" / "frostline").iterdir()}
    assert [file.name for file in files if file.stem.startswith(f"test_{file.parent.name}_")] == []
