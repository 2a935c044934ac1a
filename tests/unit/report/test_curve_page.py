"""The page and the text of a curve show what its record holds, and the published curve as it was published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frostline.report import published
from frostline.report.curve import gap_rows, transfer_text
from frostline.report.curve_page import curve_page
from frostline.report.figures.curve import gaps_figure, published_figure, transfer_figure

STAGES = ("stem", "s1")


def row(arm: str, stage: int, mean: float | None, ci: tuple[float, float] | None) -> dict[str, Any]:
    name = STAGES[stage - 1] if stage else None
    return {"arm": arm, "stage": stage, "name": name, "accuracies": [], "mean": mean, "ci": ci}


@pytest.fixture
def record() -> dict[str, Any]:
    rows = [row("base", 0, 0.9, (0.88, 0.92))]
    gaps = []
    for stage in (1, 2):
        rows += [row(arm, stage, 0.9 - 0.05 * stage, (0.7, 0.95)) for arm in ("BnB", "BnB+", "AnB", "AnB+")]
        names = ("co-adaptation", "specificity", "loss", "gain", "transfer", "freezing")
        gaps += [
            {
                "name": name,
                "stage": stage,
                "stage_name": STAGES[stage - 1],
                "mean": 0.05,
                "ci": (0.01, 0.09),
                "units": 4,
            }
            for name in names
        ]
    return {
        "kind": "full",
        "model": {"spec": "glyphs", "stages": [{"index": i, "name": n} for i, n in enumerate(STAGES, 1)]},
        "data": {"path": "/where/<b>letters"},
        "rows": rows,
        "gaps": gaps,
        "splits": [{"A": ["a", "b"], "B": ["c", "d"], "kind": "disjoint"}],
        "sentences": ["Up to stage 1 no loss is shown."],
        "intervals": {"method": "t over splits", "note": "They cover this.", "of": "splits", "units": 4},
        "settings": {
            "rate": 0.01,
            "rate_rule": "given",
            "steps": 250,
            "batch_size": 32,
            "seeds": 2,
            "optimiser": "adamw",
            "schedule": "cosine",
            "weight_decay": 1e-4,
            "batchnorm": "as said",
            "augment": "none",
            "last_k": {"count": 5, "spacing": 5},
        },
        "held_out": "the sealed part",
        "failed": [],
        "cost": {"trainings": 344, "undertrained": 0},
        "audit": {"frozen_unchanged": 3840},
        "command": "frostline curve letters",
    }


def test_the_figure_holds_every_row_with_the_base_at_0(record: dict[str, Any]) -> None:
    traces = {trace.name: trace for trace in transfer_figure(record).data if trace.mode != "lines"}
    base = traces["base: all from random weights"]
    assert (list(base.x), list(base.y)) == ([0], [0.9])
    frozen = traces["AnB: other classes, frozen"]
    assert list(frozen.y) == [0.85, 0.8]
    assert [round(x) for x in frozen.x] == [1, 2]
    assert list(frozen.error_y.array) == pytest.approx([0.1, 0.15])


def test_a_row_that_failed_is_left_out_of_figure_and_text(record: dict[str, Any]) -> None:
    record["rows"][1] = row("BnB", 1, None, None)
    (own,) = [t for t in transfer_figure(record).data if t.name == "BnB: own classes, frozen"]
    assert len(own.x) == 1
    assert "1 stem  BnB " not in transfer_text(record, 100, Path("run"))
    assert "failed" in curve_page(record)


def test_gaps_are_drawn_at_their_stage(record: dict[str, Any]) -> None:
    figure = gaps_figure(record, ["specificity", "gain"])
    assert [trace.name for trace in figure.data] == ["specificity", "gain"]
    assert [round(x) for x in figure.data[0].x] == [1, 2]


def test_the_text_has_table_plot_gaps_and_what_they_rest_on(record: dict[str, Any]) -> None:
    text = transfer_text(record, 100, Path("runs/x"))
    for words in ("2 s1    AnB+  0.800", "+5.0 (+1.0 to +9.0)", "Up to stage 1 no loss", "250 steps at rate 0.01"):
        assert words in text
    assert text.endswith("Page with the figure: runs/x/curve.html\n")
    assert all(len(line) <= 140 for line in text.splitlines())


def test_the_page_names_everything_and_fetches_nothing(record: dict[str, Any]) -> None:
    page = curve_page(record)
    body = page[: page.index("<script")]
    for words in ("Up to stage 1 no loss is shown.", "Yosinski", "co-adaptation", "a, b", "the sealed part"):
        assert words in body
    assert "&lt;b&gt;letters" in body
    assert "<b>letters" not in body
    assert "http" not in body.replace("http-equiv", "")


def test_without_intervals_nothing_breaks(record: dict[str, Any]) -> None:
    for part in (*record["rows"], *record["gaps"]):
        part["ci"] = None
    assert curve_page(record)
    assert gap_rows(record)[0][1] == "+5.0"
    assert "-" in transfer_text(record, 80, Path("run"))


def test_an_applied_record_has_its_own_arms(record: dict[str, Any]) -> None:
    record["kind"] = "applied"
    record["rows"] = [r for r in record["rows"] if not r["arm"].startswith("B")]
    record["gaps"] = [g for g in record["gaps"] if g["name"] in ("loss", "gain", "freezing")]
    record["splits"] = []
    page = curve_page(record)
    assert "Stages up to n of the given network, frozen" in page
    assert "The halves of the classes" not in page
    assert "AnB: given network, frozen" in {trace.name for trace in transfer_figure(record).data}


def test_the_published_figures_are_those_of_the_notes() -> None:
    """notes/methods.md, section 1; spot values of the paper's forms."""
    assert published.BASE == 62.45
    assert published.RANDOM_HALVES["AnB"] == (62.7, 62.3, 61.8, 59.9, 57.8, 58.0, 54.2)
    assert published.RANDOM_HALVES["BnB"][4] == 59.3
    assert all(len(values) == len(published.LAYERS) for values in published.RANDOM_HALVES.values())
    names = [trace.name for trace in published_figure().data if trace.mode == "lines+markers"]
    assert len(names) == 4
    assert len(published.published_rows()) == 8


def test_plain_values_are_all_that_is_needed(record: dict[str, Any]) -> None:
    assert curve_page(json.loads(json.dumps(record))) == curve_page(record)
