"""Training on the store equals training without it, bit for bit: weights, out-of-fold and sealed predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.pipeline import Run, run
from frostline.recipe.settings import Settings

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "torchvision:resnet18", "weights": "random", "size": 32, "k": 3},
    "vit": {
        "model": "timm:vit_tiny_patch16_224",
        "weights": "random",
        "model_args": {"img_size": 32},
        "size": 32,
        "k": 8,
    },
}


def strategies(k: int) -> tuple[str, ...]:
    return (f"probe@{k}", f"freeze@{k}")


def fitted(tmp: Path, data: Path, k: int, **options: Any) -> Run:
    # 19 images of a class in batches of 8: the last batch of every epoch is partial
    return run(
        Settings(
            data=data,
            out=tmp,
            strategies=strategies(k),
            epochs=2,
            blocks=2,
            lr=1e-3,
            batch_size=8,
            prefer="accuracy",
            **options,
        )
    )


def bits(result: Run) -> dict[str, object]:
    trials = [json.loads(line) for line in (result.path / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "weights": (result.path / "model" / "model.safetensors").read_bytes(),
        "predictions": (result.path / "predictions.csv").read_bytes(),
        "out of fold": (result.path / "oof.parquet").read_bytes(),
        "curves": [(t["key"], t["curve"], t["accuracy"], t["log_loss"]) for t in trials],
    }


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*NETWORKS, "mobilenet"])
def test_training_on_the_store_equals_training_without_it(
    name: str, precision: str, tmp_path: Path, few_images: Callable[[int], Path], mobilenet: tuple[str, str]
) -> None:
    options = dict(NETWORKS.get(name, {"model": mobilenet[0], "weights": mobilenet[1], "size": 64, "k": 4}))
    k = options.pop("k")
    data = few_images(19)
    stored = fitted(tmp_path / "stored", data, k, precision=precision, store=str(tmp_path / "store"), **options)
    without = fitted(tmp_path / "without", data, k, precision=precision, store="off", **options)
    assert any((tmp_path / "store").rglob("*.bin"))
    assert bits(stored) == bits(without)
    if name == "mobilenet":  # the second run reads what the first one wrote
        again = fitted(tmp_path / "again", data, k, precision=precision, store=str(tmp_path / "store"), **options)
        assert bits(stored) == bits(again)
