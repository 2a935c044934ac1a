"""The model card: the hub's own parser reads it, and nothing that a user named changes its structure."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from frostline.bundle.card import markdown_table, model_card
from frostline.bundle.front_matter import escaped, front_matter, quoted
from frostline.bundle.schema import RunResult

HOSTILE = [
    "a: b",
    "- x",
    "---",
    "x\n---\nlicense: mit",
    "'\"",
    "#no",
    "{a}",
    "!!python/object",
    "a|b",
    "<script>x</script>",
    "[x](http://evil)",
    "`code`",
    "*b*",
    "@all",
    "line\u2028end",
    "\x85",
    "\x7f",
    "null",
    "é漢😀",
    "$x$",
    "back\\slash",
    "http://evil.example",
]


def record(**changed: Any) -> RunResult:
    strategy = {
        "name": "probe",
        "term": "linear probe",
        "origin_summary": "stages 1-4 pretrained, frozen; head new",
        "trained_parameters": 10,
        "operations": 1.0,
        "status": "raced",
        "reason": None,
        "rate": None,
        "rates_tried": [],
        "l2": 0.1,
        "mix": None,
        "epochs": 6.0,
        "steps": None,
        "undertrained": False,
        "blocks": [],
        "seconds": 1.5,
        "accuracy": 0.9,
        "accuracy_ci": [0.8, 1.0],
        "log_loss": 0.3,
        "score": 0.9,
        "score_ci": [0.8, 1.0],
        "versus_best": None,
        "test": None,
    }
    worse = {"difference": -0.05, "ci": [-0.1, 0.0], "ci_samples": [-0.1, 0.0], "p": 0.2, "outcome": "undecided"}
    values = {
        "version": "0.1.0",
        "created": "2026-01-01",
        "command": "frostline fit /home/me/secret",
        "seed": 0,
        "machine": {},
        "packages": {},
        "settings": {"metric": "accuracy", "weights": None},
        "data": {
            "path": "/home/me/secret/my data",
            "kind": "class-folders",
            "classes": ["ant", "bee"],
            "n_development": 20,
            "n_test": 10,
            "sealed": "val/",
            "groups": 30,
            "sha256": "00",
            "warnings": [{"kind": "duplicates", "count": 2, "examples": ["a.jpg"], "handled": "kept together"}],
        },
        "model": {"spec": "timm:resnet18", "weights_sha256": None, "parameters": 10, "class_map": None, "stages": []},
        "blocks": [{"index": k, "repeat": 0, "fold": k, "n_train": 16, "n_validation": 4} for k in range(5)],
        "strategies": [strategy, {**strategy, "name": "finetune", "score": 0.85, "versus_best": worse}],
        "pairs": [],
        "verdict": {
            "strategy": "probe",
            "best": "probe",
            "reason": "probe has the best mean accuracy.",
            "runner_up": None,
            "samples_needed": None,
        },
        "test": {
            "n": 10,
            "accuracy": 0.875,
            "ci": [0.5, 1.0],
            "balanced_accuracy": 0.86,
            "f1_macro": 0.85,
            "log_loss": 0.1,
            "ece": 0.02,
            "confusion": [[5, 0], [1, 4]],
            "per_class": [
                {"name": "ant", "n": 5, "precision": 0.8, "recall": 1.0, "f1": 0.9},
                {"name": "bee", "n": 5, "precision": 1.0, "recall": 0.8, "f1": 0.9},
            ],
        },
        "audit": {
            "frozen_tensors": 1,
            "frozen_unchanged": 1,
            "moving_on_purpose": 0,
            "trained_tensors": 0,
            "trained_changed": 0,
            "no_gradient": [],
        },
        "cost": {
            "seconds": 1.0,
            "phases": [],
            "prefix_seconds": 0.5,
            "store_mb": 1.0,
            "peak_rss_mb": 1.0,
            "peak_anonymous_mb": 1.0,
            "images_per_second": 5.0,
        },
        "methods": {
            "paragraph": "The network was a_b_c.",
            "term": "linear probing",
            "also_called": [],
            "disputed": "",
            "sources": [{"what": "interval", "source": "Wilson 1927"}],
        },
    }
    return RunResult.model_validate({**values, **changed})


def data(**changed: Any) -> dict[str, Any]:
    return {**record().data.model_dump(), **changed}


def test_the_hub_s_parser_reads_metadata_and_evaluation_results() -> None:
    card = ModelCard(model_card(record()))
    assert isinstance(card.data, ModelCardData)
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "frostline",
        "image-classification",
        "other",
    )
    assert card.data.base_model is None
    assert {"frostline", "image-classification", "transfer-learning", "probe"} == set(card.data.tags or [])
    results = {r.metric_type: r for r in card.data.eval_results or []}
    assert {name: r.metric_value for name, r in results.items()} == {
        "accuracy": 0.875,
        "f1": 0.85,
        "balanced_accuracy": 0.86,
    }
    assert not any(r.verified for r in results.values())
    assert results["accuracy"].dataset_name == "my data"
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_the_hub_s_own_writer_makes_the_same_results() -> None:
    index = yaml.safe_load(front_matter(record()).strip("-\n"))["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "probe on my data"
    assert eval_results_to_model_index(name, results) == index


@pytest.mark.parametrize(
    ("spec", "weights", "base"),
    [
        ("timm:resnet18", None, None),
        ("timm:resnet18.a1_in1k", None, "timm/resnet18.a1_in1k"),
        ("timm:resnet18.a1_in1k", "/w.safetensors", None),
        ("hf:org/name", None, "org/name"),
        ("hf:/home/me/model", None, None),
        ("torch:/x/net.py:make", None, None),
        ("glyphs", None, None),
    ],
)
def test_a_base_model_is_named_only_where_the_hub_gave_it(spec: str, weights: str | None, base: str | None) -> None:
    model = {**record().model.model_dump(), "spec": spec}
    card = ModelCard(model_card(record(model=model, settings={"weights": weights})))
    stated: Any = card.data
    assert stated.base_model == base


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_comes_through_yaml_as_it_is(name: str) -> None:
    assert yaml.safe_load(f"k: {quoted(name)}\nend: 1") == {"k": name, "end": 1}
    folder = name.replace("/", "")
    card = ModelCard(model_card(record(data=data(path=f"/d/{folder}"))))
    stated: Any = card.data
    assert stated.eval_results[0].dataset_name == folder
    assert stated.license == "other"
    assert card.text.count("\n## ") == model_card(record()).count("\n## ")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_by_markdown_as_it_is(name: str) -> None:
    from markdown_it import MarkdownIt  # comes with rich

    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"x {escaped(name)} x")
    (inline,) = [token for token in shown if token.type == "inline"]
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    line = re.sub(r"\s", " ", "".join(c if c.isprintable() else " " for c in name))
    assert "".join(child.content for child in inline.children or []) == f"x {line} x"


def test_hostile_classes_keep_the_table_of_classes_whole() -> None:
    per_class = [{"name": n, "n": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0} for n in HOSTILE]
    test = {**record().test.model_dump(), "per_class": per_class}
    text = model_card(record(test=test, data=data(classes=HOSTILE)))
    start = text.index("| class | samples |")
    rows = text[start:].split("\n\n")[0].splitlines()
    assert len(rows) == 2 + len(HOSTILE)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_the_card_says_what_it_is_its_limits_how_it_was_made_and_how_to_use_it() -> None:
    text = model_card(record())
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Intended use and limits",
        "How it was trained",
        "Evaluation",
        "How to use it",
        "How to reproduce it",
        "Licence",
        "Sources",
    ]
    for words in (
        "2 duplicates, kept together",
        "The network was a\\_b\\_c.",
        "frostline replay RUN",
        "Wilson 1927",
        "| ant | 5 | 0.800 | 1.000 | 0.900 |",
        "| finetune | 0.850 | 0.800 to 1.000 | -5.0 points, undecided",
        "`other`: choose one",
    ):
        assert words in text
    assert "luck" not in text


def test_the_card_of_a_text_model_speaks_of_texts() -> None:
    text = model_card(record(data=data(modality="text", kind="table")))
    assert "| task | text classification, 2 classes |" in text
    assert "Whatever else a text contains" in text
    assert "image" not in text


def test_no_path_of_the_machine_stands_in_the_card() -> None:
    assert "/home/me" not in model_card(record())


def test_a_strategy_alone_and_doubts_are_named_as_limits() -> None:
    doubts = {"method": "cleanlab", "counts": {"label errors": 3, "outliers": 0}, "examples": []}
    text = model_card(record(blocks=[], doubts=doubts))
    assert "luck of this very training set" in text
    assert "No other strategy was compared." in text
    assert "Doubts about the data, none acted on: 3 label errors." in text


def test_calibration_and_abstaining_are_described_where_there_are_any() -> None:
    part = {"n": 10, "log_loss": 0.3, "ece": 0.1, "reliability": []}
    after = {**part, "log_loss": 0.25}
    calibration = {
        "temperature": 1.3,
        "reason": "",
        "out_of_fold_before": part,
        "out_of_fold_after": after,
        "sealed_before": part,
        "sealed_after": after,
    }
    cover = {"n": 10, "answered": 8, "coverage": 0.8, "accuracy": 1.0, "ci": [0.7, 1.0]}
    abstain = {"wanted_accuracy": 0.95, "threshold": 0.7, "reason": "", "out_of_fold": cover, "sealed": cover}
    text = model_card(record(calibration=calibration, abstain=abstain))
    assert "temperature 1.30: on the sealed samples log loss went from 0.300 to 0.250 nats" in text
    assert "8 of the 10 sealed samples were answered, 1.000 of them correctly" in text
    assert "temperature" not in model_card(record())
    uncalibrated = model_card(record(calibration={**calibration, "temperature": None, "reason": "it ran alone."}))
    assert "Probabilities were not calibrated: it ran alone." in uncalibrated


def test_cells_of_a_table_cannot_add_columns() -> None:
    assert markdown_table(("a", "b"), [("x|y", "z")]).splitlines()[-1] == "| x\\|y | z |"
