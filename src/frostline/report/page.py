"""report.html: one self-contained page that answers "should I freeze?", made from a RUN folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.base.errors import BundleError
from frostline.base.files import write_atomic
from frostline.base.version import VERSION
from frostline.report.answer import (
    advice,
    facts,
    glossary,
    sealed_words,
    short_data_name,
    short_model_name,
    should_freeze,
)
from frostline.report.elsewhere_panels import elsewhere_panels
from frostline.report.gallery import class_rows, doubt_cards, example_cards, mistake_cards
from frostline.report.lines import doubt_lines, meaning_lines
from frostline.report.panels import Panel, panels
from frostline.report.stored import Stored
from frostline.report.tables import strategy_cells

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Environment

FILE = "report.html"


def write_report(stored: Stored, out: Path | None = None, *, examples: bool = True) -> Path:
    """Write the page of a finished run, by default RUN/report.html, and return its path.

    `examples=False` leaves out the user's own images and texts, for a page that may be passed on. Raises BundleError
    where `out` can't be written.
    """
    path = out or stored.path / FILE
    write_page(path, page(stored, examples=examples))
    return path


def write_page(path: Path, text: str) -> None:
    """Write a page. Raises BundleError where the path is a folder, or lies in one that isn't there."""
    if path.is_dir():
        raise BundleError(f"--out {path} is a folder.", "Give a file, as in --out page.html.")
    if not path.parent.is_dir():
        raise BundleError(f"--out {path}: there is no folder {path.parent}.", "Make it, or give another file.")
    write_atomic(path, text.encode())


def page(stored: Stored, *, examples: bool = True) -> str:
    """Return the page as HTML: no address in it is fetched, and every name is shown as text."""
    shown = [*panels(stored), *elsewhere_panels(stored)]
    return render(
        "report.html.j2", shown, _contents(shown), **_page_values(stored), **_sample_cards(stored, examples=examples)
    )


def render(template: str, shown: Sequence[Panel], contents: Sequence[tuple[str, str]], **values: Any) -> str:
    """Fill in a template of this folder: `shown` are its sections with figures, `contents` its anchors."""
    figures = {figure.key: _drawn(figure.figure) for panel in shown for figure in panel.shown}
    made = environment().get_template(template)
    return made.render(panels=shown, figures=figures, contents=contents, version=VERSION, **values)


def _page_values(stored: Stored) -> dict[str, Any]:
    result = stored.result
    header, rows = strategy_cells(result)
    return {
        "result": result,
        "title": f"{short_data_name(result)}: should I freeze?",
        "names": {"model": short_model_name(result), "data": short_data_name(result)},
        "freeze": should_freeze(stored.verdict),
        "advice": advice(stored.verdict),
        "sealed": sealed_words(result),
        "facts": facts(result),
        "all_strategies": {"header": header, "rows": rows},
        "phases": [(p["name"], f"{p['seconds']:.1f}") for p in result["cost"]["phases"]],
        "meanings": [line.strip().partition(": ")[::2] for line in meaning_lines(result)],
        "doubts": doubt_lines(result["doubts"]),
        "glossary": glossary(result),
        "classes": class_rows(stored),
    }


def _sample_cards(stored: Stored, *, examples: bool) -> dict[str, Any]:
    """Return the cards with the user's own images and texts; none where they are to be left out."""
    if not examples:
        return {"mistakes": [], "doubted": [], "shown_classes": [], "without_examples": True}
    return {
        "mistakes": mistake_cards(stored),
        "doubted": doubt_cards(stored),
        "shown_classes": example_cards(stored),
        "without_examples": False,
    }


def _contents(shown: list[Panel]) -> list[tuple[str, str]]:
    return [
        ("answer", "The answer"),
        *((panel.id, panel.title) for panel in shown),
        ("doubts", "Doubts about the data"),
        ("data", "What was understood of the data"),
        ("methods", "Methods paragraph"),
        ("glossary", "The words, explained"),
        ("record", "How this was made"),
    ]


def _drawn(figure: go.Figure) -> str:
    """Return a figure as JSON that is safe within a script element."""
    text = str(figure.to_json())
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def environment() -> Environment:
    """Return the templates of this folder; everything that is filled in is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def as_it_is(text: str) -> Markup:
        return Markup(text)  # nosec B704  # files of this package and of plotly's, never what a user or a run gives

    made = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["asset"] = lambda name: as_it_is(_asset(name))
    made.globals["plotly_script"] = lambda: as_it_is(_plotly_script())
    made.filters["verbatim"] = Markup  # for JSON that is script-safe already
    return made


def _asset(name: str) -> str:
    return (resources.files("frostline.report") / "assets" / name).read_text(encoding="utf-8")


def _plotly_script() -> str:
    """Return plotly.js as the installed package holds it; nothing is downloaded."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")
