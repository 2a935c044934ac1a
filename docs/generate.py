"""Writes the pages that are derived from the code: docs/options.md and docs/schema/result.schema.json.

    python docs/generate.py

Tests compare both with the code (tests/contract/test_docs.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
INTRO = """# Options

Made by `python docs/generate.py` from the command line itself; don't edit it by hand.

Exit codes: 0 done, 2 you can mend it (one sentence and a hint on stderr), 1 a bug, 130 interrupted (with the command
that goes on). Progress and tables go to stderr, results to stdout. `python -m frostline` is the same command.
"""


def options_page() -> str:
    """The reference of all verbs, as Markdown."""
    import typer

    from frostline.cli.main import app

    group: Any = typer.main.get_command(app)
    parts = [INTRO]
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
        lines += ["| option | value | default | what |", "|---|---|---|---|", *map(_row, options), ""]
    return "\n".join(lines)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _row(option: Any) -> str:
    value = (option.metavar or "").replace("|", " \\| ")
    default = (
        "needed"
        if option.required
        else ""
        if option.default is None or option.default is False
        else f"{option.default}"
    )
    return f"| `{option.opts[0]}` | {value} | {default} | {option.help} |"


def schema_text() -> str:
    """The JSON schema of result.json."""
    from frostline.bundle.schema import RunResult

    return json.dumps(RunResult.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (DOCS / "options.md").write_text(options_page(), encoding="utf-8")
    (DOCS / "schema").mkdir(exist_ok=True)
    (DOCS / "schema" / "result.schema.json").write_text(schema_text(), encoding="utf-8")
