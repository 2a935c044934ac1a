"""examples.json: the samples that are shown are those that the other files name, small, and the same in equal runs."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.data.preprocess import Preprocess
from frostline.data.texts import Texts
from frostline.demo import digits
from frostline.record.examples import LETTERS, confident_mistakes, sample_entries
from helpers.data_makers import dataset_of, images_of, noise
from helpers.report_runs import write_demo


@pytest.fixture(scope="module")
def kept(demo_run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((demo_run / "examples.json").read_text(encoding="utf-8"))
    return found


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def picture(address: str) -> Image.Image:
    kind, _, data = address.partition(",")
    assert kind == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == "WEBP"
    return image.convert("L")


def test_mistakes_are_the_most_confident_ones_of_the_predictions(demo_run: Path, kept: dict[str, Any]) -> None:
    wrong = [row for row in table(demo_run / "predictions.csv") if row["label"] != row["predicted"]]
    assert len(wrong) > 12
    sure = {row["id"]: float(row[f"p:{row['predicted']}"]) for row in wrong}
    assert len(kept["mistakes"]) == 12
    shown = [sure[name] for name in kept["mistakes"]]
    assert shown == sorted(sure.values(), reverse=True)[:12]
    labels = {row["id"]: row["label"] for row in wrong}
    assert all(kept["samples"][name]["label"] == labels[name] for name in kept["mistakes"])


def test_doubts_are_those_of_the_list_and_classes_are_learnt_from(demo_run: Path, kept: dict[str, Any]) -> None:
    parts = {row["id"]: (row["part"], row["label"]) for row in table(demo_run / "samples.csv")}
    listed = [row for row in table(demo_run / "doubts.csv") if row["kind"] != "small-class"]
    kinds = dict.fromkeys(row["kind"] for row in listed)
    doubted = [row["id"] for kind in kinds for row in [r for r in listed if r["kind"] == kind][:8]]
    assert doubted
    assert kept["doubts"] == doubted
    assert {parts[name][0] for name in kept["classes"]} == {"development"}
    assert {parts[name][1] for name in kept["classes"]} == set("0123456789")
    assert len(kept["classes"]) == len(set(kept["classes"])) == 50
    named = {*kept["classes"], *kept["mistakes"], *kept["doubts"]}
    assert set(kept["samples"]) == named
    assert all(entry["label"] == parts[name][1] for name, entry in kept["samples"].items())


def test_each_picture_is_small_and_of_the_sample_that_it_stands_for(kept: dict[str, Any]) -> None:
    """Shrunk back to the scan's own 8 x 8 pixels it is closest to that scan, of all scans."""
    scans = digits()["image"].astype(float)
    flat = (scans - scans.mean(axis=(1, 2), keepdims=True)).reshape(len(scans), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    for name, entry in kept["samples"].items():
        shown = picture(entry["image"])
        assert max(shown.size) == 128
        small = np.asarray(shown.resize((8, 8), Image.Resampling.BOX), dtype=float).ravel()
        likeness = flat @ (small - small.mean()) / np.linalg.norm(small - small.mean())
        assert int(likeness.argmax()) == int(name)
        assert likeness.max() > 0.95


def test_pictures_of_any_shape_fit_into_128_pixels() -> None:
    preprocess = Preprocess.default((100, 300), (0.5,), (0.5,), 3)
    shown = sample_entries(images_of([noise(1, 500, 900), noise(2, 20, 30)]), [0, 1], preprocess)
    assert [picture(entry["image"]).size for entry in shown] == [(128, 43), (128, 43)]


def test_texts_are_cut_at_400_letters() -> None:
    words = ["short", "é" * 1000, "x" * 400]
    texts = Texts(words=tuple(words), ids=np.zeros((3, 2), dtype=np.int32))
    shown = sample_entries(texts, [1, 0, 2], Preprocess.default(8, (0.5,), (0.5,), 3))
    assert shown == [{"text": "é" * 400}, {"text": "short"}, {"text": "x" * 400}]
    assert LETTERS == 400


def test_ties_keep_the_order_of_the_samples_and_right_ones_are_left_out() -> None:
    dataset = dataset_of([0, 1, 0, 1])
    samples = tuple(replace(sample, part="sealed") for sample in dataset.samples)
    probabilities = np.array([[0.2, 0.8], [0.8, 0.2], [0.9, 0.1], [0.95, 0.05]])
    assert confident_mistakes(replace(dataset, samples=samples), probabilities) == [3, 0, 1]


def test_equal_runs_write_equal_bytes(trained_run: Path, tmp_path: Path) -> None:
    write_demo(tmp_path / "again", "freeze@2")
    for name in ("examples.json", "predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (trained_run / name).read_bytes()
