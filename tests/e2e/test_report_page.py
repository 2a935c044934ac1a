"""The page in a real browser, without a network: everything is drawn, named, reachable, readable and printable."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.demo import digits
from frostline.report.compare import compare_folders
from frostline.report.compare_page import compare_page
from frostline.report.page import page, write_page
from frostline.report.stored import read_stored
from helpers.report_runs import MOST, command, with_classes, with_strategies

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")

Fit = Callable[..., SimpleNamespace]
Once = Callable[[str, Callable[[Path], object]], Path]
CHROMIUM = shutil.which("chromium")
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
HOSTILE = {  # folder of a class: how its name begins where a figure has room for 18 letters
    '<img src=x onerror="window.hacked=1">': "<img src=x onerro",
    "\"two\" & 'one' $x^2$ &lt;": "\"two\" & 'one' $x^",
    "שלום \u05d0\u05d1": "שלום \u05d0\u05d1",
    "🦊 and 👩\u200d🔬": "🦊 and 👩\u200d🔬",
}
FILES = ["<script>window.hacked=2;<!--.png", "<svg onload=window.hacked=3>.png", "a&amp;b \u202egnp.png", "ünï$1$.png"]
EXCERPT = '<script>window.hacked=4</script> "who" is $x$ & <b>why</b> '

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not on this machine"),
]


FOLLOWED = """() => [...document.querySelectorAll('.plot')].every((plot) =>
  Math.abs(plot.querySelector('.main-svg').getBoundingClientRect().width - plot.clientWidth) < 2)"""


@dataclass
class Opened:
    """A page that a browser shows, and what the browser had to say about it."""

    view: Any
    file: Path
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        return self.view.evaluate(script)

    def shown(self, width: int, scheme: str = "light") -> None:
        """Show all that can be unfolded, in a window of this width."""
        self.view.set_viewport_size({"width": width, "height": 900})
        self.view.emulate_media(color_scheme=scheme)
        self.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        for _ in range(100):  # figures follow the window
            if self.run(FOLLOWED):
                return
            self.view.wait_for_timeout(100)
        raise AssertionError(f"figures don't follow a window of {width} pixels")

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.view.eval_on_selector_all(selector, "(all) => all.map((e) => e.textContent)")
        return found


def launched(started: Any) -> Any:
    """Start the browser; once more where it crashed before it showed anything, as it rarely does on a busy machine."""
    flags = [f"--{flag}" for flag in FLAGS.split()]
    try:
        return started.chromium.launch(executable_path=CHROMIUM, args=flags)
    except playwright.Error:
        return started.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = launched(started)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def show(browser: Any) -> Iterator[Callable[[Path], Opened]]:
    """Open a file in a window of its own; one that is open already is shown again."""
    size = {"width": 1280, "height": 900}
    windows: dict[Path, Any] = {}
    pages: dict[Path, Opened] = {}

    def open_file(file: Path) -> Opened:
        if file in pages:
            return pages[file]
        windows[file] = browser.new_context(viewport=size, offline=True, reduced_motion="reduce")
        opened = Opened(windows[file].new_page(), file)
        opened.view.on("console", lambda said: opened.problems.append(f"{said.type}: {said.text}"))
        opened.view.on("pageerror", lambda error: opened.problems.append(str(error)))
        opened.view.on("request", lambda request: opened.requests.append(request.url))
        opened.view.goto(file.as_uri())
        pages[file] = opened
        return opened

    yield open_file
    for window in windows.values():
        window.close()


@pytest.fixture(scope="module")
def picture_run(fit: Fit, made_once: Once) -> Path:
    """Scans of four digits, in folders and files whose names would like to be more than names."""

    def make(root: Path) -> None:
        scans = digits()
        images = np.kron(scans["image"], np.ones((4, 4), dtype=np.uint8))
        for digit, name in enumerate(HOSTILE):
            folder = root / "<b>data & more" / name
            folder.mkdir(parents=True)
            own = [i for i, label in enumerate(scans["label"]) if label == str(digit)][:20]
            for i, names in zip(own, [*FILES, *(f"{i}.png" for i in own)], strict=False):
                Image.fromarray(images[i]).save(folder / names)
        race = ("--strategies", "baseline,probe,freeze@4,finetune", "--blocks", 2, "--epochs", 1, "--threads", 1)
        done = fit(root / "<b>data & more", *race, "--out", root / "<i>run", model="glyphs", weights=None)
        assert done.code == 0, done.err

    return made_once("pictures", make) / "<i>run"


@pytest.fixture(scope="module")
def text_run(fit: Fit, made_once: Once) -> Path:
    """Sentences, some of them long and full of marks."""
    pytest.importorskip("transformers", reason="the extra `text` isn't installed")
    from cases.hf_folders import write_sentences, write_text_network

    def make(root: Path) -> None:
        root.mkdir()
        table = write_sentences(root / "plain.csv")
        with table.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        with (root / "sentences.csv").open("w", encoding="utf-8", newline="") as file:
            given = [
                [f"{EXCERPT}{text} {'the tree ' * 60 * (i % 3 == 0)}", label] for i, (text, label) in enumerate(rows)
            ]
            csv.writer(file).writerows([head, *given])
        network = write_text_network(root / "net")
        race = ("--strategies", "baseline,probe,finetune", "--blocks", 2, "--epochs", 1, "--lr", 1e-3, "--threads", 1)
        done = fit(root / "sentences.csv", *race, "--out", root / "run", model=f"hf:{network}", weights=None)
        assert done.code == 0, done.err

    return made_once("texts", make) / "run"


@pytest.fixture(scope="module", params=["demo", "picture", "text"])
def report(request: pytest.FixtureRequest, show: Callable[[Path], Opened]) -> Opened:
    """The report that `fit` wrote of each of the three runs."""
    return show(request.getfixturevalue(f"{request.param}_run") / "report.html")


MARKS = """() => [...document.querySelectorAll('.plot')].map((plot) => {
  const data = plot._fullData;
  const known = (t) => [...t.x].filter((x, i) => x !== null && t.y[i] !== null).length;
  const scatter = data.filter((t) => t.type === 'scatter' && t.visible === true);
  const marked = scatter.filter((t) => t.mode.includes('markers'));
  return {
    key: plot.dataset.figure,
    wide: plot.querySelector('.main-svg').getBoundingClientRect().width,
    points: plot.querySelectorAll('.scatterlayer .point').length,
    pointsMeant: marked.reduce((sum, t) => sum + known(t), 0),
    lines: [...plot.querySelectorAll('.scatterlayer path.js-line')].filter((line) => line.getAttribute('d')).length,
    linesMeant: scatter.filter((t) => t.mode.includes('lines') && known(t) > 1).length,
    bars: plot.querySelectorAll('.barlayer .point').length,
    barsMeant: data.filter((t) => t.type === 'bar').reduce((sum, t) => sum + t.x.length, 0),
    maps: [...plot.querySelectorAll('.heatmaplayer image')].filter((i) => i.getAttribute('width') > 10).length,
    mapsMeant: data.filter((t) => t.type === 'heatmap').length,
  };
})"""


def check_drawn(opened: Opened, *, least: int) -> None:
    """Nothing was said or fetched, and every figure shows as many marks, lines, bars and maps as it has."""
    assert opened.problems == []
    assert opened.requests == [opened.file.as_uri()]
    plots = opened.run(MARKS)
    assert len(plots) >= least
    for plot in plots:
        for what in ("points", "bars", "maps"):
            assert plot[what] == plot[f"{what}Meant"], plot
        assert plot["lines"] >= plot["linesMeant"], plot
        assert plot["points"] + plot["lines"] + plot["bars"] + plot["maps"] > 0, plot
        assert plot["wide"] > 300


def check_fits(opened: Opened) -> None:
    """A narrow and a wide window show the page without moving sideways, and no cell reaches into the next."""
    for width in (390, 1280):
        opened.shown(width)
        assert opened.run("document.documentElement.scrollWidth") <= width
        assert opened.run("[...document.querySelectorAll('th, td')].every((c) => c.scrollWidth <= c.clientWidth + 1)")


def check_accessible(opened: Opened, *windows: tuple[int, str]) -> None:
    """axe-core finds nothing serious, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core isn't installed").Axe()
    for width, scheme in windows:
        opened.shown(width, scheme)
        found = axe.run(opened.view, options={"resultTypes": ["violations"]}).response["violations"]
        told = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
        assert told == [], (width, scheme)


