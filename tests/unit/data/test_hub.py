"""Data sets of the library `datasets`: found by their looks, read without decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from frostline.base.errors import DataError
from frostline.data.decode import decode_all, hash_files, read_image
from frostline.data.given import list_given
from helpers.data_makers import SMALL, folder, noise

datasets = pytest.importorskip("datasets")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    folder(tmp_path, a=3, b=3)
    return [str(p) for p in sorted(tmp_path.rglob("*.png"))]


def made(paths: Sequence[str | None], image: str = "image", label: str = "label", **columns: Any) -> Any:
    features = {image: datasets.Image(), label: datasets.ClassLabel(names=["ant", "bee"])}
    features |= {name: datasets.Value("string") for name in columns}
    values = {image: paths, label: [k % 2 for k in range(len(paths))], **columns}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def test_a_dataset_gives_the_pixels_and_hashes_of_its_files(paths: list[str]) -> None:
    for data in (made(paths), made(paths, "photo", "kind"), made(paths).with_format("numpy")):
        listing = list_given(data)
        assert listing.kind == "dataset"
        assert [r.id for r in listing.rows] == ["0", "1", "2", "3", "4", "5"]
        assert [r.class_name for r in listing.rows] == ["ant", "bee"] * 3
        sources = listing.sources(SMALL)
        found, bad = decode_all(sources, SMALL, threads=2, spill_dir=None, progress=None)
        assert not bad
        assert all(np.array_equal(a, read_image(Path(p), SMALL)) for a, p in zip(found, paths, strict=True))
        assert hash_files(sources, 1) == hash_files([Path(p) for p in paths], 1)


def test_pictures_in_memory_and_shuffled_rows_are_read(paths: list[str]) -> None:
    images = [PillowImage.fromarray(noise(k)) for k in range(4)]
    data = datasets.Dataset.from_dict({"image": images, "label": ["x", "y", "x", "y"]}).select([3, 1])
    listing = list_given(data)
    assert [r.class_name for r in listing.rows] == ["y", "y"]
    found, _ = decode_all(listing.sources(SMALL), SMALL, threads=1, spill_dir=None, progress=None)
    raw, _ = decode_all(
        list_given(([noise(3), noise(1)], [0, 1])).sources(SMALL), SMALL, threads=1, spill_dir=None, progress=None
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, raw, strict=True))


def test_the_keys_of_a_dict_are_the_parts(paths: list[str]) -> None:
    parts = datasets.DatasetDict({"train": made(paths[:4]), "validation": made(paths[4:])})
    listing = list_given(parts)
    assert [r.id for r in listing.rows][3:] == ["train/3", "validation/0", "validation/1"]
    assert [r.part for r in listing.rows] == ["train"] * 4 + ["val"] * 2
    parts["unsupervised"] = made(paths)
    with pytest.raises(DataError, match="split 'unsupervised'"):
        list_given(parts)


def test_columns_of_parts_and_groups_are_read(paths: list[str]) -> None:
    listing = list_given(made(paths, split=["train"] * 5 + ["test"], group=["p", "p", "q", "q", None, "r"]))
    assert [r.part for r in listing.rows][4:] == ["train", "test"]
    assert [r.group for r in listing.rows] == ["p", "p", "q", "q", None, "r"]


def test_a_row_without_a_picture_is_unreadable_and_one_without_a_label_has_no_class(paths: list[str]) -> None:
    listing = list_given(made([*paths[:5], None]))
    _, bad = decode_all(listing.sources(SMALL), SMALL, threads=1, spill_dir=None, progress=None)
    assert bad == {5: "can't be opened (no image in this row)"}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
    data = datasets.Dataset.from_dict({"image": paths[:2], "label": [0, -1]}, features=features)
    assert [row.class_name for row in list_given(data).rows] == ["a", ""]


def test_other_data_sets_are_refused(paths: list[str]) -> None:
    with pytest.raises(DataError, match="no column 'image' and no column 'text'; it has 'size', 'label'"):
        list_given(datasets.Dataset.from_dict({"size": [2], "label": [1]}))
    with pytest.raises(DataError, match=r"a column 'Split', but .* 'split'"):
        list_given(made(paths, Split=["train"] * 6))
    with pytest.raises(DataError, match="a column 'phase' with the values 'test', 'train'"):
        list_given(made(paths, phase=["train"] * 5 + ["test"]))
    with pytest.raises(DataError, match="images were expected") as error:
        list_given(datasets.Dataset.from_dict({"image": [[1, 2]], "label": [1]}))
    assert "datasets.Image()" in error.value.hint
    with pytest.raises(DataError, match="streamed"):
        list_given(made(paths).to_iterable_dataset())


def test_the_name_follows_the_content(paths: list[str]) -> None:
    assert list_given(made(paths)).root != list_given(made(paths[::-1])).root


def test_a_dataset_of_texts_gives_its_texts(paths: list[str]) -> None:
    del paths
    label = datasets.ClassLabel(names=["no", "yes"])
    for name in ("text", "sentence"):
        features = datasets.Features({name: datasets.Value("string"), "labels": label})
        columns = {name: ["a", "b c", ""], "labels": [1, 0, 1]}
        data = datasets.Dataset.from_dict(columns, features=features)
        listing = list_given(datasets.DatasetDict({"train": data, "test": data}))
        assert listing.noun == "texts"
        assert listing.texts == ("a", "b c", "", "a", "b c", "")
        assert [r.class_name for r in listing.rows[:3]] == ["yes", "no", "yes"]
        assert [r.part for r in listing.rows[2:4]] == ["train", "test"]
        assert [r.id for r in listing.rows[2:4]] == ["train/2", "test/0"]
