"""The same images as a folder, a table, arrays and a data set: the same sealed rows, the same bits."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import frostline
from cases.small_world import NETWORK, write_images, write_network
from frostline.base.errors import FrostlineError
from helpers.in_process import rehearsals

COUNTS = {"test/greenish": 4, "test/reddish": 4, "train/greenish": 9, "train/reddish": 9}
FEW: dict[str, Any] = {"strategies": "probe,freeze@2", "blocks": 2, "epochs": 1, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def quick_rehearsals() -> Iterator[None]:
    with rehearsals():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, network: tuple[str, str]) -> SimpleNamespace:
    root = write_images(tmp_path_factory.mktemp("world"), COUNTS)
    ids = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    rows = [{"image": i, "label": i.split("/")[1], "split": i.split("/")[0]} for i in ids]
    return SimpleNamespace(root=root, ids=ids, rows=rows, network=network)


def fit(world: SimpleNamespace, data: Any, out: Path, **options: Any) -> list[list[str]]:
    """The sealed rows of predictions.csv, less their ids."""
    run = frostline.fit(data, world.network[0], weights=world.network[1], out=out, **FEW, **options)
    with (run.path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return [row[1:] for row in csv.reader(file)]


def as_csv(world: SimpleNamespace) -> Any:
    with (world.root / "t.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["image", "label", "split"])
        table.writeheader()
        table.writerows(world.rows)
    return world.root / "t.csv"


def as_json_lines(world: SimpleNamespace) -> Any:
    (world.root / "t.jsonl").write_text("\n".join(map(json.dumps, world.rows)), encoding="utf-8")
    return world.root / "t.jsonl"


def as_parquet(world: SimpleNamespace) -> Any:
    held = [{**row, "image": {"bytes": (world.root / row["image"]).read_bytes(), "path": None}} for row in world.rows]
    pq.write_table(pa.Table.from_pylist(held), world.root / "t.parquet")
    return world.root / "t.parquet"


def as_dataset(world: SimpleNamespace) -> Any:
    datasets = pytest.importorskip("datasets")
    names = ["greenish", "reddish"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    parts = {}
    for part in ("test", "train"):
        rows = [row for row in world.rows if row["split"] == part]
        values = {"image": [str(world.root / r["image"]) for r in rows], "label": [r["label"] for r in rows]}
        parts[part] = datasets.Dataset.from_dict(values, features=features)
    return datasets.DatasetDict(parts)


def as_arrays(world: SimpleNamespace) -> dict[str, Any]:
    images = np.stack([np.asarray(Image.open(world.root / row["image"])) for row in world.rows])
    return {"image": images, "label": [r["label"] for r in world.rows], "split": [r["split"] for r in world.rows]}


@pytest.fixture(scope="module")
def by_folder(world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    return fit(world, world.root, tmp_path_factory.mktemp("folder") / "run")


@pytest.mark.parametrize("form", [as_csv, as_json_lines, as_parquet, as_dataset])
def test_files_give_the_same_bits_in_every_form(
    world: SimpleNamespace, by_folder: list[list[str]], form: Callable[..., Any], tmp_path: Path
) -> None:
    assert fit(world, form(world), tmp_path / "run") == by_folder


def test_arrays_give_the_same_bits_where_views_do_not_follow_the_files_hash(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    expected = fit(world, world.root, tmp_path / "folder", augment="none")
    arrays = as_arrays(world)
    assert fit(world, arrays, tmp_path / "arrays", augment="none") == expected
    bundle = frostline.load(tmp_path / "arrays")
    sealed = [world.root / i for i in world.ids if i.startswith("test/")]
    images = arrays["image"][: len(sealed)]
    probabilities = bundle.predict_proba(sealed)
    for form in (images, images.transpose(0, 3, 1, 2), list(images), images / 255):
        assert np.array_equal(bundle.predict_proba(form), probabilities)
    assert [[f"{p:.9g}" for p in row] for row in probabilities] == [row[2:] for row in expected[1:]]


def test_a_run_of_arrays_resumes_only_over_the_same_arrays(world: SimpleNamespace, tmp_path: Path) -> None:
    arrays = as_arrays(world)
    first = fit(world, arrays, tmp_path / "run")
    assert fit(world, arrays, tmp_path / "run", resume=True) == first
    changed = arrays["image"].copy()
    changed[0, 0, 0, 0] ^= 1
    with pytest.raises(FrostlineError, match="other settings"):
        fit(world, {**arrays, "image": changed}, tmp_path / "run", resume=True)


def test_five_channels_run_the_whole_fit(world: SimpleNamespace, tmp_path: Path) -> None:
    """A network that ignores the two further channels gives what the network of three gives, bit for bit."""
    text = NETWORK.replace("(3, 16, 16)", "(5, 16, 16)").replace("Conv2d(3,", "Conv2d(5,")
    spec, weights = write_network(tmp_path / "net", text)
    state = load_file(world.network[1])
    state["0.weight"] = torch.cat([state["0.weight"], torch.zeros(8, 2, 3, 3)], dim=1)
    save_file(state, weights)
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    X = np.clip(rng.normal(110, 40, (30, 5, 18, 20)) + 60 * np.eye(5)[y][:, :, None, None], 0, 255).astype(np.uint8)
    still = {**FEW, "strategies": "probe", "augment": "none", "precision": "fp32"}
    three = frostline.fit((X[:, :3], y), world.network[0], weights=world.network[1], out=tmp_path / "three", **still)
    five = frostline.fit((X, y), spec, weights=weights, out=tmp_path / "five", **still)
    bundle = frostline.load(five.path)
    assert bundle.loaded.preprocess.channels == 5
    assert np.array_equal(bundle.predict_proba(X), frostline.load(three.path).predict_proba(X[:, :3]))

    several = {**FEW, "strategies": "baseline,probe,freeze@2,finetune"}
    run = frostline.fit((X, y), spec, weights=weights, out=tmp_path / "several", augment="standard", **several)
    assert {s.status for s in run.result.strategies} <= {"raced", "eliminated"}
    write_images(tmp_path / "files", {"a": 3, "b": 3})
    for refused in (
        lambda: frostline.fit(tmp_path / "files", spec, weights=weights, out=tmp_path / "no"),
        lambda: bundle.predict([tmp_path / "files" / "a" / "0.png"]),
    ):
        with pytest.raises(FrostlineError, match="reads 5 channels, but image files"):
            refused()
    assert not (tmp_path / "no").exists()


def test_three_unbalanced_classes_run(world: SimpleNamespace, tmp_path: Path) -> None:
    y = np.repeat([0, 1, 2], [60, 12, 5])
    rng = np.random.default_rng(1)
    X = np.clip(rng.normal(110, 40, (77, 16, 16, 3)) + 60 * np.eye(3)[y][:, None, None, :], 0, 255).astype(np.uint8)
    run = frostline.fit((X, y), world.network[0], weights=world.network[1], out=tmp_path / "run", **FEW)
    assert {c.name: c.n for c in run.result.test.per_class} == {"0": 12, "1": 2, "2": 1}
    assert "imbalance" in {w.kind for w in run.result.data.warnings}
    assert run.result.test.accuracy > 0.8