def test_it_opens_without_a_network_and_every_figure_is_drawn(report: Opened) -> None:
    check_drawn(report, least=6)
    assert report.file.stat().st_size <= MOST
    assert report.run("window.hacked === undefined")


def test_the_contents_lead_to_every_section(report: Opened) -> None:
    anchors = report.view.eval_on_selector_all("nav a", "(all) => all.map((a) => a.getAttribute('href'))")
    sections = report.view.eval_on_selector_all("main section", "(all) => all.map((s) => '#' + s.id)")
    assert anchors == sections
    report.shown(1280)
    report.view.click(f"nav a[href='{anchors[-1]}']")
    top = report.run(f"document.querySelector('{anchors[-1]}').getBoundingClientRect().top")
    assert -1 < top < 900  # pages scroll by whole pixels


def test_pictures_stand_in_figures_with_captions_and_tables(report: Opened) -> None:
    assert report.run(
        """[...document.querySelectorAll('main img, main .plot')].every((e) => {
          const figure = e.closest('figure');
          return figure && figure.querySelector('figcaption').textContent.trim();
        })"""
    )
    assert report.run("[...document.querySelectorAll('main img')].every((i) => i.alt && i.complete && i.naturalWidth)")
    assert report.run(
        """[...document.querySelectorAll('.plot')].every((plot) => {
          const cells = [...plot.closest('figure').querySelectorAll('tbody tr')].map((row) => row.cells.length);
          return plot.getAttribute('aria-label') && cells.length && cells.every((count) => count > 2);
        })"""
    )


