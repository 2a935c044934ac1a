"""Pages that are derived from the code equal the code; every verb and every key of the record is explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from frostline.cli.main import VERBS, app
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.literature import TERMS

RENEW = "python docs/generate.py writes it again"


def test_the_reference_of_options_equals_the_command_line(root: Path, docs_generator: ModuleType) -> None:
    assert (root / "docs" / "options.md").read_text(encoding="utf-8") == docs_generator.options_page(), RENEW


def test_the_published_schema_equals_the_record(root: Path, docs_generator: ModuleType) -> None:
    published = (root / "docs" / "schema" / "result.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == json.loads(docs_generator.schema_text()), RENEW


def test_the_python_page_equals_signatures_and_docstrings(root: Path, docs_generator: ModuleType) -> None:
    assert (root / "docs" / "api.md").read_text(encoding="utf-8") == docs_generator.api_page(), RENEW


def test_the_python_page_explains_every_public_name_and_setting(root: Path) -> None:
    import frostline
    from frostline.recipe.settings import Settings

    page = (root / "docs" / "api.md").read_text(encoding="utf-8")
    for name in frostline.__all__:
        assert name.startswith("__") or re.search(rf"^## (frostline\.)?{name}$", page, re.MULTILINE), name
    for name in Settings.__dataclass_fields__:
        assert re.search(rf"^\| `{name}` \|.*\w.* \|$", page, re.MULTILINE), name


@pytest.mark.parametrize("page", ["README.md", "docs/concepts.md", "docs/methods.md"])
def test_tables_of_vocabulary_terms_and_sources_equal_the_code(
    page: str, root: Path, docs_generator: ModuleType
) -> None:
    assert (root / page).read_text(encoding="utf-8") == docs_generator.with_blocks(page), RENEW


def test_every_page_with_tables_from_the_code_is_compared(root: Path, docs_generator: ModuleType) -> None:
    pages = [*root.glob("*.md"), *(root / "docs").glob("*.md")]
    marked = {p.relative_to(root).as_posix() for p in pages if "made by docs/generate.py -->" in p.read_text("utf-8")}
    assert marked == set(docs_generator.WITH_BLOCKS)


def test_the_tables_of_terms_leave_none_out(docs_generator: ModuleType) -> None:
    assert {*CATALOGUE, *docs_generator.OTHER_SHAPES} == set(TERMS)


def test_environment_variables_are_explained(root: Path) -> None:
    """Those that the code reads by name, and those that it sets for libraries."""
    page = (root / "docs" / "environment.md").read_text(encoding="utf-8")
    read = re.compile(r"environ(?:\.get|\.setdefault)?[(\[]\s*\"([A-Z_]+)\"|\"([A-Z_]+)\" in os\.environ")
    for module in (root / "src").rglob("*.py"):
        for match in read.finditer(module.read_text(encoding="utf-8")):
            name = match[1] or match[2]
            assert f"`{name}`" in page, f"{module.name} asks for {name}"


def test_every_verb_and_option_has_help() -> None:
    group: Any = typer.main.get_command(app)
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


def test_no_page_refers_to_one_outside_the_repository(root: Path) -> None:
    for page in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        assert not re.search(r"\bDESIGN\b|\bnotes/", page.read_text(encoding="utf-8")), page.name


def test_every_test_that_the_page_on_input_names_is_there(root: Path) -> None:
    page = (root / "docs" / "input.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)(\.py)?`", page))
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")}
    everything = "\n".join(sources.values())
    for name, ending in named:
        assert name in sources if ending else f"def {name}(" in everything, name
    assert len(named) > 50
