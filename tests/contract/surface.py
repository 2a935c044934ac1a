"""The public surface: names, verbs, options, record keys. `python tests/contract/surface.py` renews the snapshot.

A change of tests/contract/surface.json is a change that users see: it belongs into CHANGELOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).with_name("surface.json")


def current() -> dict[str, Any]:
    """The surface of the code as it is."""
    import frostline
    from frostline.bundle.schema import RunResult

    return {
        "python": sorted(frostline.__all__),
        "verbs": verbs(),
        "result.json": sorted(keys(RunResult.model_json_schema())),
    }


def verbs() -> dict[str, list[str]]:
    """Arguments and options of every verb."""
    import typer

    from frostline.cli.main import app

    group: Any = typer.main.get_command(app)
    return {
        name: sorted(p.opts[0] if p.opts[0].startswith("-") else (p.metavar or p.name) for p in verb.params)
        for name, verb in sorted(group.commands.items())
    }


def keys(schema: dict[str, Any]) -> Iterator[str]:
    """Dotted names of all keys; `[]` is an element of a list."""
    definitions = schema.get("$defs", {})

    def walk(node: dict[str, Any], prefix: str) -> Iterator[str]:
        if "$ref" in node:
            yield from walk(definitions[node["$ref"].rsplit("/", 1)[1]], prefix)
        for choice in (*node.get("anyOf", ()), *node.get("allOf", ())):
            yield from walk(choice, prefix)
        if isinstance(node.get("items"), dict):
            yield from walk(node["items"], f"{prefix}[]")
        for name, value in node.get("properties", {}).items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from walk(value, path)

    return walk(schema, "")


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
