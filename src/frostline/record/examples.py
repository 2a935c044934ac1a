"""examples.json: the few samples that people are shown, as small images or the beginning of the text.

They are kept in the RUN folder, so that a report can be made again where the data no longer are.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from frostline.base.records import Dataset, FloatArray
from frostline.conclude.doubts import KINDS, Doubts
from frostline.data.contract import Contract, Samples
from frostline.data.preprocess import Preprocess
from frostline.data.sheet import example_rows, thumbnails
from frostline.data.texts import Texts
from frostline.train.study import Study

MISTAKES = 12
DOUBTS = 8  # of each kind
LETTERS = 400  # of a text
QUALITY = 80  # of a WebP image

Kept = dict[str, Any]


def examples(study: Study, sealed: Samples, probabilities: FloatArray, doubts: Doubts | None) -> Kept:
    """Return what examples.json holds.

    `classes`, `mistakes` and `doubts` list ids; `samples` has for each of them its `label`, and either `image` (a data
    address of a WebP image, as the network gets it) or `text`. `probabilities` (N, C) are the verdict's of the N
    `sealed` samples.
    """
    dataset = study.dataset
    source = study.features.source
    ids = [sample.id for sample in dataset.samples]
    mistakes = confident_mistakes(dataset, probabilities)
    learnt = {"classes": example_rows(dataset), "doubts": _doubted_rows(ids, doubts)}
    rows = sorted({*learnt["classes"], *learnt["doubts"]})
    shown = sample_entries(source.images, study.positions(rows).tolist(), source.preprocess)
    shown += sample_entries(sealed, np.searchsorted(dataset.sealed, mistakes).tolist(), source.preprocess)
    samples = {
        ids[row]: {"label": dataset.classes[dataset.samples[row].label], **entry}
        for row, entry in zip([*rows, *mistakes], shown, strict=True)
    }
    groups = {**learnt, "mistakes": mistakes}
    return {**{name: [ids[row] for row in group] for name, group in groups.items()}, "samples": samples}


def confident_mistakes(dataset: Dataset, sealed: FloatArray) -> list[int]:
    """Rows of the sealed samples that were predicted wrong, the most confident first, MISTAKES at most."""
    rows = dataset.sealed
    wrong = np.flatnonzero(sealed.argmax(axis=1) != dataset.labels[rows])
    order = np.argsort(-sealed[wrong].max(axis=1), kind="stable")
    return [int(rows[i]) for i in wrong[order][:MISTAKES]]


def _doubted_rows(ids: Sequence[str], doubts: Doubts | None) -> list[int]:
    if doubts is None:
        return []
    row_of = {name: row for row, name in enumerate(ids)}
    rows: list[int] = []
    for kind in KINDS:
        if kind == "small-class":  # these are about a class, not a sample
            continue
        found = [row_of[doubt.id] for doubt in doubts.found if doubt.kind == kind]
        rows += found[:DOUBTS]
    return rows


def sample_entries(samples: Samples, rows: Sequence[int], contract: Contract) -> list[dict[str, str]]:
    """Return for each of these rows its `image` as a data address, or the beginning of its `text`."""
    if isinstance(samples, Texts):
        return [{"text": samples.words[row][:LETTERS]} for row in rows]
    if not rows:
        return []
    assert isinstance(contract, Preprocess)  # images are read by no other contract
    return [{"image": _data_address(tile)} for tile in thumbnails(samples, rows, contract)]


def _data_address(tile: Image.Image) -> str:
    buffer = io.BytesIO()
    tile.save(buffer, format="WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
