"""Accuracy by depth: every depth with a figure has a row, and forecast and measured never look alike."""

from __future__ import annotations

from typing import Any

import pytest

from frostline.report.depth import depth_text
from frostline.report.forecast import forecast_text
from frostline.report.tables import result_text
from helpers.report_records import record, strategy

STAGES = [{"index": i, "name": f"s{i}"} for i in range(1, 6)]
MODEL = {"spec": "timm:x", "weights_sha256": "00", "parameters": 10, "class_map": None, "stages": STAGES}


def foreseen(accuracy: float, low: float, high: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "accuracy_ci": [low, high], "log_loss": 0.3}


def measured(name: str, accuracy: float, low: float, high: float, **changed: Any) -> dict[str, Any]:
    blocks = [{"index": i, "accuracy": accuracy, "log_loss": 0.3} for i in range(5)]
    return strategy(name, **{"accuracy": accuracy, "accuracy_ci": [low, high], "blocks": blocks, **changed})


def unmeasured(name: str, forecast: dict[str, Any] | None, status: str = "forecast") -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "accuracy": None,
        "accuracy_ci": None,
        "score": None,
        "score_ci": None,
        "log_loss": None,
        "blocks": [],
    }
    return strategy(name, status=status, forecast=forecast, **nothing)


def text_of(*strategies: dict[str, Any], width: int = 80) -> str:
    return depth_text(record(strategies=list(strategies), model=MODEL), width)


def plots(text: str) -> dict[str, str]:
    """Strategy -> its plot: what stands below the axis."""
    header, _, *rows = text.splitlines()
    start = header.index("0.")
    return {row.split()[0]: row[start:] for row in rows if not row.startswith(("Accuracy", " "))}


SWEEP = (
    measured("finetune", 0.9, 0.8, 1.0),
    measured("scratch", 0.2, 0.1, 0.3),
    unmeasured("freeze@2", foreseen(0.7, 0.6, 0.8)),
    measured("probe@3", 0.3, 0.2, 0.4),
    measured("freeze@4", 0.75, 0.65, 0.85, forecast=foreseen(0.95, 0.9, 1.0)),
    measured("probe", 0.7, 0.6, 0.8),
    unmeasured("freeze@1", None, status="failed"),
    unmeasured("reinit-freeze@2", None, status="skipped"),
)


def test_depths_come_from_all_stages_frozen_to_none_and_nothing_else_is_among_them() -> None:
    text = text_of(*SWEEP)
    rows = [row.split()[:2] for row in text.splitlines()[2:6]]
    assert rows == [["probe", "*"], ["freeze@4", "1-4"], ["freeze@2", "1-2"], ["finetune", "none"]]
    assert not {"scratch", "probe@3", "freeze@1", "reinit-freeze@2"} & set(plots(text))
    assert "from all stages frozen to none" in text


def test_a_mark_stands_where_its_value_lies_on_the_axis() -> None:
    text = text_of(*SWEEP)
    header = text.splitlines()[0]
    low, high = map(float, header.split()[-2:])
    assert (low, high) == (0.6, 1.0)
    columns = len(header) - header.index("0.60")
    for name, mark, value in (
        ("probe", "#", 0.7),
        ("finetune", "#", 0.9),
        ("freeze@2", "o", 0.7),
        ("freeze@4", "o", 0.95),
    ):
        share = plots(text)[name].index(mark) / (columns - 1)
        assert share == pytest.approx((value - low) / (high - low), abs=0.5 / (columns - 1))
    interval = plots(text)["finetune"]
    assert interval.index("=") / (columns - 1) == pytest.approx(0.5, abs=0.51 / (columns - 1))
    assert len(interval) == columns


def test_forecast_and_measured_never_look_alike() -> None:
    drawn = plots(text_of(*SWEEP))
    assert set(drawn["freeze@2"]) - {" "} == {"o", "-"}
    assert set(drawn["probe"]) - {" "} == set(drawn["finetune"]) - {" "} == {"#", "="}
    assert set(drawn["freeze@4"]) - {" "} == {"#", "=", "o"}  # measured with its interval, the forecast beside it
    legend = text_of(*SWEEP).partition("Accuracy by depth")[2]
    assert "# was measured on the blocks, = is its 95 % interval" in " ".join(legend.split())
    assert "o was forecast before anything was trained, - is its 95 % interval." in " ".join(legend.split())


