"""Writes what is derived from the code: whole pages (options, Python API, schema) and tables between marks in others.

    python docs/generate.py

Tests compare all of it with the code (tests/contract/test_docs.py). How the API page is made: docs/generate_api.py.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OPTIONS_INTRO = """# Options

Made by `python docs/generate.py` from the command line itself; don't edit it by hand.

Exit codes: 0 done, 2 user error, fixable (one sentence and a hint on stderr), 1 a bug, 130 interrupted (with the
command that continues the run). Progress and tables go to stderr, results to stdout. `python -m frostline` is the same
command.
"""
# What a recipe of one's own can be beside the strategies: keys of recipe.literature.TERMS that no strategy has.
OTHER_SHAPES = {
    "probe-mlp": "`probe` with `--head mlp`",
    "surgical": "some stages trained, and not just the last ones",
    "last-layer": "the network's own head trained, all else frozen",
    "adabn": "a new head, and BatchNorm's statistics adapt",
    "multi-stage": "phases that don't go from the head downwards",
    "reinit-part": "some stages re-initialised, and not just the upper ones",
    "random-features": "random weights, some of them frozen",
    "untrained": "random weights, and nothing is trained",
}


def options_page() -> str:
    """The reference of all verbs, as Markdown."""
    import typer

    from frostline.cli.main import app

    group: Any = typer.main.get_command(app)
    parts = [OPTIONS_INTRO]
    parts += [_section(name, verb) for name, verb in group.commands.items()]
    return "\n".join(parts)


def _section(name: str, verb: Any) -> str:
    arguments = [p for p in verb.params if not _is_option(p)]
    options = [p for p in verb.params if _is_option(p)]
    needed = [f"{p.opts[0]} {p.metavar}" for p in options if p.required]
    usage = " ".join(["frostline", name, *(p.metavar for p in arguments), *needed, *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}", "", verb.help, "", "```", usage, "```", ""]
    lines += [f"- `{p.metavar}`: {p.help}" for p in arguments]
    if arguments:
        lines.append("")
    if options:
        lines += ["| option | value | default | what |", "|---|---|---|---|", *map(_option_row, options), ""]
    return "\n".join(lines)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _option_row(option: Any) -> str:
    value = (option.metavar or "").replace("|", " \\| ")
    default = f"{option.default}"
    if option.required:
        default = "needed"
    elif option.default is None or option.default is False:
        default = ""
    return f"| `{option.opts[0]}` | {value} | {default} | {option.help} |"


def schema_text() -> str:
    """The JSON schema of result.json."""
    from frostline.bundle.schema import RunResult

    return json.dumps(RunResult.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def api_page() -> str:
    """The reference of the public Python names, as Markdown."""
    spec = importlib.util.spec_from_file_location("docs_generate_api", DOCS / "generate_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page: str = module.page()
    return page


def strategies_table() -> str:
    """The vocabulary, from the catalogue."""
    from frostline.recipe.catalogue import CATALOGUE

    names = "|".join(map(re.escape, sorted(CATALOGUE, key=len, reverse=True)))

    def marked(words: str) -> str:
        """Options and names of other strategies as code."""
        words = re.sub(r"--[a-z-]+( mlp)?", r"`\g<0>`", words)
        return re.sub(rf"(?<![\w`@-])({names})(?=[\s,:;.]|$)", r"`\g<0>`", words)

    def quoted(words: str) -> str:
        return f'"{words}"' if words.endswith("?") else words

    rows = [(f"`{s.name}`", marked(s.happens), quoted(s.called)) for s in CATALOGUE.values()]
    return _table(("strategy", "what happens to the weights", "what people call it"), rows)


def terms_table() -> str:
    """What the literature calls each strategy."""
    from frostline.recipe.catalogue import CATALOGUE
    from frostline.recipe.literature import TERMS

    found = [(name, TERMS[name]) for name in CATALOGUE]
    rows = [(f"`{name}`", t.term, ", ".join(t.also_called), t.disputed) for name, t in found]
    return _table(("here", "term", "also called", "where terms disagree"), rows)


def other_terms_table() -> str:
    """What the literature calls what only a recipe of one's own, or a network with random weights, can be."""
    from frostline.recipe.literature import TERMS

    rows = [(words, TERMS[key].term, TERMS[key].disputed) for key, words in OTHER_SHAPES.items()]
    return _table(("what it does", "term", "where terms disagree"), rows)


def sources_list() -> str:
    """The literature that a record can name."""
    from frostline.recipe.literature import CITATIONS

    return "\n".join(f"- {source}" for source in sorted(CITATIONS.values()))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "strategies": strategies_table,
    "terms": terms_table,
    "other terms": other_terms_table,
    "sources": sources_list,
}
WITH_BLOCKS = {
    "README.md": ("strategies",),
    "docs/concepts.md": ("strategies", "terms", "other terms"),
    "docs/methods.md": ("sources",),
}


def with_blocks(page: str) -> str:
    """The text of a page (a key of WITH_BLOCKS) with each of its marked blocks made again. KeyError: no such mark."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in WITH_BLOCKS[page]:
        begin, end = f"<!-- {name}: made by docs/generate.py -->", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise KeyError(f"{page} has no {begin} ... {end}")
        text = f"{before}{begin}\n\n{BLOCKS[name]()}\n\n{end}{after}"
    return text


PAGES: dict[str, Callable[[], str]] = {
    "docs/options.md": options_page,
    "docs/api.md": api_page,
    "docs/schema/result.schema.json": schema_text,
}


if __name__ == "__main__":
    made = {page: make() for page, make in PAGES.items()} | {page: with_blocks(page) for page in WITH_BLOCKS}
    for page, text in made.items():
        (ROOT / page).parent.mkdir(exist_ok=True)
        (ROOT / page).write_text(text, encoding="utf-8")
