"""The picture for a paper: three files, names as text in the SVG, forecast and measured unlike each other."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from frostline.base.errors import BundleError
from frostline.report.figures.style import FORECAST, MEASURED
from frostline.report.paper import write_figures
from frostline.report.stored import Stored
from helpers.report_runs import altered, command, with_strategies

SVG = "{http://www.w3.org/2000/svg}"
MAGIC = {"svg": b"<?xml ", "pdf": b"%PDF-", "png": b"\x89PNG\r\n\x1a\n"}


def texts(svg: Path) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.parse(svg).iter(f"{SVG}text")]


def test_the_verb_writes_three_formats_beside_the_page(demo: Stored, tmp_path: Path) -> None:
    folder = tmp_path / "figures" / "new"
    out = tmp_path / "page.html"
    done = command("report", demo.path, "--figures", folder, "--out", out)
    files = [folder / f"depth.{kind}" for kind in MAGIC]
    assert done.out.splitlines() == [str(path) for path in (out, *files)]
    assert sorted(folder.iterdir()) == sorted(files)
    for file in files:
        assert file.read_bytes().startswith(MAGIC[file.suffix[1:]])
    again = tmp_path / "again"
    write_figures(demo.result, again)
    assert (again / "depth.svg").read_bytes() == files[0].read_bytes()


def test_the_svg_names_axes_levels_and_legend_as_text(demo: Stored, tmp_path: Path) -> None:
    svg, *_ = write_figures(demo.result, tmp_path)
    found = texts(svg)
    assert {"none", "2", "4", "all", "frozen stages", "accuracy", "forecast", "measured", "verdict"} <= set(found)
    levels = [s for s in demo.result["strategies"] if s["name"] in ("baseline", "probe@2", "scratch")]
    low = min(float(text.replace("−", "-")) for text in found if re.fullmatch(r"[−0-9.]+", text) and "." in text)
    for s in levels:
        (told,) = [text for text in found if s["name"] in text.replace("↓ ", "").split()]
        if told.startswith("↓"):
            assert told == f"↓ {s['name']} {100 * s['accuracy']:.0f} %"
            assert s["accuracy"] < low + 0.2
        else:
            assert told == s["name"]
    assert any(text.startswith("↓") for text in found)


def test_forecast_and_measured_are_drawn_unlike(demo: Stored, tmp_path: Path) -> None:
    svg, *_ = write_figures(demo.result, tmp_path)
    styles = [node.get("style", "") for node in ET.parse(svg).iter(f"{SVG}path")]
    dashed = [style for style in styles if "stroke-dasharray" in style]
    assert any(FORECAST in style for style in dashed)
    assert not any(MEASURED in style for style in dashed)
    uses = [node.get("style", "") for node in ET.parse(svg).iter(f"{SVG}use")]
    assert any(f"stroke: {MEASURED}" in style for style in uses)  # marks and the ends of their intervals
    assert not any(f"stroke: {FORECAST}" in style for style in uses)


def test_many_strategies_and_none_measured_are_drawn_too(demo: Stored, trained: Stored, tmp_path: Path) -> None:
    names = [f"my-own-recipe-{i}" for i in range(30)]
    svg, *_ = write_figures(with_strategies(demo, names).result, tmp_path / "many")
    assert all(any(name in text for text in texts(svg)) for name in names)
    alone, *_ = write_figures(trained.result, tmp_path / "alone")
    assert "frozen stages" in texts(alone)


def test_what_a_mathematical_text_would_be_is_left_as_it_is(demo: Stored, tmp_path: Path) -> None:
    made = altered(demo)
    for s in made.result["strategies"]:
        if s["name"] == "baseline":
            s["name"] = "$x^2$ & <b>"
    svg, *_ = write_figures(made.result, tmp_path)
    assert any("$x^2$ & <b>" in text for text in texts(svg))


def test_a_place_that_is_no_folder_is_refused(demo: Stored, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(BundleError, match="is a file"):
            write_figures(demo.result, folder)


def test_without_matplotlib_it_says_what_to_install(
    demo: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BundleError, match="needs matplotlib") as refused:
        write_figures(demo.result, tmp_path)
    assert refused.value.hint == "Install it: pip install 'frostline[figures]'."
    assert not list(tmp_path.iterdir())