def test_the_legend_explains_only_what_is_drawn() -> None:
    legend = text_of(measured("probe", 0.7, 0.6, 0.8), measured("finetune", 0.9, 0.8, 1.0)).partition("Accuracy")[2]
    assert "forecast" not in legend
    foreseen_only = text_of(*(unmeasured(n, foreseen(0.7, 0.6, 0.8)) for n in ("probe", "finetune")))
    assert "measured" not in foreseen_only


def test_figures_stand_beside_the_plot() -> None:
    cells = text_of(*SWEEP).splitlines()
    assert cells[0].split()[:4] == ["strategy", "frozen", "measured", "forecast"]
    assert cells[2].split()[:4] == ["probe", "*", "all", "0.700"]
    assert cells[3].split()[:4] == ["freeze@4", "1-4", "0.750", "0.950"]
    assert cells[4].split()[:3] == ["freeze@2", "1-2", "0.700"]
    assert cells[4].index("0.700") == cells[0].index("forecast")


def test_a_score_on_fewer_blocks_says_so() -> None:
    early = measured("freeze@3", 0.5, 0.4, 0.6, status="eliminated", blocks=SWEEP[0]["blocks"][:2])
    row = next(r for r in text_of(*SWEEP, early).splitlines() if r.startswith("freeze@3"))
    assert "0.500 on 2 blocks" in row


def test_a_forecast_that_was_met_shares_the_mark() -> None:
    met = measured("freeze@4", 0.7, 0.6, 0.8, forecast=foreseen(0.7, 0.6, 0.8))
    text = text_of(met, measured("probe", 0.65, 0.6, 0.8))
    assert set(plots(text)["freeze@4"]) - {" "} == {"&", "="}
    assert "& is both in one place" in " ".join(text.split())


def test_scores_that_are_all_equal_are_drawn() -> None:
    drawn = plots(text_of(measured("probe", 0.7, 0.7, 0.7), measured("finetune", 0.7, 0.7, 0.7)))
    assert set(drawn["probe"]) - {" "} == {"#"}


@pytest.mark.parametrize("strategies", [(), SWEEP[:2], (SWEEP[0], unmeasured("freeze@2", None))])
def test_fewer_than_two_depths_are_no_curve(strategies: tuple[dict[str, Any], ...]) -> None:
    assert text_of(*strategies) == ""


def test_a_record_from_before_forecasts_is_drawn() -> None:
    older = [{k: v for k, v in s.items() if k != "forecast"} for s in (SWEEP[0], SWEEP[5])]
    assert set(plots(text_of(*older))) == {"probe", "finetune"}


@pytest.mark.parametrize("width", [80, 100, 300])
def test_it_fits_and_is_plain_ascii(width: int) -> None:
    text = text_of(*SWEEP, width=width)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= width
    assert all(row == row.rstrip() for row in text.splitlines())


def test_the_result_shows_it_between_the_table_and_the_sealed_test() -> None:
    made = record(strategies=list(SWEEP), model=MODEL)
    text = result_text(made, 80)
    drawn = depth_text(made, 80)
    assert f"\n\n{drawn}\n\nSealed test" in text
    assert text.index("strategy  ") < text.index(drawn)
    alone = result_text(record(strategies=[measured("probe", 0.7, 0.6, 0.8, versus_best=None)]))
    assert "by depth" not in alone


def test_a_forecast_alone_is_drawn_with_the_same_characters() -> None:
    rows = [
        {**foreseen(0.7, 0.6, 0.8), "name": name, "trained_stages": [], "versus_probe": None, "versus_probe_ci": None}
        for name in ("probe", "finetune")
    ]
    found = {
        "strategies": rows,
        "rows": 9,
        "development": 9,
        "modality": "image",
        "blocks": 5,
        "left_out": {},
        "missing": {},
    }
    row = forecast_text(found, 80).splitlines()[2]
    assert row.endswith("-" * 16 + "o" + "-" * 16)


def test_a_depth_named_by_its_stage_is_a_depth() -> None:
    named = measured(
        "freeze@blocks.2",
        0.8,
        0.7,
        0.9,
        stages=["pretrained, frozen"] * 3 + ["pretrained, trained"] * 2 + ["new, trained"],
    )
    text = text_of(SWEEP[0], named, SWEEP[5])
    assert [row.split()[:2] for row in text.splitlines()[2:5]][1] == ["freeze@blocks.2", "1-3"]
