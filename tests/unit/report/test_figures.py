"""The figures: what is drawn are the record's numbers, and forecast and measured never look alike."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from frostline.models.sources.glyphs_source import WEIGHTS
from frostline.report import figures
from frostline.report.figures.depth import spread_out
from frostline.report.figures.runs import runs_depth_figure, runs_sealed_figure
from frostline.report.figures.stages import stage_changes
from frostline.report.figures.style import FATES, safe
from frostline.report.stored import Stored
from helpers.report_runs import altered, with_classes, with_strategies

FROZEN = {"finetune": 0, "freeze@2": 2, "freeze@4": 4, "probe": 5}  # of the five stages of glyphs
UNSURE = pytest.approx  # error bars are differences of what is stored


def named(figure: go.Figure, start: str) -> Any:
    """The one trace whose name begins so."""
    (found,) = [trace for trace in figure.data if (trace.name or "").startswith(start)]
    return found


def entries(stored: Stored) -> dict[str, dict[str, Any]]:
    return {s["name"]: s for s in stored.result["strategies"]}


def intervals(values: Sequence[float], bars: Any) -> list[list[float]]:
    """The ends of plotly's error bars."""
    return [[v - below, v + above] for v, below, above in zip(values, bars.arrayminus, bars.array, strict=True)]


def look(trace: Any) -> tuple[str, Any, Any]:
    return trace.mode, trace.marker.symbol, trace.marker.color


# Accuracy against depth


def test_the_forecast_is_a_line_through_the_records_forecasts(demo: Stored) -> None:
    figure = figures.depth_figure(demo.result)
    line = named(figure, "forecast")
    known = {name: entries(demo)[name]["forecast"] for name in sorted(FROZEN, key=lambda name: FROZEN[name])}
    assert list(line.x) == [FROZEN[name] for name in known]
    assert list(line.y) == [forecast["accuracy"] for forecast in known.values()]
    assert [list(row) for row in line.customdata] == [[name, *f["accuracy_ci"]] for name, f in known.items()]
    band = named(figure, "95 % interval of the forecast")
    low, high = zip(*(forecast["accuracy_ci"] for forecast in known.values()), strict=True)
    assert list(band.x) == [0, 2, 4, 5, 5, 4, 2, 0]
    assert list(band.y) == [*high, *reversed(low)]


def test_measured_depths_are_marks_with_the_records_intervals(demo: Stored) -> None:
    marks = named(figures.depth_figure(demo.result), "measured")
    names = [row[0] for row in marks.customdata]
    assert list(marks.x) == [FROZEN[name] for name in names]
    assert set(names) == set(FROZEN)
    assert list(marks.y) == [entries(demo)[name]["accuracy"] for name in names]
    drawn = intervals(marks.y, marks.error_y)
    assert drawn == [UNSURE(entries(demo)[name]["accuracy_ci"]) for name in names]


def test_what_was_measured_on_fewer_blocks_is_drawn_open(demo: Stored) -> None:
    made = altered(demo)
    entries(made)["freeze@4"].update(status="eliminated")
    figure = figures.depth_figure(made.result)
    partly = named(figure, "measured on fewer blocks")
    assert list(partly.x) == [4]
    assert partly.marker.symbol == "circle-open"
    assert 4 not in named(figure, "measured (").x


def test_strategies_that_are_no_depth_are_levels_with_their_names(demo: Stored) -> None:
    figure = figures.depth_figure(demo.result)
    levels = {trace.customdata[0][0]: trace for trace in figure.data if trace.name == "other strategies"}
    assert set(levels) == {"baseline", "probe@2", "scratch"}
    texts = {note.y: note.text for note in figure.layout.annotations}
    low = figure.layout.yaxis.range[0]
    for name, trace in levels.items():
        accuracy = entries(demo)[name]["accuracy"]
        text = texts[trace.y[2]]
        assert name in text
        assert ("*" in text) == (entries(demo)[name]["status"] == "eliminated")
        if accuracy >= low:
            assert list(trace.y[:2]) == [accuracy] * 2
        else:  # far below: named at the edge, with the figure in words
            assert list(trace.y[:2]) == [None] * 2
            assert text.startswith("↓")
            assert text.endswith(f"{accuracy:.0%}")
    assert any(entries(demo)[name]["accuracy"] < low for name in levels)
    assert any(entries(demo)[name]["accuracy"] >= low for name in levels)


