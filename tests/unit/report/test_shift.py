"""The text and the page of a diagnosis show what its record holds, and never more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from frostline.report.figures.shift import depth_tests, shift_depth_figure, shift_shares_figure
from frostline.report.shift import headline, next_command, shift_text
from frostline.report.shift_page import shift_page
from helpers.report_runs import IMAGE, NAMES_LIKE_MARKUP

PIXEL = "data:image/webp;base64,UklGRg=="


def evidence(name: str, stage: int | None, statistic: float, p: float) -> dict[str, Any]:
    stage_name = {None: None, 0: "inputs", 3: "layer3"}[stage]
    return {
        "name": name,
        "stage": stage,
        "stage_name": stage_name,
        "statistic": statistic,
        "p": p,
        "shown": p <= 0.05,
        "detail": {},
    }


def shares(method: str, *values: float) -> dict[str, Any]:
    classes = [
        {"name": f"c{k}", "source": 1 / len(values), "target": value, "interval": (value - 0.1, value + 0.1)}
        for k, value in enumerate(values)
    ]
    return {"method": method, "classes": classes}


@pytest.fixture
def record() -> dict[str, Any]:
    side = {"path": "data/photo", "found": 90, "n": 80, "labelled": 80, "sha256": "00"}
    return {
        "version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "frostline shift photo sketch",
        "situation": "covariate",
        "level": "input",
        "sentences": ["The inputs look different.", "More."],
        "cannot_see": ["Without target labels a concept shift can't be seen."],
        "remedies": [
            {"arm": "adabn", "action": "take the statistics", "reason": "it fits", "source": "Li et al. 2016"},
            {"arm": None, "action": "label some", "reason": "it helps", "source": "Ben-David et al. 2010"},
        ],
        "source": side,
        "target": {**side, "path": "data/sketch", "n": 40, "labelled": 0},
        "modality": "image",
        "copies": 3,
        "network": {"spec": "glyphs", "probabilities": "Probabilities are of heads.", "run": None},
        "evidence": [
            evidence("all-depths", None, 9.0, 0.005),
            evidence("c2st", 3, 0.6, 0.4),
            evidence("c2st", 0, 0.98, 0.005),
            evidence("outputs-c2st", None, 0.55, 0.6),
        ],
        "proportions": [shares("em", 0.3, 0.7)],
        "classes": {"source": ["c0", "c1"], "new": [], "missing": ["c1"]},
        "typical": None,
        "notes": ["A note."],
        "seed": 0,
        "settings": {"model": "glyphs", "weights": None},
        "cost": {"seconds": 3.0, "phases": [], "peak_rss_mb": 1.0},
    }


def test_the_text_has_the_answer_first(record: dict[str, Any]) -> None:
    text = shift_text(record, None, 100)
    assert text.startswith("Situation: covariate, at the input\n")
    for piece in ("The inputs look different.", "80 source images and 40 target images", "3 target samples are exact"):
        assert piece in text
    assert "Classes of the source without a target sample: c1." in text
    assert "1. adabn: take the statistics; it fits (Li et al. 2016)." in text
    assert "2. label some;" in text
    assert "0.200 - 0.400" in text
    assert "so they may be far off" in text
    assert "can't be seen" in text


def test_estimated_shares_arent_doubted_where_they_hold(record: dict[str, Any]) -> None:
    assert "far off" not in shift_text({**record, "situation": "label"}, None)
    counted = {**record, "proportions": [shares("counted", 0.3, 0.7)]}
    assert "Estimates" not in shift_text(counted, None)


def test_the_next_command_tries_what_may_help(record: dict[str, Any]) -> None:
    assert next_command(record) == "frostline fit data/photo --model glyphs --target data/sketch"
    by_run = {**record, "network": {**record["network"], "run": "runs/a b"}}
    assert next_command(by_run) == "frostline adapt data/sketch --model 'run:runs/a b'"
    assert next_command({**record, "remedies": record["remedies"][1:]}) == ""
    assert next_command({**record, "classes": {**record["classes"], "source": []}}) == ""


def test_the_depth_figure_goes_from_inputs_to_outputs(record: dict[str, Any]) -> None:
    assert [test["stage"] for test in depth_tests(record)] == [0, 3, None]
    (line,) = shift_depth_figure(record).data
    assert list(line.x) == ["inputs", "3 layer3", "outputs"]
    assert list(line.marker.symbol) == ["circle", "circle-open", "circle-open"]


def test_the_shares_of_many_classes_are_the_largest(record: dict[str, Any]) -> None:
    values = [0.02 * (k % 7) for k in range(100)]
    figure = shift_shares_figure({**record, "proportions": [shares("counted", *values)]})
    assert len(figure.data[0].y) == 30
    assert {round(float(value), 3) for value in figure.data[1].x} == {0.08, 0.1, 0.12}


def test_the_page_shows_names_and_texts_as_text(record: dict[str, Any]) -> None:
    hostile = NAMES_LIKE_MARKUP[0]
    record["target"]["path"] = f"data/{hostile}"
    record["classes"]["new"] = NAMES_LIKE_MARKUP
    cards = {
        "source": [{"id": hostile, "label": NAMES_LIKE_MARKUP[1], "image": PIXEL}],
        "target": [
            {"id": "t", "label": "", "text": hostile},
            {"id": "u", "label": "", "image": 'https://example.org/x.png" onerror="alert(1)'},
        ],
    }
    page = shift_page(record, cards)
    assert '<img src=x onerror="alert(1)">' not in page
    assert "<script>alert(2)</script>" not in page
    assert "example.org" not in page
    assert len(IMAGE.findall(page)) == 1
    assert "Most typical of the source" in page
    assert "Most typical" not in shift_page(record, {})


def test_a_page_of_nothing_tested_is_a_page(record: dict[str, Any]) -> None:
    record.update(situation="cannot-tell", level=None, evidence=[], proportions=[], cannot_see=[], remedies=[])
    page = shift_page(record, {})
    assert "Nothing was tested." in page
    assert headline(record) == "Situation: cannot-tell"
    assert json.dumps("difference by depth") not in page


def test_the_title_tells_folders_of_one_name_apart(record: dict[str, Any]) -> None:
    record["source"]["path"] = "photo/train"
    record["target"]["path"] = "sketch/train"
    assert "How sketch/train differs from photo/train" in shift_page(record, {})
