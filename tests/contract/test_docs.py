"""Pages that are derived from the code equal the code; every verb and every key of the record is explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import typer

from frostline.cli.main import VERBS, app
from frostline.recipe.catalogue import CATALOGUE

RENEW = "python docs/generate.py writes it anew"


def test_the_reference_of_options_equals_the_command_line(root: Path, docs_generator: ModuleType) -> None:
    assert (root / "docs" / "options.md").read_text(encoding="utf-8") == docs_generator.options_page(), RENEW


def test_the_published_schema_equals_the_record(root: Path, docs_generator: ModuleType) -> None:
    published = (root / "docs" / "schema" / "result.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == json.loads(docs_generator.schema_text()), RENEW


def test_every_verb_and_option_has_help() -> None:
    group = typer.main.get_command(app)
    for name in VERBS:
        verb = group.commands[name]
        assert verb.help
        for parameter in verb.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_vocabulary_explains_every_strategy(root: Path) -> None:
    page = (root / "docs" / "concepts.md").read_text(encoding="utf-8")
    for name in CATALOGUE:
        assert f"`{name}`" in page, name


def test_the_page_on_the_record_names_every_key(root: Path, docs_generator: ModuleType) -> None:
    page = (root / "docs" / "record.md").read_text(encoding="utf-8")
    schema = json.loads(docs_generator.schema_text())
    names = set(schema["properties"])
    for definition in schema.get("$defs", {}).values():
        names |= set(definition.get("properties", {}))
    missing = sorted(name for name in names if not re.search(rf"\b{re.escape(name)}\b", page))
    assert not missing


def test_links_between_the_pages_lead_somewhere(root: Path) -> None:
    for page in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
