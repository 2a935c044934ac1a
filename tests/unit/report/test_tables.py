"""The result as text: what a reader must find in it, and nothing that isn't so."""

from __future__ import annotations

import pytest

from frostline.bundle.schema import RunResult
from frostline.report.plot import text_table
from frostline.report.tables import result_text
from helpers.report_records import record, strategy, versus


def line(text: str, start: str) -> str:
    return next(row for row in text.splitlines() if row.startswith(start))


def test_the_made_up_record_is_a_valid_one() -> None:
    RunResult.model_validate(record())


def test_the_verdict_comes_first_and_its_row_is_marked() -> None:
    text = result_text(record())
    assert text.startswith("VERDICT  probe is the cheapest strategy.\n")
    assert line(text, "probe *").split()[2] == "0.900"


def test_rows_are_ordered_by_accuracy_and_those_without_one_come_last() -> None:
    text = result_text(record())
    names = [row.split()[0] for row in text.splitlines()[4:9]]
    assert names == ["finetune", "probe", "scratch", "freeze@2", "baseline"]


def test_a_row_tells_accuracy_interval_difference_cost_and_notes() -> None:
    text = result_text(record())
    assert "0.850 - 0.950" in line(text, "probe *")
    assert "-0.4 points, as-good" in line(text, "probe *")
    best = line(text, "finetune")
    assert "the best" in best
    assert "1,900,000" in best
    assert best.split()[-4:] == ["12", "rate", "0.0001,", "undertrained"]  # 2.4e10 / 2e9 operations
    assert line(text, "scratch").endswith("stopped after 1 block")


def test_a_strategy_that_did_not_run_says_why() -> None:
    text = result_text(record())
    assert line(text, "freeze@2").endswith("The loss is nan.")
    assert line(text, "baseline").endswith("it was not asked for")


def test_sealed_test_proof_samples_and_warnings_are_told() -> None:
    text = " ".join(result_text(record()).split())
    assert "Sealed test (val/, 50 samples, opened once): probe 0.880, 95 % interval 0.760 to 0.940." in text
    assert "1,000 of 1,000 frozen tensors are bit-identical" in text
    assert "19 of 20 trained tensors changed" in text
    assert "without gradient: fc.bias" in text
    settled = (
        "About 4,321 labelled samples would settle probe against finetune, if they differ as much as they did here."
    )
    assert settled in text
    assert "Note: 2 unreadable (a.jpg, b.jpg): left out." in text


def test_nothing_is_said_of_samples_where_the_answer_is_known() -> None:
    verdict = {**record()["verdict"], "samples_needed": None}
    assert "would settle" not in result_text(record(verdict=verdict))


def test_a_strategy_alone_shows_its_sealed_test() -> None:
    alone = strategy(
        "probe", accuracy=None, accuracy_ci=None, log_loss=None, blocks=[], test={"accuracy": 0.88, "ci": [0.76, 0.94]}
    )
    verdict = {**record()["verdict"], "best": "probe", "runner_up": None, "samples_needed": None}
    text = result_text(record(strategies=[alone], verdict=verdict))
    assert "0.880 (test)" in line(text, "probe *")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_running_text_keeps_the_width(width: int) -> None:
    rows = result_text(record(), width).splitlines()
    prose = [row for row in rows if "  " not in row.strip() and not row.startswith("-")]
    assert all(len(row) <= width for row in prose)


def test_columns_line_up_and_empty_ones_are_left_out() -> None:
    drawn = text_table(("a", "empty", "long name"), [("xyz", "", "1"), ("x", "", "22")])
    assert drawn.splitlines() == ["a    long name", "---  ---------", "xyz  1", "x    22"]


def test_a_baseline_that_beats_the_best_is_not_called_undecided() -> None:
    better = strategy("baseline", accuracy=0.97, versus_best=versus(0.07, "better"))
    text = result_text(record(strategies=[*record()["strategies"][:2], better]))
    assert "+7.0 points, better" in line(text, "baseline")


CURVE = {
    "sentence": "Doubling them brought 4.0 points.",
    "reading": "helps",
    "gain": None,
    "projection": None,
    "curves": [
        {
            "name": "probe",
            "points": [
                {"labels": 48, "blocks": 5, "accuracy": 0.9, "ci": [0.85, 0.95]},
                {"labels": 96, "blocks": 5, "accuracy": 0.94, "ci": [0.9, 0.98]},
            ],
        },
        {"name": "baseline", "points": [{"labels": 96, "blocks": 5, "accuracy": 0.5, "ci": [0.4, 0.6]}]},
        {
            "name": "freeze@2",
            "points": [
                {"labels": 24, "blocks": 2, "accuracy": 0.7, "ci": [0.5, 0.9]},
                {"labels": 96, "blocks": 5, "accuracy": 0.8, "ci": [0.7, 0.9]},
            ],
        },
    ],
}


def test_a_learning_curve_is_a_table_by_labels_and_a_sentence() -> None:
    text = result_text(record(learning_curve=CURVE))
    RunResult.model_validate(record(learning_curve=CURVE))
    header = line(text, "labels  ")
    assert header.split() == ["labels", "probe", "freeze@2"]  # the baseline has the race's own size only
    assert line(text, "24  ").split()[1:] == ["0.700", "(0.500", "-", "0.900)", "on", "2", "blocks"]
    assert line(text, "24  ").index("0.700") == header.index("freeze@2")
    assert line(text, "96  ").split()[1:5] == ["0.940", "(0.900", "-", "0.980)"]
    assert "More labels would probably help. Doubling them brought 4.0 points." in text


def test_without_a_curve_nothing_or_only_the_reason_is_said() -> None:
    assert "labels would" not in result_text(record())
    only = {**CURVE, "reading": None, "sentence": "There is no learning curve.", "curves": CURVE["curves"][1:2]}  # type: ignore[index]
    text = result_text(record(learning_curve=only))
    assert "\nThere is no learning curve.\n" in text
    assert "\nlabels" not in text
