"""The page: every name is text, every anchor leads somewhere, and what is damaged or forged is refused or left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frostline.report.answer import advice, should_freeze
from frostline.report.figures.mistakes import MOST as MOST_DRAWN
from frostline.report.page import page
from frostline.report.stored import Stored, read_stored
from helpers.report_runs import MOST, Page, altered, check_parts, command, one_sentence, with_classes, with_strategies

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=2</script>",
    "\"double\" & 'single' &amp; $x^2$ %{y} {{ 7 * 7 }}",
    "שלום עולם",
    "🦊 and 👩\u200d🔬",
]


@pytest.fixture(scope="module")
def parsed(demo: Stored) -> Page:
    return Page(page(demo))


@pytest.fixture
def copied(demo_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the RUN folder, with these files replaced (None: removed)."""

    def copy(**files: str | bytes | None) -> Path:
        run = tmp_path / "copied"
        shutil.copytree(demo_run, run, ignore=shutil.ignore_patterns("model", "report.html"))
        for name, content in files.items():
            path = run / name.replace("__", ".")
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return run

    return copy


def test_the_parts_of_the_demo_hang_together(parsed: Page) -> None:
    check_parts(parsed)
    assert set(parsed.figures) == {
        *("depth", "cost", "stages", "treatments", "differences", "rates", "losses", "labels", "reliability"),
        "confusion",
    }
    assert len(parsed.all("img")) > 50


def test_the_page_is_the_one_that_fit_wrote(demo: Stored) -> None:
    written = (demo.path / "report.html").read_bytes()
    assert page(demo).encode() == written
    assert len(written) <= MOST


def test_the_answer_is_the_records(demo: Stored, parsed: Page) -> None:
    words = parsed.words
    assert demo.result["verdict"]["strategy"] in words
    assert demo.result["verdict"]["reason"] in words
    assert f"{100 * demo.result['test']['accuracy']:.1f} % right on 1,000 sealed samples" in words
    assert demo.result["methods"]["paragraph"] in words
    for s in demo.result["strategies"]:
        assert s["name"] in words


def test_the_table_behind_the_figure_of_depth_has_its_numbers(demo: Stored, parsed: Page) -> None:
    cells = [text for _, text in parsed.texts]
    for s in demo.result["strategies"]:
        at = cells.index(s["name"], cells.index("frozen stages"))
        row = cells[at : at + 6]
        assert f"{s['accuracy']:.3f}" in row
        assert f"{s['accuracy_ci'][0]:.3f} to {s['accuracy_ci'][1]:.3f}" in row
        if s["forecast"] and s["stages"]:
            assert f"{s['forecast']['accuracy']:.3f}" in row


def test_mistakes_are_shown_with_their_prediction(demo: Stored, parsed: Page) -> None:
    rows = {row["id"]: row for row in demo.predictions}
    texts = [text for _, text in parsed.texts]
    for name in demo.examples["mistakes"]:
        sure = 100 * float(rows[name][f"p:{rows[name]['predicted']}"])
        assert f"{rows[name]['predicted']} ({sure:.0f} %)" in texts
    assert len([a for a in parsed.all("img") if a["src"] == image_of(demo, demo.examples["mistakes"][0])]) == 1


def image_of(stored: Stored, name: str) -> str:
    return str(stored.examples["samples"][name]["image"])


def test_one_strategy_alone_still_gives_a_page(trained: Stored) -> None:
    parsed = Page(page(trained))
    check_parts(parsed)
    assert "depth" not in parsed.figures  # nothing was measured out of fold
    assert "paired split" not in parsed.words


def test_a_model_without_mistakes_says_so(demo: Stored) -> None:
    made = altered(demo)
    made.result["test"]["confusion"] = [[100 * (i == j) for j in range(10)] for i in range(10)]
    parsed = Page(page(made))
    check_parts(parsed)
    assert "0 of 1,000 sealed samples were predicted wrong." in parsed.words


@pytest.mark.parametrize("count", [2, 200])
def test_few_and_many_classes(demo: Stored, count: int) -> None:
    text = page(with_classes(demo, [f"class number {i} of all" for i in range(count)]))
    assert len(text.encode()) <= MOST
    parsed = Page(text)
    check_parts(parsed)
    assert len(parsed.figures["confusion"]["data"][0]["z"]) == min(count, MOST_DRAWN)
    assert "class number 1 of all" in parsed.words


