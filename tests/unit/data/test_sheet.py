"""The sheet shows every class with the very pixels that the network gets, none of them from the sealed part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frostline.data.decode import decode_all
from frostline.data.preprocess import Preprocess
from frostline.data.scan import scan
from frostline.data.sheet import ACROSS, GAP, TILE, TITLE, draw_sheet, example_rows
from frostline.data.views import augment_policy, make_view
from helpers.data_makers import build, folder


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_are_evaluation_views(tmp_path: Path, channels: int) -> None:
    folder(tmp_path, a=10, b=3)
    preprocess = Preprocess.default(TILE, (0.5,), (0.5,), channels)
    dataset = build(tmp_path)
    paths = [tmp_path / sample.id for sample in dataset.samples]
    images, _ = decode_all(paths, preprocess, threads=1, spill_dir=None, progress=None)
    sheet = np.asarray(draw_sheet(dataset, images, preprocess))
    rows = example_rows(dataset)
    assert {dataset.samples[row].part for row in rows} == {"development"}
    assert [dataset.classes[dataset.labels[row]] for row in rows] == ["a"] * ACROSS + ["b"] * 2
    view = make_view(images[rows[1]], preprocess, augment_policy("none", preprocess), seed=0, sample="", view=0)
    tile = sheet[GAP + TITLE : GAP + TITLE + TILE, 2 * GAP + TILE : 2 * GAP + 2 * TILE]
    assert np.array_equal(tile, np.broadcast_to(view, tile.shape))


def test_many_classes_of_any_name_fit_on_a_sheet(tmp_path: Path) -> None:
    names = [f"{k:02} \u732b" for k in range(30)]
    folder(tmp_path, **dict.fromkeys(names, 3))
    dataset = build(tmp_path)
    preprocess = Preprocess.default(16, (0.5,), (0.5,), 3)
    images, _ = decode_all(scan(tmp_path).sources(preprocess), preprocess, threads=1, spill_dir=None, progress=None)
    sheet = draw_sheet(dataset, images, preprocess)
    assert sheet.height == GAP + 12 * (TITLE + TILE + GAP)
