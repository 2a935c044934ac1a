"""The page docs/api.md: signatures, docstrings and fields of the public names, read from the code as it is imported.

Classes that public functions return are found by their annotations, so the page follows them when modules move.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTRO = """# Python

Made by `python docs/generate.py` from signatures and docstrings; don't edit it by hand.

The names below are all that frostline promises to keep: `from frostline import NAME`. Everything else may move. Each
verb of the [command line](options.md) is a thin call of one of them. Importing frostline is cheap; torch and the rest
are imported when a name is first used.

```python
import torch
from torch import nn

import frostline

network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()
images = torch.rand(2, 3, 8, 8)
for stage in frostline.stages(network, images):
    print(stage.index, stage.name, stage.parameters, stage.output_shape, stage.cuttable)
cut = frostline.split(network, images, at=1)
assert torch.equal(cut.suffix(cut.prefix(images)), network(images))
```

The [README](../README.md) has `fit` and `load`, [the page on the estimator](estimator.md) `TransferClassifier` and all
forms of data in memory, [the page on cuts](cuts.md) `stages` and `split`.

What you can fix yourself raises a subclass of `frostline.base.errors.FrostlineError`: `message` says what was found and
what was expected, `hint` what to do next. The library prints nothing. Give `emit=` a function to hear its events, each
with `kind`, `text` and `data`.
"""
SETTINGS_INTRO = """## Settings