def test_the_verdict_is_ringed_and_its_sealed_test_is_beside_it(demo: Stored) -> None:
    verdict = demo.verdict
    figure = figures.depth_figure(demo.result)
    ring = named(figure, "verdict")
    sealed = named(figure, "its sealed test")
    assert (ring.x, ring.y) == ((FROZEN[verdict["name"]],), (verdict["accuracy"],))
    assert (sealed.x, sealed.y) == (ring.x, (demo.result["test"]["accuracy"],))
    assert list(sealed.customdata[0]) == demo.result["test"]["ci"]


@pytest.mark.parametrize("draw", [figures.depth_figure, figures.cost_figure])
def test_forecast_and_measured_differ_in_mark_and_colour(demo: Stored, draw: Any) -> None:
    figure = draw(forecast_only(demo, "finetune").result)
    _, *forecast = look(named(figure, "forecast"))
    _, *measured = look(named(figure, "measured"))
    assert all(one != two for one, two in zip(forecast, measured, strict=True))


def test_the_line_of_the_forecast_is_dashed_and_measured_depths_have_none(demo: Stored) -> None:
    figure = figures.depth_figure(demo.result)
    assert named(figure, "forecast").line.dash == "dash"
    assert named(figure, "measured").mode == "markers"


def forecast_only(stored: Stored, name: str) -> Stored:
    made = altered(stored)
    entries(made)[name].update(status="forecast", accuracy=None, accuracy_ci=None)
    return made


def test_a_run_without_forecast_and_blocks_is_drawn_all_the_same(trained: Stored) -> None:
    assert not trained.result["blocks"]
    assert len(figures.depth_figure(trained.result).data) == 0
    assert list(named(figures.treatments_figure(trained.result), "pre-trained, trained").x) == [None]


@given(
    values=st.lists(st.floats(0, 1), max_size=40).map(sorted),
    gap=st.floats(0.001, 0.2),
    low=st.floats(-0.5, 0.5),
    room=st.floats(0.01, 2),
)
def test_names_are_moved_apart_in_order_and_within_bounds(
    values: list[float], gap: float, low: float, room: float
) -> None:
    high = low + room
    places = spread_out([min(high, max(low, v)) for v in values], gap, (low, high))
    assert len(places) == len(values)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(places))
    assert all(place <= high + 1e-9 for place in places)
    if (len(values) - 1) * gap <= room:
        assert all(place >= low - 1e-9 for place in places)


def test_names_that_are_far_enough_apart_stay_where_they_are() -> None:
    assert spread_out([0.1, 0.4, 0.9], 0.2, (0.0, 1.0)) == [0.1, 0.4, 0.9]
    assert spread_out([0.5, 0.5, 0.5], 0.25, (0.0, 1.0)) == [0.5, 0.75, 1.0]


# Cost, rates, losses, labels


def test_cost_is_counted_operations_as_multiples_of_the_verdicts(demo: Stored) -> None:
    made = forecast_only(demo, "finetune")
    figure = figures.cost_figure(made.result)
    unit = made.verdict["operations"]
    measured = named(figure, "measured")
    shown = {row[0]: (x, y) for row, x, y in zip(measured.customdata, measured.x, measured.y, strict=True)}
    assert shown == {
        name: (s["operations"] / unit, s["accuracy"]) for name, s in entries(made).items() if name != "finetune"
    }
    forecast = named(figure, "forecast only")
    assert list(forecast.x) == [entries(made)["finetune"]["operations"] / unit]
    assert list(forecast.y) == [entries(made)["finetune"]["forecast"]["accuracy"]]
    assert figure.layout.xaxis.type == "log"
    named_marks = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert made.verdict["name"] in named_marks
    for name, (x, y) in named_marks.items():
        assert (10**x, y) == (UNSURE(shown[name][0]), shown[name][1]) if name in shown else name == "finetune"


