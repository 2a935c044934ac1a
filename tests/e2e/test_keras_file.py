"""A network from a `.keras` file goes all the way: strategies, audit, and a saved model that needs the file no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import frostline
from frostline.models.sources.keras_library import building, import_keras
from helpers.in_process import rehearsals

Fit = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module", autouse=True)
def quick_rehearsals() -> Iterator[None]:
    with rehearsals():
        yield


def write_keras(path: Path) -> None:
    keras = import_keras()
    layers = keras.layers
    with building(keras):
        i = keras.Input((16, 16, 3))
        x = layers.Rescaling(1 / 127.5, offset=-1)(i)
        for k in range(1, 4):
            y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"block{k}_conv")(x)
            y = layers.ReLU(name=f"block{k}_relu")(layers.BatchNormalization(name=f"block{k}_bn")(y))
            x = y if k == 1 else layers.Add(name=f"block{k}_add")([x, y])
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(layers.GaussianNoise(0.1)(x)))
        keras.Model(i, layers.Dense(4, activation="softmax", name="predictions")(x)).save(path)


FRESH = """
import json, sys, frostline
runs, images = json.loads(sys.argv[1])
print(json.dumps([frostline.load(run).predict_proba(images).tolist() for run in runs]))
"""


@pytest.mark.slow
def test_a_keras_file_with_random_layers_is_proved_and_read_back_without_the_file(
    fit: Fit, squares: Path, tmp_path: Path
) -> None:
    model = tmp_path / "own.keras"
    write_keras(model)
    images = [str(p) for p in sorted(squares.rglob("*.png"))[:5]]
    runs, here = [], []
    for name in ("probe@2", "freeze@2"):
        run = tmp_path / name
        rate = () if name.startswith("probe") else ("--lr", "1e-2")
        done = fit(
            squares,
            "--strategies",
            name,
            "--out",
            run,
            "--epochs",
            2,
            "--blocks",
            2,
            *rate,
            model=f"keras:{model}",
            weights=None,
        )
        assert done.code == 0, done.err
        counted = json.loads((run / "result.json").read_text())["audit"]
        assert counted["frozen_tensors"] == counted["frozen_unchanged"]
        assert counted["frozen_tensors"] > 0
        runs.append(str(run))
        here.append(frostline.load(run).predict_proba(images).tolist())
    assert len({str(answer) for answer in here}) == 2  # they are different networks
    model.unlink()
    command = [sys.executable, "-c", FRESH, json.dumps([runs, images])]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=400)
    assert json.loads(there.stdout) == here
