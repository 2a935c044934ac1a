"""The methods paragraph of real runs: every figure in it is one of the record's, and the hub reads the card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from cases.small_world import write_images
from frostline.bundle.schema import RunResult
from frostline.cli.main import main
from frostline.recipe.from_file import recipe_as_file
from helpers.in_process import rehearsals

Fit = Callable[..., SimpleNamespace]
QUICK = ("--epochs", "1", "--blocks", "2", "--threads", "1", "--store", "off")


@pytest.fixture(scope="module", autouse=True)
def quick_rehearsals() -> Iterator[None]:
    with rehearsals():
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains the first stage only."""
    file = tmp_path_factory.mktemp("own") / "mine.json"
    value: dict[str, Any] = recipe_as_file("finetune").model_dump()
    part = value["phases"][0]["stages"][0]
    value["phases"][0]["stages"] = [{**part, "stages": "1"}, {**part, "stages": "2-", "trained": False}]
    file.write_text(json.dumps({**value, "name": "mine"}))
    return file


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("map")
    (folder / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    (folder / "map.json").write_text('{"reddish": ["a"], "greenish": ["b", "c"]}')
    return ("--source-classes", str(folder / "classes.txt"), "--label-map", str(folder / "map.json"))


def ran(fit: Fit, data: Path, out: Path, *words: object) -> RunResult:
    done = fit(data, "--out", out, *words)
    assert done.code == 0, done.err
    return RunResult.model_validate_json((out / "result.json").read_bytes())


def paragraph(result: RunResult) -> str:
    assert result.methods is not None
    text = result.methods.paragraph
    assert 120 <= len(text.split()) <= 220
    low, high = result.test.ci
    assert f"accuracy of {result.test.accuracy:.3f} (95 % Wilson interval {low:.3f} to {high:.3f})" in text
    assert f"(SHA-256 {result.model.weights_sha256[:12]})" in text if result.model.weights_sha256 else "random" in text
    assert f"{result.data.n_development} served development and {result.data.n_test} (" in text
    return text


@pytest.mark.parametrize("name", ["probe", "freeze@1", "lp-ft"])
def test_a_run_of_each_kind_tells_its_own_figures(fit: Fit, squares: Path, tmp_path: Path, name: str) -> None:
    result = ran(fit, squares, tmp_path / "r", "--strategies", name, *QUICK)
    text, chosen = paragraph(result), result.strategies[0]
    if chosen.rate:
        assert f"{chosen.steps} steps (1.0 epochs)" in text
        assert f"at a rate of {chosen.rate:g}" in text
        assert f"The rate was chosen (of {len(chosen.rates_tried)}) by log loss" in text
    else:
        assert f"its penalty ({chosen.l2:g})" in text
    assert "2 paired blocks" in text


def test_what_was_used_as_it_was_is_not_called_trained(
    fit: Fit, squares: Path, mapped: tuple[str, ...], tmp_path: Path
) -> None:
    text = paragraph(ran(fit, squares, tmp_path / "r", "--strategies", "as-is", "--store", "off", *mapped))
    assert "its own head was left as it was, its outputs mapped to the 2 target classes" in text
    assert "Refitted" not in text


def test_an_own_recipe_is_told_by_its_nearest_term(fit: Fit, squares: Path, own: Path, tmp_path: Path) -> None:
    text = paragraph(ran(fit, squares, tmp_path / "r", "--strategies", own, *QUICK))
    assert "a recipe of our own (mine); the nearest term is surgical fine-tuning." in text
    assert "was trained, " in text


def test_a_given_validation_part_is_told_as_the_one_block(fit: Fit, tmp_path: Path) -> None:
    counts = {f"{part}/{hue}": n for part, n in (("train", 8), ("val", 4), ("test", 4)) for hue in ("red", "green")}
    data = write_images(tmp_path / "data", counts)
    result = ran(fit, data, tmp_path / "r", "--strategies", "probe,probe@1,baseline", "--store", "off")
    text = paragraph(result)
    assert "2 strategies and an SVM on raw pixels were compared" in text
    assert "on the given validation part (8 samples)" in text
    assert result.methods is not None
    assert not any("Nadeau" in s.source for s in result.methods.sources)


def test_random_weights_are_not_called_pretrained(fit: Fit, squares: Path, tmp_path: Path) -> None:
    result = ran(fit, squares, tmp_path / "r", "--weights", "random", "--strategies", "probe", "--store", "off")
    text = paragraph(result)
    assert "with random weights." in text
    assert "training on frozen random features" in text


def test_show_methods_prints_the_paragraph_and_the_card_holds_it(
    fit: Fit, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ran(fit, squares, tmp_path / "r", "--strategies", "probe,freeze@1", *QUICK)
    assert result.methods is not None
    assert main(["show", str(tmp_path / "r"), "--methods"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert result.methods.paragraph in printed
    assert result.methods.sources[0].source in printed
    assert main(["show", str(tmp_path / "r"), "--methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result.methods.model_dump(mode="json")
    card = ModelCard((tmp_path / "r" / "model" / "README.md").read_text(encoding="utf-8"))
    data: Any = card.data
    values = {r.metric_type: r.metric_value for r in data.eval_results or []}
    assert values["accuracy"] == pytest.approx(result.test.accuracy, abs=1e-6)
    assert "Refitted on all development samples" in card.text
