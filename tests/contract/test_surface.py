"""What users see changes only on purpose: names, verbs, options, keys of the record."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOT_YET = ("export", "serve", "ui")  # verbs of later steps


@pytest.fixture(scope="module")
def surface() -> ModuleType:
    spec = importlib.util.spec_from_file_location("surface", Path(__file__).with_name("surface.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["surface"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def snapshot() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("surface.json").read_text(encoding="utf-8"))


def test_the_public_surface_is_the_recorded_one(surface: ModuleType, snapshot: dict[str, Any]) -> None:
    assert surface.current() == snapshot, (
        "if this is meant: python tests/contract/surface.py, and a line in CHANGELOG.md"
    )


def test_the_public_names_are_few_and_exist(snapshot: dict[str, Any]) -> None:
    import frostline

    assert len(frostline.__all__) <= 16
    for name in frostline.__all__:
        assert getattr(frostline, name) is not None


def test_verbs_of_later_steps_do_not_exist(surface: ModuleType) -> None:
    assert not set(NOT_YET) & set(surface.verbs())


def test_keys_are_found_in_lists_and_unions(surface: ModuleType) -> None:
    schema = {
        "$defs": {"A": {"properties": {"x": {"type": "number"}}}},
        "properties": {
            "many": {"items": {"$ref": "#/$defs/A"}},
            "maybe": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
        },
    }
    assert list(surface.keys(schema)) == ["many", "many[].x", "maybe", "maybe.x"]