Keywords of `fit`, and parameters of `TransferClassifier`. Each is also an option of `frostline fit`, whose words are
these. Plain values will do: text for a path, one comma-separated string for several names, one number for `mean` and
`std`, `"10m"` for a `budget`. `None` leaves the choice to a written rule.
"""
ORDER = ("fit", "Run", "load", "Bundle", "replay", "stages", "split", "TransferClassifier")  # then what else is public
INNER = ("Bundle",)  # classes whose fields are how they are built, not what they are used by
SPECIAL = ("data", "model")  # settings that functions take by position and explain themselves
LINKS = {"RunResult": "record.md", "Change": "replay.md", "Differences": "replay.md"}  # told on a page of their own
WIDTH = 120  # columns of prose
LONG = 12  # parameters; from here on a signature is no line any more


def page() -> str:
    """The whole page."""
    import frostline

    public = [name for name in frostline.__all__ if not name.startswith("__")]
    names = sorted(public, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    objects = {name: getattr(frostline, name) for name in names}
    parts = [INTRO]
    for name, value in objects.items():
        parts.append(_class(name, value) if inspect.isclass(value) else _function(f"frostline.{name}", value, "##"))
        for extra in _returned(value):
            if extra.__name__ not in objects:
                parts.append(_class(extra.__name__, extra))
    parts.append(_settings())
    return "\n".join(parts)


def _returned(value: Any) -> list[type]:
    """Classes of frostline that a public function returns, alone or in a tuple."""
    if inspect.isclass(value):
        return []
    hint = typing.get_type_hints(value)["return"]
    found = [hint, *typing.get_args(hint)]
    return [t for t in found if inspect.isclass(t) and t.__module__.startswith("frostline.")]


# --- functions and classes


def _function(title: str, function: Any, heading: str) -> str:
    doc = _sections(function)
    parameters = [p for p in _signature(function).parameters.values() if p.name not in ("self", "cls")]
    lines = [f"{heading} {title}", "", "```text", _call(title, parameters), "```", "", doc.pop("", ""), ""]
    lines += _parameters(parameters, doc.pop("Args", ""), function)
    for name, text in doc.items():
        lines += [*_named(name, text), ""]
    return "\n".join(lines)


def _class(name: str, cls: type) -> str:
    doc = _sections(cls)
    arguments = doc.pop("Args", "")  # settings, which have a table of their own
    lines = [f"## {name}", ""]
    if name == "TransferClassifier":
        parameters = [p for p in _signature(cls).parameters.values() if p.name != "self"]
        lines += ["```text", _call(f"frostline.{name}", parameters), "```", ""]
    lines += [doc.pop("", ""), ""]
    if arguments:
        lines += [*_named("Parameters", arguments), ""]
    for title, text in doc.items():
        lines += [*_named(title, text), ""]
    lines += _fields(cls) if dataclasses.is_dataclass(cls) and name not in INNER else []
    for member, value in vars(cls).items():
        if isinstance(value, property) and not member.startswith("_"):
            words = _one_line(inspect.getdoc(value) or "")
            lines += [f"- `{member}`: {_type(_hints(value.fget).get('return'))}{f'. {words}' if words else ''}"]
    if lines[-1]:
        lines.append("")
    for member, value in vars(cls).items():
        if inspect.isfunction(value) and not member.startswith("_"):
            lines.append(_function(f"{name}.{member}", value, "###"))
    return "\n".join(lines)


def _call(title: str, parameters: list[inspect.Parameter]) -> str:
    """The call as one writes it: names and defaults; settings are told in one word."""
    settings = {f.name for f in dataclasses.fields(_settings_class())} - {*SPECIAL}
    shortened = sum(p.name in settings for p in parameters) > LONG
    found: list[str] = []
    for p in parameters:
        if shortened and p.name in settings:
            continue
        if p.kind is p.KEYWORD_ONLY and not any(x.startswith("*") for x in found):
            found.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        found.append(f"{star}{p.name}{'' if p.default is p.empty else f'={_default(p.default)}'}")
    return f"{title}({', '.join([*found, *(['**settings'] if shortened else [])])})"


def _parameters(parameters: list[inspect.Parameter], words: str, function: Any) -> list[str]:
    """A table of those that have a description; settings have a table of their own."""
    told, types_ = _entries(words), _hints(function)
    rows = []
    for p in parameters:
        text = told.get(p.name)
        if text is None:
            continue
        kind = _type(types_.get(p.name, p.annotation))
        default = "needed" if p.default is p.empty else f"`{_default(p.default)}`"
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            default = ""
        rows.append(f"| `{p.name}` | {kind} | {default} | {text} |".replace("|  |", "| |"))
    return ["| parameter | type | default | what |", "|---|---|---|---|", *rows, ""] if rows else []


def _fields(cls: Any) -> list[str]:
    comments, hints = _comments(cls), _hints(cls)
    found = [f for f in dataclasses.fields(cls) if not f.name.startswith("_")]
    rows = [f"| `{f.name}` | {_type(hints.get(f.name, f.type))} | {comments.get(f.name, '')} |" for f in found]
    return ["| field | type | what |", "|---|---|---|", *(row.replace("|  |", "| |") for row in rows), ""]


def _settings() -> str:
    """Every setting, in the words of the command line where it is an option, else of the comment beside the field."""
    cls = _settings_class()
    hints, comments, helps = _hints(cls), _comments(cls), _option_words()
    lines = [SETTINGS_INTRO, "| setting | type | default | what |", "|---|---|---|---|"]
    for f in dataclasses.fields(cls):
        if f.name in SPECIAL:
            continue
        value = f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]
        what = helps.get(f.name) or comments.get(f.name, "")
        lines.append(f"| `{f.name}` | {_type(hints[f.name])} | `{_default(value)}` | {what} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _settings_class() -> Any:
    from frostline.recipe.settings import Settings

    return Settings


def _option_words() -> dict[str, str]:
    import typer

    from frostline.cli.main import app

    group: Any = typer.main.get_command(app)
    return {p.name: p.help.replace("|", "\\|") for p in group.commands["fit"].params if p.help}


# --- what Python knows of them


def _signature(function: Any) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # a name that is imported for type checkers only
        return inspect.signature(function)


def _hints(value: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(value)
    except (NameError, TypeError):
        return {}


def _comments(cls: Any) -> dict[str, str]:
    """What stands as a comment behind each field of a dataclass."""
    found = re.findall(r"^    (\w+): [^#\n]*?  # (.+)$", inspect.getsource(cls), re.MULTILINE)
    return {name: text.replace("|", "\\|") for name, text in found}


def _default(value: Any) -> str:
    """As one would type it: a function's name without its address, a path as text."""
    if inspect.isroutine(value):
        return value.__name__
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _type(hint: Any) -> str:
    """An annotation in words of the page: `int | None`, 'linear' or 'mlp'."""
    if hint in (None, inspect.Parameter.empty, Any):
        return "any" if hint is Any else ""
    if hint is type(None):
        return "None"
    if isinstance(hint, str):
        return f"`{hint}`".replace("|", "\\|")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{word!r}`" for word in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(x) for x in arguments)
    if origin in (tuple, list, collections.abc.Sequence, collections.abc.Iterable) and arguments:
        inside = [x for x in arguments if x is not ...]
        return f"{origin.__name__.lower()} of {', '.join(_type(x) for x in inside)}"
    if origin in (dict, collections.abc.Mapping):
        return "mapping"
    if origin is collections.abc.Callable:
        return "function"
    name = getattr(origin or hint, "__name__", str(hint)).replace("ndarray", "array")
    if name in LINKS:
        return f"[`{name}`]({LINKS[name]})"
    return "any" if name == "Any" else f"`{name}`"


# --- docstrings


def _sections(value: Any) -> dict[str, str]:
    """A docstring by its headings (Args, Returns, Raises, Attributes); what stands before and after them under ''."""
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for line in (inspect.getdoc(value) or "").splitlines():
        if match := re.fullmatch(r"(Args|Returns|Raises|Attributes):", line):
            heading = match[1]
            found[heading] = []
            continue
        if heading and line and not line.startswith(" "):
            heading = ""
        found[heading].append(line)
    return {name: _markdown("\n".join(lines)) for name, lines in found.items() if "".join(lines).strip()}


def _markdown(text: str) -> str:
    """Roles of the documentation tools as code; the path of a module is left out, since modules may move."""
    text = re.sub(r":(?:class|meth|func|attr|mod):`~?([\w.]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)
    return re.sub(r"\n{3,}", "\n\n", textwrap.dedent(text)).strip()


def _entries(text: str) -> dict[str, str]:
    """`name: words` or `one, two: words`, each with what follows it further in."""
    found: dict[str, str] = {}
    for match in re.finditer(r"^(\w[\w, ]*): (.*(?:\n[ ]+.*)*)", text, re.MULTILINE):
        for name in match[1].split(", "):
            found[name] = _one_line(match[2]).replace("|", "\\|")
    return found


def _named(title: str, text: str) -> Iterator[str]:
    """A heading's entries as a list, or its plain words."""
    entries = _entries(text)
    if not entries:
        yield f"**{title}.** {_one_line(text)}"
        return
    yield f"**{title}**"
    yield ""
    for name, words in entries.items():
        entry = f"- `{name}`: {words}"
        yield textwrap.fill(entry, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
