"""Runs side by side: pairs are exact McNemar tests on the same sealed samples, and nothing else is paired."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest, norm

from frostline.report.compare import compare_stored, labels_of
from frostline.report.compare_page import compare_page
from frostline.report.stored import Stored
from helpers.report_runs import MOST, Page, altered, check_parts, command, one_sentence

Right = dict[str, bool]


def right(run: Path) -> Right:
    """Of each sealed sample whether predictions.csv has it right."""
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["label"] == row["predicted"] for row in csv.DictReader(file)}


def by_hand(first: Right, second: Right) -> tuple[float, list[float], float]:
    """Difference, 95 % interval and p of two models on the same samples.

    The interval is Agresti and Min's (2005), half a sample added to each of the four cells; p is a sign test.
    """
    assert first.keys() == second.keys()
    only_first = sum(first[name] and not second[name] for name in first)
    only_second = sum(second[name] and not first[name] for name in first)
    n = len(first)
    b, c, m = only_first + 0.5, only_second + 0.5, n + 2
    half = norm.ppf(0.975) * math.sqrt((b + c) - (b - c) ** 2 / m) / m
    difference = (only_first - only_second) / n
    p = binomtest(only_first, only_first + only_second).pvalue
    return difference, [difference - half, difference + half], p


def mistaken(stored: Stored, wrong: int, *, folder: str) -> Stored:
    """The run, elsewhere, with so many sealed samples predicted wrong that it had right."""
    rows = [dict(row) for row in stored.predictions]
    good = [row for row in rows if row["label"] == row["predicted"]]
    for row in good[:wrong]:
        row["predicted"] = "9" if row["label"] != "9" else "0"
    accuracy = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    made = altered(stored)
    made.result["test"]["accuracy"] = accuracy
    return replace(made, predictions=rows, path=Path(folder))


def on_other_data(stored: Stored, *, folder: str) -> Stored:
    """The run as if its samples had been others."""
    made = altered(stored)
    made.result["data"].update(sha256="ff", path="/data/others")
    samples = [{**row, "sha256": f"{i:064x}"} for i, row in enumerate(stored.samples)]
    return replace(made, samples=samples, path=Path(folder))


def test_a_pair_is_an_exact_test_on_the_same_samples(demo_run: Path, trained_run: Path) -> None:
    done = command("compare", demo_run, trained_run, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    (pair,) = found["pairs"]
    difference, ci, p = by_hand(right(demo_run), right(trained_run))
    assert (pair["a"], pair["b"], pair["n"]) == ("demo", "trained", 1000)
    assert pair["difference"] == pytest.approx(difference)
    assert pair["ci"] == pytest.approx(ci)
    assert pair["p"] == pytest.approx(p)
    assert 0 < abs(difference) < 1
    assert found["same_data"]
    assert found["sentences"][0] == "Both runs used the same data."
    differs = "differ by more than luck explains" in found["sentences"][1]
    assert differs == (p < 0.05)


def test_runs_are_told_as_their_records_have_them(demo_run: Path, trained_run: Path, demo: Stored) -> None:
    found = json.loads(command("compare", demo_run, trained_run, "--json").out)
    one, two = found["runs"]
    assert one["verdict"] == demo.verdict["name"]
    assert (one["measured"], one["measured_ci"]) == (demo.verdict["accuracy"], demo.verdict["accuracy_ci"])
    assert (one["sealed"], one["sealed_ci"]) == (demo.result["test"]["accuracy"], demo.result["test"]["ci"])
    assert one["sealed"] == sum(right(demo_run).values()) / 1000
    assert (two["verdict"], two["measured"], two["measured_ci"]) == ("freeze@2", None, None)
    rows = {row[0]: row[1:] for row in found["strategies"]}
    assert set(rows) == {s["name"] for s in demo.result["strategies"]}
    assert all(cells[1] == "" for cells in rows.values())  # alone, it was measured on no block
    assert rows[demo.verdict["name"]][0] == f"{demo.verdict['accuracy']:.3f} *"


def test_the_text_says_the_same(demo_run: Path, trained_run: Path) -> None:
    done = command("compare", demo_run, trained_run)
    difference, ci, _ = by_hand(right(demo_run), right(trained_run))
    words = " ".join(done.out.split())
    assert f"{100 * difference:+.1f} {100 * ci[0]:.1f} to {100 * ci[1]:.1f}" in words
    assert "Both runs used the same data." in words
    assert max(map(len, done.out.splitlines())) < 200


def test_several_pairs_are_corrected_together(demo: Stored) -> None:
    runs = [replace(demo, path=Path("a")), mistaken(demo, 8, folder="b"), mistaken(demo, 14, folder="c")]
    found = compare_stored(runs)
    answers = [{row["id"]: row["label"] == row["predicted"] for row in run.predictions} for run in runs]
    places = {"a": 0, "b": 1, "c": 2}
    raw = [by_hand(answers[places[pair.a]], answers[places[pair.b]])[2] for pair in found.pairs]
    assert len(raw) == 3
    largest = 0.0
    for place, i in enumerate(sorted(range(3), key=lambda i: raw[i])):
        largest = max(largest, min(1.0, raw[i] * (3 - place)))  # Holm 1979
        assert found.pairs[i].p == pytest.approx(largest)
    assert "Pairs on the same samples: 3; 3 of them differ" in found.sentences[1]
    assert found.sentences[0] == "All 3 runs used the same data."


def test_what_luck_explains_is_not_called_a_difference(demo: Stored) -> None:
    found = compare_stored([replace(demo, path=Path("a")), mistaken(demo, 5, folder="b")])
    (pair,) = found.pairs
    assert pair.p == pytest.approx(2 / 2**5)
    assert not pair.differs
    assert "a and b can't be told apart with these samples." in found.sentences[1]
    (pair,) = compare_stored([replace(demo, path=Path("a")), mistaken(demo, 6, folder="b")]).pairs
    assert pair.p == pytest.approx(2 / 2**6)
    assert pair.differs


def test_equal_answers_are_no_difference(demo: Stored) -> None:
    (pair,) = compare_stored([replace(demo, path=Path("a")), replace(demo, path=Path("b"))]).pairs
    assert (pair.difference, pair.p) == (0.0, 1.0)
    assert pair.ci[0] == -pair.ci[1] < 0


def test_runs_on_other_data_are_not_paired_and_it_is_said(demo: Stored) -> None:
    other = on_other_data(demo, folder="b")
    found = compare_stored([replace(demo, path=Path("a")), other])
    assert found.pairs == ()
    assert not found.same_data
    (sentence,) = found.sentences
    assert sentence.startswith("These runs used different data, so their accuracies answer different questions")
    parsed = Page(compare_page([demo, other], found))
    check_parts(parsed)
    assert "there is nothing to pair" in parsed.words


def test_runs_without_their_samples_are_not_paired(demo: Stored) -> None:
    bare = replace(demo, predictions=(), path=Path("b"))
    assert compare_stored([demo, bare]).pairs == ()
    assert compare_stored([bare, replace(bare, path=Path("c"))]).pairs == ()


def test_of_three_only_those_on_the_same_samples_are_paired(demo: Stored) -> None:
    better = on_other_data(demo, folder="c")
    better.result["test"]["accuracy"] = 1.0
    found = compare_stored([replace(demo, path=Path("a")), mistaken(demo, 30, folder="b"), better])
    assert [(pair.a, pair.b) for pair in found.pairs] == [("a", "b")]
    assert found.sentences[0] == "The runs differ in their data, but some share their sealed samples."
    assert "Most right on the same sealed samples: a (" in found.sentences[1]  # not c, which was asked others
    assert "a and b differ by more than luck explains." in found.sentences[1]


@pytest.mark.parametrize("changed", ["sha256", "label"])
def test_samples_that_only_share_their_names_are_not_the_same(demo: Stored, changed: str) -> None:
    other = altered(demo)
    if changed == "sha256":
        other = replace(other, samples=[{**row, "sha256": "00"} for row in demo.samples])
    else:
        first, *rest = demo.predictions
        other = replace(other, predictions=[{**first, "label": "another"}, *rest])
    assert compare_stored([demo, replace(other, path=Path("b"))]).pairs == ()


# What can't be compared


def test_too_few_and_no_runs_are_refused(demo_run: Path, tmp_path: Path) -> None:
    assert "needs two runs at least" in one_sentence(command("compare", demo_run))
    assert "is given twice" in one_sentence(command("compare", demo_run, demo_run))
    assert "is given twice" in one_sentence(command("compare", demo_run, demo_run / ".." / demo_run.name))
    assert "is not a finished run" in one_sentence(command("compare", demo_run, tmp_path))
    assert command("compare").code == 2


def test_the_page_has_a_place_to_be_written_to(demo_run: Path, trained_run: Path, tmp_path: Path) -> None:
    assert "is a folder" in one_sentence(command("compare", demo_run, trained_run, "--out", tmp_path))
    refused = command("compare", demo_run, trained_run, "--out", tmp_path / "no" / "x.html")
    assert "there is no folder" in one_sentence(refused)


# Labels


@pytest.mark.parametrize(
    ("paths", "depth"),
    [
        (["runs/a-1", "runs/b-1"], 1),
        (["x/run", "y/run"], 2),
        (["x/one/run", "y/one/run", "y/two"], 3),
        (["run/run", "run/run/run", "run/run/run/run"], 5),
    ],
)
def test_labels_are_as_short_as_they_can_be_and_distinct(paths: list[str], depth: int) -> None:
    root = Path("/studies")
    found = labels_of([root / path for path in paths])
    assert len(set(found)) == len(paths)
    for label, path in zip(found, paths, strict=True):
        assert str(root / path).endswith(label)
        assert label.count("/") < depth


# The page


def test_the_page_is_written_and_hangs_together(demo_run: Path, trained_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared.html"
    done = command("compare", demo_run, trained_run, "--out", out)
    assert done.code == 0
    assert done.out == command("compare", demo_run, trained_run).out
    text = out.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST
    parsed = Page(text)
    check_parts(parsed)
    assert set(parsed.figures) == {"sealed", "depth"}
    difference, ci, _ = by_hand(right(demo_run), right(trained_run))
    texts = [words for _, words in parsed.texts]
    assert f"{100 * difference:+.1f}" in texts
    assert f"{100 * ci[0]:.1f} to {100 * ci[1]:.1f}" in texts
    again = tmp_path / "again.html"
    command("compare", demo_run, trained_run, "--out", again)
    assert again.read_bytes() == out.read_bytes()


def test_names_of_folders_are_text(demo_run: Path, trained_run: Path, tmp_path: Path) -> None:
    hostile = tmp_path / '<img src=x onerror="window.hacked=1">'
    shutil.copytree(trained_run, hostile, ignore=shutil.ignore_patterns("model", "report.html"))
    out = tmp_path / "compared.html"
    assert command("compare", demo_run, hostile, "--out", out).code == 0
    parsed = Page(out.read_text(encoding="utf-8"))
    check_parts(parsed)
    assert ("bdi", hostile.name) in parsed.texts
