"""House style that a machine can check: size of modules and functions, number of arguments, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "frostline"
MODULES = sorted(SOURCE.rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 50
ARGUMENTS = 6
SHORT = 6  # lines of a function that says by its name all there is to say

# Each exception has its reason.
MANY_ARGUMENTS = {
    "cli/adapt.py:adapt_verb": "a typer command declares its options as arguments",
    "cli/check.py:check_verb": "a typer command declares its options as arguments",
    "cli/curve.py:curve_verb": "a typer command declares its options as arguments",
    "cli/demo.py:demo_verb": "a typer command declares its options as arguments",
    "cli/fit.py:fit_verb": "a typer command declares its options as arguments",
    "cli/forecast.py:forecast_verb": "a typer command declares its options as arguments",
    "cli/replay.py:replay_verb": "a typer command declares its options as arguments",
    "cli/stages.py:stages_verb": "a typer command declares its options as arguments",
    "data/views.py:make_views": "a pure function: all that a view depends on stands in its signature",
    "cli/pretrain.py:pretrain_verb": "a typer command declares its options as arguments",
    "cli/rank.py:rank_verb": "a typer command declares its options as arguments",
    "cli/shift.py:shift_verb": "a typer command declares its options as arguments",
    "rerun.py:replay": "a public function spells its options out",
    "race/standing.py:standing_from": "keyword-only short hand for the Standing dataclass",
}
FIELDS_SAY_ALL = {
    "bundle/schema.py": "one class a level of result.json; docs/record.md and the schema explain the keys"
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def argument_names(function: Function) -> list[str]:
    a = function.args
    return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]


@pytest.fixture(params=MODULES, ids=[name_of(p) for p in MODULES])
def module(request: pytest.FixtureRequest) -> tuple[str, str]:
    return name_of(request.param), request.param.read_text(encoding="utf-8")


def test_modules_are_short(module: tuple[str, str]) -> None:
    name, text = module
    lines = len(text.splitlines())
    assert lines <= MODULE_LINES, f"{name} has {lines} lines"


def test_functions_are_short_and_take_few_arguments(module: tuple[str, str]) -> None:
    name, text = module
    for function in functions(ast.parse(text)):
        declared = f"{name}:{function.name}" in MANY_ARGUMENTS  # such a signature is a table, not work
        lines = (function.end_lineno or 0) - (function.body[0].lineno if declared else function.lineno) + 1
        assert lines <= FUNCTION_LINES, f"{name}:{function.name} has {lines} lines"
        if f"{name}:{function.name}" not in MANY_ARGUMENTS:
            arguments = argument_names(function)
            assert len(arguments) <= ARGUMENTS, f"{name}:{function.name} takes {len(arguments)} arguments"


def test_what_is_public_says_what_it_is_for(module: tuple[str, str]) -> None:
    name, text = module
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not tree.body, f"{name} has no docstring"
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        self_explaining = name in FIELDS_SAY_ALL if isinstance(node, ast.ClassDef) else _lines(node) <= SHORT
        assert self_explaining or ast.get_docstring(node), f"{name}:{node.name} has no docstring"


def _lines(node: Function) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_the_exceptions_still_exist() -> None:
    known = {name_of(p) for p in MODULES}
    assert {key.split(":")[0] for key in MANY_ARGUMENTS} <= known
    for key in MANY_ARGUMENTS:
        path, function = key.split(":")
        tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
        assert any(f.name == function and len(argument_names(f)) > ARGUMENTS for f in functions(tree)), key
