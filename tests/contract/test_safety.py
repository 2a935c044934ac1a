"""Calls that could run what a file holds, found in the syntax tree: each place is listed here with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/frostline"
# Modules whose whole purpose is to make objects, or processes, of what they are given.
MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "pty", "imp", "commands")
# By the last names of the call: `os.system` is found as `system` of `os`, `torch.load` as `load` of `torch`.
CALLS = {
    ("eval",): "evaluates text",
    ("exec",): "runs text",
    ("compile",): "makes code of text",
    ("__import__",): "imports by name",
    ("os", "system"): "starts a shell",
    ("os", "popen"): "starts a shell",
    ("joblib", "load"): "unpickles",
    ("pickle", "load"): "unpickles",
    ("pickle", "loads"): "unpickles",
    ("pd", "read_pickle"): "unpickles",
    ("torch", "load"): "unpickles unless weights_only=True",
    ("jit", "load"): "runs what a scripted network says",
    ("yaml", "load"): "makes objects",
    ("np", "load"): "unpickles unless allow_pickle=False",
    ("keras", "load_model"): "runs what a model's file says",
    ("models", "load_model"): "runs what a model's file says",
    ("tempfile", "mktemp"): "names a file that another may make first",
}
METHODS = {
    "exec_module": "runs a file",
    "spec_from_file_location": "imports a file",
    "extractall": "writes where an archive says",
    "unpack_archive": "writes where an archive says",
}  # of whatever object
UNSAFE = {"weights_only": False, "allow_pickle": True, "shell": True, "trust_remote_code": True, "safe_mode": False}
# The few places, as FILE: what is found there, and why that is right.
ALLOWED = {
    ("models/torch_files.py", "import pickle"): "for the name of its error; torch.load reads",
    ("models/torch_files.py", "torch.load"): "with weights_only=True",
    ("data/unlabelled_listing.py", "np.load"): "with allow_pickle=False",
    ("models/sources/user_code.py", "compile"): "the user's own network: named on the command line, or trusted by hash",
    ("models/sources/user_code.py", "exec_module"): "the same",
}
SAFE_FORMS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(node: ast.expr) -> tuple[str, ...]:
    """Return the names of `a.b.c`; `...` stands for a beginning that is no name."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (*dotted(node.value), node.attr)
    return ("...",)


def found_in(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what the lists above name, as it is written there, with its node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((f"import {a.name}", node) for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield f"import {node.module}", node
        elif isinstance(node, ast.Call):
            names = dotted(node.func)
            yield from ((".".join(call), node) for call in CALLS if names[-len(call) :] == call and _whole(call, names))
            if names[-1] in METHODS:
                yield names[-1], node
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg in UNSAFE and isinstance(value, ast.Constant) and value.value is UNSAFE[keyword.arg]:
                    yield f"{keyword.arg}={value.value}", node


def _whole(call: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """A built-in is called by its name alone: `re.compile` and `model.eval` are others."""
    return len(call) > 1 or len(names) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import shelve as s",
        "eval(text)",
        "exec(code, {})",
        "__import__('x')",
        "os.system('x')",
        "torch.load(f)",
        "numpy_like.np.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only=False)",
        "subprocess.run(x, shell=True)",
        "yaml.load(text)",
        "archive.extractall(folder)",
        "open_archive(x).extractall(folder)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
    ],
)
def test_the_search_finds_each_kind(line: str) -> None:
    assert list(found_in(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["re.compile('x')", "model.eval()", "model(x).eval()", "json.load(f)", "run(x, shell=False)"]
)
def test_the_search_passes_over_what_only_looks_like_it(line: str) -> None:
    assert not list(found_in(ast.parse(line)))


def test_nothing_in_the_package_could_run_what_a_file_holds_but_the_listed_places() -> None:
    found = set()
    for file in files():
        name = file.relative_to(SOURCE).as_posix()
        for what, node in found_in(ast.parse(file.read_text(encoding="utf-8"))):
            found.add((name, what))
            if what in SAFE_FORMS:
                option, value = SAFE_FORMS[what]
                assert isinstance(node, ast.Call)
                given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
                assert given.get(option) is value, f"{name}: {what} without {option}={value}"
    assert found == set(ALLOWED)


def test_every_exception_of_bandit_names_its_kind_and_a_reason() -> None:
    for file in [*files(), *sorted((ROOT / "tools").rglob("*.py"))]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if "nosec" in line:
                assert re.search(r"# nosec B\d{3}  # \w.{5,}", line), f"{file}: {line}"


def test_promises_of_security_md_name_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    defined = {name for file in (ROOT / "tests").rglob("test_*.py") for name in _tests(file)}
    assert len(named) > 10
    assert set(named) <= defined, set(named) - defined


def _tests(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield file.stem
    yield from (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
