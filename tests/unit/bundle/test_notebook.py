"""A saved model in a notebook: what it is, how good it is, how it is used; every name is text, no weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from frostline.bundle.notebook import CLASSES_SHOWN
from frostline.bundle.predict import Bundle, load
from frostline.bundle.runfolder import read_result
from frostline.bundle.saved import Abstain
from frostline.data.preprocess import Preprocess
from frostline.data.texts import TextPreprocess
from helpers.report_runs import NAMES_LIKE_MARKUP, Page

TAGS = {"p", "strong", "bdi", "div", "table", "tbody", "tr", "th", "td", "code"}


@pytest.fixture(scope="module")
def bundle(demo_run: Path) -> Bundle:
    return load(demo_run, device="cpu")


@pytest.fixture
def copied(demo_run: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the record and the model."""

    def copy() -> Path:
        run = tmp_path / "run"
        shutil.copytree(demo_run / "model", run / "model")
        shutil.copy(demo_run / "result.json", run)
        return run

    return copy


def facts(bundle: Bundle) -> dict[str, str]:
    """The table's rows, once it is plain that nothing in it runs or is fetched."""
    parsed = Page(bundle._repr_html_())
    assert {tag for tag, _ in parsed.elements} <= TAGS
    assert {name for _, attributes in parsed.elements for name in attributes} <= {"style", "scope"}
    rows: dict[str, str] = {}
    for tag, text in parsed.texts[1:]:
        if tag == "th":
            rows[text] = ""
        else:
            rows[list(rows)[-1]] += text
    return rows


def with_contract(bundle: Bundle, contract: Preprocess | TextPreprocess) -> Bundle:
    return Bundle(replace(bundle.loaded, preprocess=contract))


def named(bundle: Bundle, classes: Sequence[str]) -> Bundle:
    return Bundle(replace(bundle.loaded, classes=tuple(classes)))


def test_it_says_what_the_record_and_the_recipe_say(bundle: Bundle, demo_run: Path) -> None:
    result = read_result(demo_run)
    test = result.test
    assert facts(bundle) == {
        "classes": "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "strategy": result.verdict.strategy,
        "network": "glyphs",
        "input": "images, grey, brought to 32 x 32 pixels",
        "sealed test": f"accuracy {test.accuracy:.3f} on 1,000 samples (95 % interval {test.ci[0]:.3f} to "
        f"{test.ci[1]:.3f})",
        "to predict": 'bundle.predict(["image.jpg"])',
        "from": str(demo_run / "model"),
    }


def test_names_of_classes_are_text(bundle: Bundle, copied: Callable[[], Path]) -> None:
    run = copied()
    names = [*NAMES_LIKE_MARKUP, *"abcde"]
    (run / "model" / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    (run / "result.json").unlink()  # it knows other bytes
    loaded = load(run, device="cpu")
    parsed = Page(loaded._repr_html_())
    assert {tag for tag, _ in parsed.elements} <= TAGS
    assert set(names) <= {text for tag, text in parsed.texts if tag == "bdi"}
    assert facts(loaded)["classes"] == "10: " + ", ".join(names)


def test_many_classes_are_counted(bundle: Bundle) -> None:
    names = [f"class {i}" for i in range(1200)]
    shown = facts(named(bundle, names))["classes"]
    assert shown == f"1,200: {', '.join(names[:CLASSES_SHOWN])} and 1,188 more"
    assert facts(named(bundle, names[:CLASSES_SHOWN]))["classes"].endswith(f"class {CLASSES_SHOWN - 1}")


def test_the_weights_are_not_read_again(copied: Callable[[], Path]) -> None:
    run = copied()
    loaded = load(run, device="cpu")
    before = loaded._repr_html_()
    (run / "model" / "model.safetensors").unlink()
    assert loaded._repr_html_() == before
    assert repr(loaded) == (
        f"<frostline.Bundle {read_result(run).verdict.strategy!r}, 'glyphs', 10 classes, from {str(run / 'model')!r}>"
    )


def test_only_the_record_of_this_very_model_is_quoted(copied: Callable[[], Path], tmp_path: Path) -> None:
    run = copied()
    loaded = load(run, device="cpu")
    assert "sealed test" in facts(loaded)
    note = run / "model" / "recipe.json"
    note.write_bytes(note.read_bytes() + b"\n")  # that of another run has other bytes
    assert "sealed test" not in facts(loaded)
    shutil.move(run / "model", tmp_path / "alone")
    alone = load(tmp_path / "alone", device="cpu")
    assert "sealed test" not in facts(alone)
    assert facts(alone)["strategy"]


def test_a_threshold_is_told(bundle: Bundle) -> None:
    kept = Abstain(wanted_accuracy=0.9, threshold=0.7512)
    assert facts(Bundle(replace(bundle.loaded, abstain=kept)))["unsure below"] == "a probability of 0.751"
    none = Abstain(wanted_accuracy=0.9, threshold=None)
    assert "unsure below" not in facts(Bundle(replace(bundle.loaded, abstain=none)))


def test_other_inputs_are_told_as_what_they_are(bundle: Bundle) -> None:
    colour = facts(with_contract(bundle, Preprocess.default((32, 48), [0.5], [0.5], 3)))
    assert colour["input"] == "images, in colour, brought to 32 x 48 pixels"
    bands = facts(with_contract(bundle, Preprocess.default(64, [0.5], [0.5], 5)))
    assert bands["input"] == "images, with 5 channels, brought to 64 x 64 pixels"
    assert bands["to predict"] == "bundle.predict(arrays)"
    texts = facts(with_contract(bundle, TextPreprocess(tokenizer="{}", length=128, limit=512, pad=0, vocabulary=9)))
    assert texts["input"] == "texts, up to 128 tokens"
    assert texts["to predict"] == 'bundle.predict(["a text"])'


def test_a_model_that_was_never_saved_is_shown_without_a_place(bundle: Bundle) -> None:
    bare = Bundle(replace(bundle.loaded, recipe={}))
    assert list(facts(bare)) == ["classes", "input", "to predict"]
    assert repr(bare) == "<frostline.Bundle 10 classes>"
