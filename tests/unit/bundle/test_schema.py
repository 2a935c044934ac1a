"""The record: which fields may differ between equal runs, and that it survives being written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from frostline.bundle.schema import RunResult, without_volatile


def made(**changed: Any) -> RunResult:
    values: dict[str, Any] = {
        "schema": 5,
        "version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "frostline fit",
        "seed": 0,
        "machine": {"cores": 2, "reasons": ("precision fp32",)},
        "packages": {},
        "settings": {"strategies": ("auto",)},
        "data": {
            "path": "ants",
            "kind": "folders",
            "classes": ["ant", "bee"],
            "n_development": 9,
            "n_test": 3,
            "sealed": "val/",
            "groups": 12,
            "sha256": "00",
            "warnings": [],
        },
        "model": {"spec": "timm:x", "weights_sha256": None, "parameters": 10, "class_map": None, "stages": []},
        "blocks": [],
        "strategies": [
            {
                "name": "probe",
                "term": "",
                "origin_summary": "",
                "trained_parameters": 1,
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
                "accuracy": None,
                "accuracy_ci": None,
                "log_loss": None,
                "score": None,
                "score_ci": None,
                "versus_best": None,
                "test": None,
            }
        ],
        "pairs": [],
        "verdict": {"strategy": "probe", "best": "probe", "reason": "", "runner_up": None, "samples_needed": None},
        "test": {
            "n": 3,
            "accuracy": 1.0,
            "ci": [0.5, 1.0],
            "balanced_accuracy": 1.0,
            "f1_macro": 1.0,
            "log_loss": 0.1,
            "ece": 0.0,
            "per_class": [],
            "confusion": [[2, 0], [0, 1]],
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
            "phases": [{"name": "race", "seconds": 1.0}],
            "prefix_seconds": 0.5,
            "store_mb": 1.0,
            "peak_rss_mb": 10.0,
            "peak_anonymous_mb": 10.0,
            "images_per_second": 5.0,
        },
    }
    return RunResult.model_validate({**values, **changed})


def test_what_may_differ_is_stripped_at_every_depth_and_nothing_else() -> None:
    kept = without_volatile(made())
    assert not {"created", "command"} & set(kept)
    assert kept["cost"] == {"phases": [{"name": "race"}]}
    assert "seconds" not in kept["strategies"][0]
    assert kept["strategies"][0]["l2"] == 0.1
    assert kept["schema"] == 5
    other = made(created="x", command="y", cost={**made().cost.model_dump(), "seconds": 99.0, "peak_rss_mb": 1.0})
    assert without_volatile(other) == kept
    assert without_volatile(made(seed=1)) != kept


def test_volatile_fields_are_marked_in_the_schema() -> None:
    schema = RunResult.model_json_schema(by_alias=True)
    marked = {name for name, field in schema["properties"].items() if field.get("volatile")}
    assert marked == {"created", "command", "concluded"}
    assert all(f.get("volatile") for n, f in schema["$defs"]["CostRecord"]["properties"].items() if n != "phases")


def test_a_record_is_the_same_after_writing_and_reading() -> None:
    result = made()
    text = result.model_dump_json(by_alias=True)
    assert RunResult.model_validate_json(text).model_dump_json(by_alias=True) == text
    assert json.loads(text)["schema"] == 5


def test_a_record_in_memory_compares_with_one_that_was_read() -> None:
    result = made()
    assert without_volatile(RunResult.model_validate_json(result.model_dump_json(by_alias=True))) == without_volatile(
        result
    )


def test_unknown_keys_are_refused_and_values_are_fixed() -> None:
    with pytest.raises(ValidationError):
        made(more=1)
    result = made()
    with pytest.raises(ValidationError):
        result.seed = 1