@pytest.mark.parametrize("count", [3, 30])
def test_few_and_many_strategies(demo: Stored, count: int) -> None:
    names = [f"my-own-recipe-{i}" for i in range(count)]
    text = page(with_strategies(demo, names))
    assert len(text.encode()) <= MOST
    parsed = Page(text)
    check_parts(parsed)
    texts = [words for _, words in parsed.texts]
    assert all(texts.count(name) >= 3 for name in names)


def test_names_are_text_wherever_they_stand(demo: Stored) -> None:
    doubts = [{"kind": "outlier", "id": name, "label": name, "detail": name} for name in HOSTILE]
    made = altered(
        with_classes(demo, HOSTILE),
        command=f"frostline fit {HOSTILE[1]}",
        concluded=HOSTILE,
        doubts={"method": "", "counts": {"outlier": 5}, "examples": doubts},
    )
    made.result["data"]["path"] = f"/home/{HOSTILE[1]}"
    made.result["data"]["warnings"] = [{"kind": "x", "count": 2, "examples": HOSTILE, "handled": HOSTILE[0]}]
    made.result["model"]["spec"] = f"torch:{HOSTILE[0]}"
    made.result["model"]["stages"][0]["name"] = HOSTILE[1]
    made.result["verdict"]["reason"] = HOSTILE[1]
    parsed = Page(page(replace(made, path=Path(f"runs/{HOSTILE[0]}"))))
    check_parts(parsed)
    for name in HOSTILE:
        assert ("bdi", name) in parsed.texts
        assert ("h4", name) not in parsed.texts  # names of any direction stand by themselves
    assert parsed.words.count(HOSTILE[1]) > 8
    drawn = parsed.figures["confusion"]["data"][0]["x"]
    assert drawn[0] == "&lt;img src=x onerro…"
    assert drawn[3:] == HOSTILE[3:]


def test_an_excerpt_of_a_text_is_text(demo: Stored) -> None:
    made = altered(demo)
    made.result["data"]["modality"] = "text"
    samples = {name: {"label": entry["label"], "text": HOSTILE[1]} for name, entry in demo.examples["samples"].items()}
    parsed = Page(page(replace(made, examples={**demo.examples, "samples": samples})))
    check_parts(parsed)
    assert not parsed.all("img")
    assert len([text for tag, text in parsed.texts if tag == "blockquote" and text == HOSTILE[1]]) > 50


@pytest.mark.parametrize(
    "image",
    [
        "javascript:window.hacked=1",
        "http://example.com/pixel.png",
        "//example.com/pixel.png",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/webp;base64,"><script>window.hacked=1</script>',
        ["http://example.com"],
        None,
    ],
)
def test_a_forged_image_does_not_become_an_address(demo: Stored, image: Any) -> None:
    samples = {name: {**entry, "image": image} for name, entry in demo.examples["samples"].items()}
    text = page(replace(demo, examples={**demo.examples, "samples": samples}))
    check_parts(Page(text))
    assert "example.com" not in text
    assert not Page(text).all("img")


# frostline report


def test_the_verb_writes_the_same_bytes_again(demo_run: Path, copied: Callable[..., Path], tmp_path: Path) -> None:
    run = copied()
    done = command("report", run)
    assert (done.code, done.out, done.err) == (0, f"{run / 'report.html'}\n", "")
    first = (run / "report.html").read_bytes()
    out = tmp_path / "elsewhere.html"
    done = command("report", run, "--out", out, "--json")
    assert json.loads(done.out) == {"written": [str(out)]}
    assert out.read_bytes() == first
    assert first.replace(b"copied: should", b"demo: should") == (demo_run / "report.html").read_bytes()