def test_of_every_rate_the_best_held_out_loss_is_drawn_and_the_used_one_is_ringed(demo: Stored) -> None:
    made = altered(demo)
    for s in made.result["strategies"]:  # each rate at two further lengths, a better and a worse one
        s["rates_tried"] += [{**t, "log_loss": t["log_loss"] * by} for t in s["rates_tried"] for by in (0.9, 1.1)]
    figure = figures.rates_figure(made.result)
    tried = {name: s["rates_tried"] for name, s in entries(made).items() if s["rates_tried"]}
    assert len(tried) == 4
    for name, rows in tried.items():
        best: dict[float, float] = {}
        for row in rows:
            best[row["rate"]] = min(best.get(row["rate"], math.inf), row["log_loss"])
        trace = named(figure, name)
        assert dict(zip(trace.x, trace.y, strict=True)) == best
        assert list(trace.x) == sorted(best)
    ring = named(figure, "rate that was used")
    drawn = {point for name in tried for point in zip(named(figure, name).x, named(figure, name).y, strict=True)}
    assert {*zip(ring.x, ring.y, strict=True)} <= drawn
    assert sorted(ring.x) == sorted(entries(demo)[name]["rate"] for name in tried)


def test_losses_are_those_of_the_first_block_and_dashed_where_training_was_too_short(demo: Stored) -> None:
    figure = figures.losses_figure(demo.result, demo.trials)
    assert len(figure.data) == 4
    for trace in figure.data:
        name, _, rest = trace.name.partition(" ")
        s = entries(demo)[name]
        assert (rest == "(undertrained)") == s["undertrained"] == (trace.line.dash == "dash")
        (trial,) = [
            t
            for t in demo.trials
            if t["strategy"] == name and t["block"] == 0 and t["rate"] == s["rate"] and t["purpose"] != "curve"
        ]
        assert list(trace.x) == [point["step"] for point in trial["curve"]]
        assert list(trace.y) == [point["train_loss"] for point in trial["curve"]]


def test_the_learning_curve_is_drawn_with_its_intervals_and_guess(demo: Stored) -> None:
    curve = {**demo.result["learning_curve"], "projection": {"labels": 80, "accuracy": 0.95}}
    figure = figures.labels_figure(curve)
    assert len(curve["curves"]) == 3
    for row in curve["curves"]:
        points = sorted(row["points"], key=lambda p: p["labels"])
        trace = named(figure, row["name"])
        assert list(trace.x) == [p["labels"] for p in points]
        assert list(trace.y) == [p["accuracy"] for p in points]
        assert intervals(trace.y, trace.error_y) == [UNSURE(p["ci"]) for p in points]
    guess = named(figure, "a guess")
    assert (guess.x, guess.y, guess.mode) == ((80,), (0.95,), "markers")


# Probabilities and mistakes


def test_reliability_is_the_records_bins(demo: Stored) -> None:
    calibration = demo.result["calibration"]
    figure = figures.reliability_figure(calibration)
    drawn = {
        "out of fold, calibrated": "out_of_fold_after",
        "sealed test, uncalibrated": "sealed_before",
        "sealed test, calibrated": "sealed_after",
    }
    for name, key in drawn.items():
        bins = [b for b in calibration[key]["reliability"] if b["n"]]
        trace = named(figure, name)
        assert list(trace.x) == [b["confidence"] for b in bins]
        assert list(trace.y) == [b["accuracy"] for b in bins]
        assert list(trace.customdata) == [b["n"] for b in bins]
        assert (
            np.argsort(trace.marker.size, kind="stable").tolist()
            == np.argsort(trace.customdata, kind="stable").tolist()
        )
    assert sum(named(figure, "sealed test, calibrated").customdata) == demo.result["test"]["n"]
    uncalibrated = figures.reliability_figure({**calibration, "temperature": None})
    assert [trace.name for trace in uncalibrated.data] == [
        "ideal",
        "out of fold, calibrated",
        "sealed test, calibrated",
    ]


def test_the_confusion_is_counted_from_the_predictions(demo: Stored) -> None:
    classes = demo.result["data"]["classes"]
    counts = np.zeros((10, 10), dtype=int)
    for row in demo.predictions:
        counts[classes.index(row["label"]), classes.index(row["predicted"])] += 1
    (trace,) = figures.confusion_figure(demo.result).data
    assert list(trace.x) == list(trace.y) == classes
    assert np.abs(np.array(trace.z) - counts / counts.sum(axis=1, keepdims=True)).max() < 1e-4
    assert [[int(cell or 0) for cell in row] for row in trace.text] == counts.tolist()
    assert np.array_equal(np.array(trace.customdata), counts)


