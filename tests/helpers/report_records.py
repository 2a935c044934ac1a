"""A made-up record: three strategies that ran, one that was dropped, one that was left out."""

from __future__ import annotations

from typing import Any

STAGES = 5


def stages_of(name: str) -> list[str]:
    """What `probe`, `freeze@K` and `finetune` do to five stages and the head; of others nothing is said."""
    base, _, stage = name.partition("@")
    frozen = {"probe": STAGES, "finetune": 0}.get(name, int(stage) if base == "freeze" and stage.isdigit() else -1)
    if frozen < 0:
        return []
    fates = ["pretrained, frozen"] * frozen + ["pretrained, trained"] * (STAGES - frozen)
    return [*fates, "new, trained"]


def strategy(name: str, **changed: Any) -> dict[str, Any]:
    values = {
        "name": name,
        "stages": stages_of(name),
        "term": "a term",
        "origin_summary": "stages 1-4 pretrained, frozen; head new",
        "trained_parameters": 1234,
        "operations": 2e9,
        "status": "raced",
        "reason": None,
        "rate": None,
        "rates_tried": [],
        "l2": None,
        "mix": None,
        "epochs": 6.0,
        "steps": None,
        "undertrained": False,
        "blocks": [{"index": 0, "accuracy": 0.9, "log_loss": 0.3}],
        "seconds": 1.5,
        "accuracy": 0.9,
        "accuracy_ci": [0.85, 0.95],
        "log_loss": 0.3,
        "score": 0.9,
        "score_ci": [0.85, 0.95],
        "versus_best": None,
        "test": None,
    }
    return {**values, **changed}


def versus(difference: float, outcome: str) -> dict[str, Any]:
    return {
        "difference": difference,
        "ci": [difference - 0.02, difference + 0.02],
        "p": 0.3,
        "outcome": outcome,
        "ci_samples": [difference - 0.01, difference + 0.01],
    }


def record(**changed: Any) -> dict[str, Any]:
    """A whole record as result.json holds it."""
    strategies = [
        strategy("probe", versus_best=versus(-0.004, "as-good")),
        strategy(
            "finetune",
            operations=2.4e10,
            rate=1e-4,
            steps=120,
            undertrained=True,
            accuracy=0.904,
            score=0.904,
            trained_parameters=1_900_000,
        ),
        strategy(
            "scratch",
            status="eliminated",
            accuracy=0.6,
            score=0.6,
            operations=3e10,
            versus_best=None,
            reason="scratch is 30.0 points behind finetune.",
        ),
        strategy(
            "freeze@2",
            status="failed",
            accuracy=None,
            accuracy_ci=None,
            score=None,
            score_ci=None,
            log_loss=None,
            blocks=[],
            reason="The loss is nan.",
        ),
        strategy(
            "baseline",
            status="skipped",
            accuracy=None,
            accuracy_ci=None,
            score=None,
            score_ci=None,
            log_loss=None,
            blocks=[],
            reason="it was not asked for",
            trained_parameters=0,
            operations=0.0,
        ),
    ]
    values: dict[str, Any] = {
        "schema": 5,
        "version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "frostline fit",
        "seed": 0,
        "machine": {"cores": 2, "reasons": ["precision fp32: small network"]},
        "packages": {"torch": "2.11"},
        "settings": {"strategies": ["auto"], "mean": None},
        "data": {
            "path": "ants",
            "kind": "folders",
            "classes": ["ant", "bee"],
            "n_development": 100,
            "n_test": 50,
            "sealed": "val/",
            "groups": 150,
            "sha256": "00",
            "warnings": [{"kind": "unreadable", "count": 2, "examples": ["a.jpg", "b.jpg"], "handled": "left out"}],
        },
        "model": {"spec": "timm:x", "weights_sha256": "00", "parameters": 10, "class_map": None, "stages": []},
        "blocks": [{"index": 0, "repeat": 0, "fold": 0, "n_train": 80, "n_validation": 20}],
        "strategies": strategies,
        "pairs": [],
        "verdict": {
            "strategy": "probe",
            "best": "finetune",
            "reason": "probe is the cheapest strategy.",
            "runner_up": "finetune",
            "samples_needed": 4321,
        },
        "test": {
            "n": 50,
            "accuracy": 0.88,
            "ci": [0.76, 0.94],
            "balanced_accuracy": 0.88,
            "f1_macro": 0.87,
            "log_loss": 0.3,
            "ece": 0.05,
            "per_class": [],
            "confusion": [[90, 10], [5, 95]],
        },
        "audit": {
            "frozen_tensors": 1000,
            "frozen_unchanged": 1000,
            "moving_on_purpose": 6,
            "trained_tensors": 20,
            "trained_changed": 19,
            "no_gradient": ["fc.bias"],
        },
        "cost": {
            "seconds": 10.0,
            "phases": [{"name": "race", "seconds": 8.0}],
            "prefix_seconds": 1.0,
            "store_mb": 3.0,
            "peak_rss_mb": 500.0,
            "peak_anonymous_mb": 500.0,
            "images_per_second": 50.0,
        },
    }
    return {**values, **changed}