def test_it_fits_a_phone_and_nothing_hinders_readers(report: Opened) -> None:
    check_fits(report)
    windows = {
        "demo": [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")],
        "<i>run": [(390, "dark")],
        "run": [(1280, "light")],
    }
    check_accessible(report, *windows[report.file.parent.name])


def test_the_methods_paragraph_is_copied_or_selected(report: Opened) -> None:
    report.view.click("button[data-copy]")
    report.view.locator("#copied:not(:empty)").wait_for()
    assert report.texts("#copied")[0].startswith(("Copied", "Selected"))
    assert report.run("getSelection().toString().trim() === '' || getSelection().toString().includes('frostline')")


def test_it_prints_on_several_pages(report: Opened) -> None:
    report.shown(1280)
    printed = report.view.pdf(format="A4")  # in the media "print"
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 2
    assert report.problems == []
    report.shown(1280)  # figures are as wide as the window again


# Names


def test_names_are_shown_as_they_are_and_run_nothing(picture_run: Path, show: Callable[[Path], Opened]) -> None:
    opened = show(picture_run / "report.html")
    check_drawn(opened, least=6)
    opened.shown(1280)
    assert opened.run("window.hacked === undefined")
    body = opened.run("document.querySelector('main').innerText")
    cells = opened.texts("#data tbody th")
    headings = opened.texts("#data h4")
    ticks = opened.texts("[data-figure=confusion] .ytick text")
    assert sorted(cells) == sorted(headings) == sorted(HOSTILE)
    for name, start in HOSTILE.items():
        assert name in body
        assert len([tick for tick in ticks if tick.startswith(start)]) == 1, ticks
    ids = opened.texts(".card .id")
    kept = {name for name in ids if name.rpartition("/")[2] in FILES}
    assert len(kept) > 2  # some of the files with such names are shown
    assert "<b>data & more" in body
    assert opened.run("document.title").startswith("<b>data & more")
    assert opened.run("document.querySelectorAll('main svg[onload], main b, main i, main script').length") == 0


def test_texts_are_shown_cut_and_run_nothing(text_run: Path, show: Callable[[Path], Opened]) -> None:
    opened = show(text_run / "report.html")
    assert opened.run("window.hacked === undefined")
    shown = opened.texts(".card blockquote")
    assert len(shown) > 12
    assert all(text.startswith(EXCERPT) for text in shown)
    assert max(map(len, shown)) == 400


def test_without_examples_no_text_is_passed_on(text_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert command("report", text_run, "--out", out, "--no-examples").code == 0
    text = out.read_text(encoding="utf-8")
    assert "window.hacked" not in text
    assert "the tree the tree" not in text


# Many


def test_many_of_everything_fit(demo_run: Path, show: Callable[[Path], Opened], tmp_path: Path) -> None:
    """30 strategies and 200 classes, with long names; the run on texts has three and two."""
    names = [f"a-recipe-whose-name-goes-on-as-far-as-a-name-may-go-on-in-here{i}" for i in range(30)]
    kinds = [f"class_number_{i}_{'of_many_that_have_long_names' * (i % 2)}" for i in range(200)]
    file = tmp_path / "page.html"
    write_page(file, page(with_classes(with_strategies(read_stored(demo_run), names), kinds)))
    assert file.stat().st_size <= MOST
    opened = show(file)
    check_drawn(opened, least=6)
    check_fits(opened)
    assert len(opened.texts(".strategies tbody tr")) == 30


# Several runs


def test_the_page_of_several_runs_keeps_the_same_promises(
    demo_run: Path, trained_run: Path, show: Callable[[Path], Opened], tmp_path: Path
) -> None:
    other = tmp_path / ("a-folder-with-a-name-that-no-telephone-can-show-in-a-line-" + "x" * 60)
    shutil.copytree(trained_run, other, ignore=shutil.ignore_patterns("model", "report.html"))
    stored, compared = compare_folders([demo_run, other])
    file = tmp_path / "compared.html"
    write_page(file, compare_page(stored, compared))
    opened = show(file)
    check_drawn(opened, least=2)
    check_fits(opened)
    check_accessible(opened, (1280, "dark"))