def test_of_many_classes_the_ones_that_are_confused_most_are_drawn(demo: Stored) -> None:
    made = with_classes(demo, [f"class {i}" for i in range(300)])
    confusion = made.result["test"]["confusion"]
    confusion[250][7] = 99
    (trace,) = figures.confusion_figure(made.result).data
    assert {"class 7", "class 250"} <= set(trace.x)
    assert len(trace.x) == len(trace.z) < 300
    place = list(trace.y).index("class 250")
    assert trace.customdata[place][list(trace.x).index("class 7")] == 99
    assert trace.z[place][list(trace.x).index("class 7")] == UNSURE(99 / 107, abs=1e-4)


def test_classes_whose_names_begin_alike_keep_rows_of_their_own(demo: Stored) -> None:
    made = with_classes(demo, [f"a-class-of-a-long-name-{i}" for i in range(30)])
    (trace,) = figures.confusion_figure(made.result).data
    assert len(set(trace.x)) == len(set(trace.y)) == len(trace.z) == 30


# Differences and stages


def test_differences_are_mirrored(demo: Stored) -> None:
    made = with_strategies(demo, ["one", "two", "three", "four", "five"])  # with every outcome
    figure = figures.differences_figure(made.result)
    cells = figure.data[0]
    names = list(figure.layout.xaxis.ticktext)
    assert names == list(figure.layout.yaxis.ticktext)
    assert names == sorted(names, key=lambda name: -entries(made)[name]["accuracy"])
    outcomes = ["worse", "undecided", "as-good", "better"]
    words = ["worse", "not decided", "as good", "better"]
    pairs = made.result["pairs"]
    assert {pair["outcome"] for pair in pairs} == set(outcomes)
    for pair in pairs:
        a = names.index(pair["a"])
        b = names.index(pair["b"])
        outcome = outcomes.index(pair["outcome"])
        mirrored = {0: 3, 3: 0}.get(outcome, outcome)
        assert (cells.z[a][b], cells.z[b][a]) == (outcome, mirrored)
        points = 100 * pair["difference"]
        assert list(cells.customdata[a][b]) == [pair["a"], pair["b"], f"{words[outcome]} ({points:+.1f} points)"]
        told = cells.customdata[b][a][2]
        assert told.startswith(words[mirrored])
        assert float(told.partition("(")[2].split()[0]) == UNSURE(-points, abs=0.0501)
    assert sum(cell is not None for row in cells.z for cell in row) == 2 * len(pairs)


def test_strategies_whose_names_begin_alike_keep_rows_of_their_own(demo: Stored) -> None:
    names = [f"a-recipe-of-ones-own-{i}" for i in range(6)]
    made = with_strategies(demo, names)
    for figure in (figures.differences_figure(made.result), figures.treatments_figure(made.result)):
        assert len(set(figure.data[0].x)) == len(figure.layout.xaxis.ticktext) == len(figure.data[0].z[0])
        assert len(figure.data[0].x) in (5, 6)  # the baseline has no stages


def test_how_far_a_stage_moved_is_what_the_ledger_says(trained: Stored) -> None:
    figure = figures.stages_figure(trained.result, trained.ledger)
    expected = {}
    for stage in [*range(1, 6), "head"]:
        own = [t for t in trained.ledger if t["stage"] == stage and t["dtype"] == "float32"]
        numbers = sum(int(np.prod(t["shape"])) for t in own)
        expected[stage] = (numbers, float(np.sqrt(np.sum([t["distance"] ** 2 for t in own]) / numbers)))
    largest = max(moved for _, moved in expected.values())
    drawn = {}
    for bar in figure.data:
        for label, x, (numbers, words) in zip(bar.y, bar.x, bar.customdata, strict=True):
            stage = "head" if label == "head" else int(label.rpartition("(")[2].rstrip(")"))
            drawn[stage] = (numbers, x - 0.16 * largest, bar.marker.color, words)
    assert set(drawn) == set(expected)
    fates = ["frozen", "frozen", "trained", "trained", "trained", "new"]
    for (stage, (numbers, moved)), fate in zip(expected.items(), fates, strict=True):
        assert drawn[stage][:3] == (numbers, UNSURE(moved, abs=1e-12), FATES[fate])
        assert drawn[stage][3] == ("did not move" if fate == "frozen" else f"moved by {moved:.2g}")
        assert (moved == 0.0) == (fate == "frozen")


