"""A run in a notebook: the answer, the picture and the table are the record's; every name is text."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from frostline.bundle.runfolder import read_result
from frostline.pipeline import Run
from frostline.report.answer import advice, sealed_words
from frostline.report.notebook import run_html, run_text
from frostline.report.paper import write_figures
from frostline.report.stored import Stored
from frostline.report.tables import strategy_cells
from helpers.report_runs import NAMES_LIKE_MARKUP, Page, altered, with_classes, with_strategies

TAGS = {"p", "strong", "bdi", "img", "div", "table", "thead", "tbody", "tr", "th", "td", "code"}
SVG = "data:image/svg+xml;base64,"


def shown(stored: Stored, path: Path | None = None) -> Page:
    """The run as a reader of HTML takes it in, once it is plain that nothing in it runs or is fetched."""
    parsed = Page(run_html(path or stored.path, stored.result))
    assert {tag for tag, _ in parsed.elements} <= TAGS
    assert {name for _, attributes in parsed.elements for name in attributes} <= {"style", "scope", "src", "alt"}
    assert all(a["src"].startswith(SVG) for a in parsed.all("img"))
    assert not parsed.open
    return parsed


def test_the_answer_and_the_table_are_the_records(demo: Stored) -> None:
    parsed = shown(demo)
    assert "".join(text for _, text in parsed.texts).startswith(
        f"{advice(demo.verdict)} ({demo.verdict['name']}): {sealed_words(demo.result)}."
    )
    header, rows = strategy_cells(demo.result)
    words = [text for _, text in parsed.texts]
    start = words.index(header[0])
    cells = [cell for line in (header, *rows) for cell in line if cell]
    assert words[start : start + len(cells)] == cells
    assert words[-2:] == ["The whole page: ", str(demo.path / "report.html")]


def test_the_picture_is_the_one_for_a_paper(demo: Stored, tmp_path: Path) -> None:
    (image,) = shown(demo).all("img")
    svg = base64.b64decode(image["src"].removeprefix(SVG))
    drawn, *_ = write_figures(demo.result, tmp_path)
    assert svg == drawn.read_bytes()
    assert not [node for node in ET.fromstring(svg).iter() if node.tag.endswith(("script", "foreignObject", "image"))]


def test_nothing_by_depth_gives_no_picture(trained: Stored) -> None:
    parsed = shown(trained)
    assert not parsed.all("img")
    assert trained.verdict["name"] in parsed.words


def test_without_matplotlib_the_rest_is_shown(demo: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    parsed = shown(demo)
    assert not parsed.all("img")
    assert parsed.all("table")


@pytest.mark.filterwarnings("ignore:Glyph")  # the picture's font has no emoji
def test_names_are_text_wherever_they_stand(demo: Stored) -> None:
    parsed = shown(with_classes(with_strategies(demo, NAMES_LIKE_MARKUP), NAMES_LIKE_MARKUP))
    texts = [text.removesuffix(" *") for tag, text in parsed.texts if tag == "bdi"]
    assert set(NAMES_LIKE_MARKUP) <= set(texts)


def test_a_path_is_text_too(demo: Stored, tmp_path: Path) -> None:
    folder = tmp_path / '<b onclick="x">&amp; \u202e'
    folder.mkdir()
    (folder / "report.html").touch()
    assert shown(demo, folder).texts[-1] == ("bdi", str(folder / "report.html"))


def test_a_run_that_was_ended_early_says_so(demo: Stored) -> None:
    assert "ended early" not in shown(demo).words
    assert "ended early" in shown(altered(demo, concluded=[])).words


def test_a_page_that_is_gone_is_not_named(demo: Stored, tmp_path: Path) -> None:
    assert "report.html" not in shown(demo, tmp_path).words


def test_a_run_is_shown_without_its_model(demo: Stored, tmp_path: Path) -> None:
    """Nothing of the folder is needed but the record, which the run holds: no weights are read."""
    run = Run(tmp_path / "gone", read_result(demo.path))
    low, high = demo.result["test"]["ci"]
    accuracy = demo.result["test"]["accuracy"]
    assert repr(run) == (
        f"<frostline.Run {demo.verdict['name']!r}, sealed accuracy {accuracy:.3f} ({low:.3f} to {high:.3f}), "
        f"in {str(tmp_path / 'gone')!r}>"
    )
    assert run._repr_html_() == run_html(tmp_path / "gone", demo.result)


def test_a_line_for_the_console_holds_no_controls(demo: Stored) -> None:
    text = run_text(Path("a\u202eb\n\x1b[31m"), demo.result)
    assert text.isprintable()