def test_without_examples_nothing_of_the_samples_is_shown(demo: Stored, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert command("report", demo.path, "--out", out, "--no-examples").code == 0
    text = out.read_text(encoding="utf-8")
    parsed = Page(text)
    check_parts(parsed)
    assert not parsed.all("img") + parsed.all("blockquote")[1:]  # the first is the methods paragraph
    assert not any(entry["image"] in text for entry in demo.examples["samples"].values())
    assert "Examples were left out of this page." in parsed.words
    samples = {name: {"label": "1", "text": "what somebody wrote"} for name in demo.examples["samples"]}
    told = replace(demo, examples={**demo.examples, "samples": samples})
    assert "what somebody wrote" in page(told)
    assert "what somebody wrote" not in page(told, examples=False)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("trials__jsonl", '{"strategy": "probe"'),
        ("trials__jsonl", '{"strategy": "probe"}'),
        ("trials__jsonl", "[]"),
        ("trials__jsonl", b"\xff\xfe"),
        ("ledger__json", "{}"),
        ("ledger__json", '[{"stage": 1}]'),
        ("examples__json", ""),
        ("examples__json", "[]"),
        ("examples__json", '{"classes": ["a"]}'),
        ("examples__json", '{"classes": [["a"]], "doubts": [], "mistakes": [], "samples": {}}'),
        ("examples__json", '{"classes": [], "doubts": [], "mistakes": [], "samples": {"a": {"label": ["x"]}}}'),
        ("predictions__csv", ""),
        ("predictions__csv", "id,label\n1,a\n"),
        ("predictions__csv", "id,label,predicted,p:a\n1,a\n"),
        ("predictions__csv", "id,label,predicted,p:a\n1,a,b,0.5\n"),
        ("predictions__csv", "id,label,predicted,p:a\n1,a,a,much\n"),
        ("predictions__csv", b"id,label,predicted\n\xff\xfe,,\n"),
        ("samples__csv", "id,part\n1,sealed\n"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(copied: Callable[..., Path], file: str, content: str | bytes) -> None:
    run = copied(**{file: content})
    for words in (("report", run), ("compare", run, run.parent)):
        said = one_sentence(command(*words))
        assert file.replace("__", ".") in said
        assert str(run) in said
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(copied: Callable[..., Path], tmp_path: Path) -> None:
    assert "is not a finished run" in one_sentence(command("report", tmp_path))
    assert "is not a finished run" in one_sentence(command("report", tmp_path / "nothing"))
    run = copied(result__json='{"schema": 5}')
    assert "is not a record of this version" in one_sentence(command("report", run))


def test_places_that_cannot_be_written_are_refused(demo_run: Path, tmp_path: Path) -> None:
    assert "is a folder" in one_sentence(command("report", demo_run, "--out", tmp_path))
    assert "there is no folder" in one_sentence(command("report", demo_run, "--out", tmp_path / "no" / "page.html"))
    (tmp_path / "file").touch()
    assert "is a file" in one_sentence(command("report", demo_run, "--figures", tmp_path / "file"))


# Records of older versions


def test_an_older_record_gives_a_page(copied: Callable[..., Path], demo: Stored) -> None:
    old = json.loads(json.dumps(demo.result))
    old["schema"] = 4
    for s in old["strategies"]:
        del s["stages"]
    run = copied(result__json=json.dumps(old), examples__json=None, samples__csv=None)
    assert command("report", run).code == 0
    parsed = Page((run / "report.html").read_text(encoding="utf-8"))
    check_parts(parsed)
    assert "There is nothing to freeze." not in parsed.words
    assert {"cost", "differences", "confusion"} <= set(parsed.figures)
    assert "stages" not in parsed.figures
    stored = read_stored(run)
    assert (stored.examples, stored.samples) == ({}, ())


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("probe", "Yes, all of it.", "Freeze every layer and train only a new last layer"),
        ("probe@2", "Yes, all of it.", "Cut the network after stage 2 and train only a new last layer there"),
        ("freeze@2", "Partly: 2 of 5 stages.", "Freeze the first 2 stages and train the rest"),
        ("finetune", "No.", "Freeze nothing: train every layer at a low rate"),
        ("scratch", "No.", "Forget the pre-trained weights and train from scratch"),
        ("baseline", "", "You need no network here"),
    ],
)
def test_the_answer_follows_from_what_was_done_to_the_stages(demo: Stored, name: str, answer: str, told: str) -> None:
    (strategy,) = [s for s in demo.result["strategies"] if s["name"] == name]
    assert should_freeze(strategy) == answer
    assert advice(strategy) == told
    old = {**strategy, "stages": []}
    assert (should_freeze(old) == "") == (name == "baseline")
    assert " 0 stages" not in advice(old)


@pytest.mark.parametrize(
    ("name", "stages", "answer", "told"),
    [
        ("norm", ["pretrained, only normalisation trained"] * 2, "Mostly: only a small part", "normalisation layers"),
        ("probe@1", ["pretrained, frozen", "thrown away"], "Yes", "after stage 1 and"),
        ("freeze@1", ["pretrained, frozen", "pretrained, trained"], "Partly: 1 of 2", "the first stage and"),
    ],
)
def test_the_answer_in_rarer_cases(name: str, stages: list[str], answer: str, told: str) -> None:
    strategy = {"name": name, "stages": [*stages, "new, trained"], "origin_summary": ""}
    assert should_freeze(strategy).startswith(answer)
    assert told in advice(strategy)