def test_how_far_a_stage_moved_is_what_the_saved_weights_say(trained: Stored) -> None:
    """The files themselves are compared: the package's weights with those of the finished model."""
    before = load_file(WEIGHTS)
    after = load_file(trained.path / "model" / "model.safetensors")
    for change, stage in zip(stage_changes(trained.result, trained.ledger), range(1, 6), strict=False):
        names = [t["tensor"] for t in trained.ledger if t["stage"] == stage and t["dtype"] == "float32"]
        moved = np.concatenate([(after[name].astype(np.float64) - before[name]).ravel() for name in names])
        assert change.parameters == len(moved)
        assert change.moved == UNSURE(float(np.sqrt(np.mean(moved**2))), rel=1e-4)


def test_treatments_are_those_of_the_record(demo: Stored) -> None:
    figure = figures.treatments_figure(demo.result)
    cells = figure.data[0]
    words = {
        "pretrained, frozen": "pre-trained, frozen",
        "pretrained, trained": "pre-trained, trained",
        "reinitialised, trained": "re-initialised, trained",
        "new, trained": "new, trained",
        "thrown away": "thrown away",
    }
    names = list(figure.layout.xaxis.ticktext)
    assert names == [name for name in entries(demo) if name != "baseline"]
    assert [len(row) for row in cells.z] == [len(names)] * 6
    for column, name in enumerate(names):
        told = [list(row[column]) for row in cells.customdata]
        assert told == [[name, words[fate]] for fate in entries(demo)[name]["stages"]]
        kinds = [list(FATES)[row[column]] for row in cells.z]
        assert kinds == [kind_of(fate) for fate in entries(demo)[name]["stages"]]


def kind_of(fate: str) -> str:
    kinds = {"pretrained, frozen": "frozen", "pretrained, trained": "trained", "reinitialised, trained": "random"}
    return {**kinds, "reinitialised, frozen": "fixed", "new, trained": "new", "thrown away": "gone"}[fate]


def test_random_weights_that_stay_as_they_are_are_not_called_trained(demo: Stored) -> None:
    made = altered(demo)
    entries(made)["scratch"]["stages"][:5] = ["reinitialised, frozen"] * 5
    figure = figures.treatments_figure(made.result)
    column = list(figure.layout.xaxis.ticktext).index("scratch")
    assert {tuple(row[column]) for row in figure.data[0].customdata[:5]} == {("scratch", "re-initialised, frozen")}


# Several runs


def test_runs_side_by_side_keep_their_own_numbers(demo: Stored, trained: Stored) -> None:
    results = [demo.result, trained.result]
    labels = ["runs/with-a-rather-long-name/one", "runs/with-a-rather-long-name/two"]
    figure = runs_sealed_figure(results, labels)
    (trace,) = figure.data
    assert list(trace.x) == [r["test"]["accuracy"] for r in results]
    assert intervals(trace.x, trace.error_x) == [UNSURE(r["test"]["ci"]) for r in results]
    assert len(set(trace.y)) == 2  # although the shortened names are alike
    assert [list(row) for row in trace.customdata] == [
        [label, r["verdict"]["strategy"]] for label, r in zip(labels, results, strict=True)
    ]


def test_depths_of_several_runs_are_shares_of_their_stages(demo: Stored) -> None:
    figure = runs_depth_figure([demo.result, demo.result], ["a", "b"])
    for label, shift in (("a", -0.006), ("b", 0.006)):
        line = named(figure, f"{label}: forecast")
        marks = named(figure, f"{label}: measured")
        assert list(line.x) == [0.0, 0.4, 0.8, 1.0]
        assert list(marks.x) == UNSURE([0.0 + shift, 0.4 + shift, 0.8 + shift, 1.0 + shift])
        assert (line.mode, line.line.dash, marks.mode) == ("lines", "dash", "markers")
        assert list(marks.y) == [entries(demo)[row]["accuracy"] for row in marks.customdata]


# Names


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"]), max_size=40))
def test_a_name_is_what_plotly_reads_of_it(name: str) -> None:
    assert html.unescape(safe(name)) == name
    assert not {"<", ">"} & set(safe(name))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\u202egnp.exe", "a�gnp.exe"),
        ("line\nbreak\x00", "line�break�"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🔬 & <b>", "👩\u200d🔬 &amp; &lt;b&gt;"),
        ("全角\u3000空白", "全角\u3000空白"),
        ("x" * 50, "x" * 39 + "…"),
    ],
    ids=["override", "controls", "joiner", "emoji", "wide blank", "long"],
)
def test_what_would_turn_or_break_a_label_is_replaced_and_nothing_else(name: str, shown: str) -> None:
    assert safe(name) == shown
