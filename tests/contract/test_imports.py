"""Imports point down the layers, imports inside functions included; the contract itself stands in pyproject.toml."""

from __future__ import annotations

import tomllib
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
