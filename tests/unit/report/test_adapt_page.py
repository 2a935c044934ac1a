"""adapt.html and the text of `frostline adapt`, from a record made by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from frostline.bundle.adapt_record import AdaptResult
from frostline.report.adapt import adapt_text, opened_sentence, score_rows, way_rows
from frostline.report.adapt_page import adapt_page, write_adapt_page
from frostline.report.figures.adapt import adapt_figure

HOSTILE = "<img src=x onerror=alert(1)>"


def arm(name: str, **changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": name,
        "term": "a term",
        "reason": None,
        "unsuited": None,
        "scores": {"atc": 0.7, "snd": 3.0},
        "estimated_accuracy": 0.7,
        "gain": {"difference": 0.05, "ci": [0.01, 0.09], "level": 0.975, "changed": 0.2, "shown": True},
        "votes": {"prefer": ["snd"], "against": []},
        "cross_validated": None,
        "test": {"accuracy": 0.65, "ci": [0.6, 0.7]},
        "held_out": {"accuracy": 0.95, "ci": [0.9, 0.98]},
        "steps": 0,
        "rate": None,
        "prior": None,
        "detail": {},
        "seconds": 1.0,
    }
    return {**values, **changed}


def record(**changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schema": 1,
        "version": "0",
        "created": "now",
        "command": "frostline adapt",
        "seed": 0,
        "settings": {},
        "target": {
            "path": f"data/{HOSTILE}",
            "n": 200,
            "modality": "image",
            "target_labels": "sealed",
            "chosen_by_default": True,
            "labelled": 200,
            "new_classes": [HOSTILE],
            "missing_classes": [],
            "copies": 0,
            "sha256": "0",
        },
        "source": {
            "run": "run",
            "spec": "glyphs",
            "strategy": "probe",
            "classes": ["a", "b"],
            "samples": 80,
            "held_out": 20,
            "out_of_fold": 80,
            "reason": None,
        },
        "diagnosis": {"situation": "covariate", "level": "input", "sentences": ["They differ."], "cannot_see": [],
                      "remedies": []},
        "arms": [
            arm("as-is", gain=None, votes=None, test={"accuracy": 0.6, "ci": [0.55, 0.65]}, estimated_accuracy=0.65),
            arm("adabn"),
            arm("coral", reason=f"no {HOSTILE}", scores={}, estimated_accuracy=None, gain=None, votes=None, test=None,
                held_out=None),
        ],
        "scorers": dict.fromkeys(("atc", "atc-confidence", "infomax", "snd", "dev", "ensv"), "a paper"),
        "choice": {"arm": "adabn", "rule": "label-free", "reason": f"adabn is better. {HOSTILE}", "shown": ["adabn"]},
        "opened": {"n": 200, "chosen": 0.65, "as_is": 0.6, "best": "adabn", "regret": 0.0},
        "audit": {"frozen_tensors": 3, "frozen_unchanged": 3, "moving_on_purpose": 0, "trained_tensors": 0,
                  "trained_changed": 0, "no_gradient": []},
        "cost": {"seconds": 2.0, "phases": [], "peak_rss_mb": 1.0},
        "history": [],
        "machine": {},
        "packages": {},
        "files": {},
    }  # fmt: skip
    made = AdaptResult.model_validate({**values, **changed})
    return made.model_dump(mode="json", by_alias=True)


def test_the_page_needs_nothing_from_elsewhere_and_shows_names_as_text(tmp_path: Path) -> None:
    path = write_adapt_page(record(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;img" in text
    assert not re.search(r'(src|href)="(?!#|data:)', text.split("<script>")[0])


def test_the_table_marks_the_choice_and_says_why_others_did_not_run() -> None:
    rows = way_rows(record())
    assert [row[0] for row in rows] == ["as-is", "adabn *", "coral"]
    assert rows[1][1:5] == ("0.700", "+5.0", "+1.0 to +9.0", "1 of 1 for it")
    assert rows[2][-1].startswith("no ")
    header, scores = score_rows(record())
    assert header == ("arm", "ATC", "SND")
    assert [row[0] for row in scores] == ["as-is", "adabn"]


def test_the_text_flags_estimates_and_tells_what_labels_said() -> None:
    text = adapt_text(record(), Path("runs/a"), 90)
    assert "Estimates were made without target labels." in text
    assert "adabn is right on 65.0 %, the network as it is on 60.0 %; no arm is better." in text.replace("\n", " ")
    assert "frostline predict runs/a FILES" in text
    missed = record(opened={"n": 200, "chosen": 0.6, "as_is": 0.6, "best": "adabn", "regret": 0.05},
                    choice={"arm": "as-is", "rule": "label-free", "reason": "No adaptation.", "shown": []})  # fmt: skip
    assert opened_sentence(missed).endswith("as-is is right on 60.0 %; the best arm (adabn) is 5.0 points better.")
    assert opened_sentence(record(opened=None)) == ""


def test_the_figure_has_estimates_and_opened_labels_apart() -> None:
    figure = adapt_figure(record())
    names = {trace.name: list(trace.x) for trace in figure.data}
    assert names == {"estimated without labels": [0.65, 0.7], "opened labels": [0.6, 0.65]}


@pytest.mark.parametrize("changed", [{"diagnosis": None}, {"opened": None}, {"arms": [arm("as-is", scores={},
    estimated_accuracy=None, gain=None, votes=None, test=None)], "opened": None}])  # fmt: skip
def test_a_page_is_made_of_whatever_there_is(changed: dict[str, Any]) -> None:
    choice = {"arm": "as-is", "rule": "label-free", "reason": "No adaptation: few.", "shown": []}
    assert "No adaptation: few." in adapt_page(record(choice=choice, **changed))
