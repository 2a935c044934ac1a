"""What a folder, a file or Python hands over for pre-training, what is left out of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cases.small_world import write_images
from frostline.base.errors import DataError
from frostline.base.events import Event
from frostline.data.images import Images
from frostline.data.preprocess import Preprocess
from frostline.data.unlabelled import Unlabelled, read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.pretrain.pretraining import PURPOSE

PREPROCESS = Preprocess.default(16, (0.5,), (0.25,), 3)


def images_of(data: Unlabelled) -> Images:
    assert isinstance(data.samples, Images)
    return data.samples


def read(data: Any, without: frozenset[str] = frozenset(), **options: Any) -> tuple[Unlabelled, list[str]]:
    told: list[str] = []

    def emit(event: Event) -> None:
        told.append(event.text)

    purpose = replace(PURPOSE, without=without)
    return read_unlabelled(list_unlabelled(data), PREPROCESS, purpose, threads=1, emit=emit, **options), told


def test_a_flat_folder_needs_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path, {".": 9})
    found, told = read(tmp_path)
    assert (len(found), found.labels, told) == (9, None, [])


def test_class_folders_give_labels_to_the_monitor_and_it_is_said_that_nothing_is_sealed(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4, "b": 5})
    found, told = read(tmp_path)
    assert found.labels is not None
    assert np.bincount(found.labels).tolist() == [4, 5]
    assert "Nothing here is sealed" in told[-1]


@pytest.mark.parametrize(
    ("counts", "kept", "part"),
    [
        ({"train/a": 5, "train/b": 5, "val/a": 2, "val/b": 2, "test/a": 3, "test/b": 3}, 14, "test"),
        ({"train/a": 5, "train/b": 5, "val/a": 2, "val/b": 2}, 10, "val"),
        ({"a/train": 5, "a/test": 2, "b/train": 5, "b/test": 2}, 10, "test"),
        ({"train": 9, "test": 3}, 9, "test"),
        ({"2021": 5, "2022": 5, "test": 3}, 10, "test"),
    ],
)
def test_what_fit_would_seal_is_never_learnt_from(tmp_path: Path, counts: dict[str, int], kept: int, part: str) -> None:
    write_images(tmp_path, counts)
    found, told = read(tmp_path)
    assert len(found) == kept
    assert found.left_out == sum(counts.values()) - kept
    assert not any(f"{part}/" in name for name in found.ids)
    assert f"of the part {part} were left out" in " ".join(told)


def test_samples_of_another_sealed_part_are_left_out_by_content(tmp_path: Path) -> None:
    write_images(tmp_path, {".": 12})
    whole, _ = read(tmp_path)
    found, told = read(tmp_path, without=frozenset(whole.hashes[:3]))
    assert found.ids == whole.ids[3:]
    assert found.left_out == 3
    assert told == ["3 images of the sealed part were left out."]


def test_unreadable_files_are_named_and_hidden_ones_not_read(tmp_path: Path) -> None:
    write_images(tmp_path, {".": 9})
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "0.png").read_bytes())
    found, told = read(tmp_path)
    assert len(found) == 9
    assert told == ["1 unreadable (broken.png: not an image, or damaged at its start): left out"]


def test_an_array_file_equals_the_array(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 20, 18, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", values, allow_pickle=False)
    from_file, _ = read(tmp_path / "x.npy")
    in_memory, _ = read(values)
    assert from_file.hashes == in_memory.hashes
    assert from_file.sha256 == in_memory.sha256
    assert np.array_equal(images_of(from_file)[3], images_of(in_memory)[3])


def test_pictures_and_labels_may_come_from_python() -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 20, 18, 3), dtype=np.uint8)
    pair, _ = read((values, [0, 1] * 5))
    named, _ = read({"image": values, "label": ["0", "1"] * 5})
    assert pair.labels is not None
    assert pair.labels.tolist() == named.labels.tolist() == [0, 1] * 5


def test_a_table_may_lack_labels_and_leaves_its_test_rows_out(tmp_path: Path) -> None:
    write_images(tmp_path / "i", {".": 12})
    rows = [{"image": f"i/{k}.png", "split": "test" if k < 3 else "train"} for k in range(12)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, _ = read(tmp_path / "t.jsonl")
    assert found.ids == tuple(str(k + 1) for k in range(3, 12))
    assert (found.left_out, found.labels) == (3, None)


def test_a_pickled_array_is_refused_and_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        list_unlabelled(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npy", b"nothing", "can't be read as an array"),
        ("x.zip", b"PK", "a file of another kind"),
        ("t.csv", b"name,label\na,b\n", "neither a column 'image' nor a column 'text'"),
        ("t.csv", b"image\n", "holds no rows"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        list_unlabelled(tmp_path / name)


def test_too_little_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, {".": 5})
    with pytest.raises(DataError, match="holds 5 images to learn from; pre-training needs at least 8"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        list_unlabelled(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        list_unlabelled(tmp_path / "elsewhere")


def test_pictures_turned_by_their_camera_are_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in range(8):
        picture.save(tmp_path / f"{k}.jpg", exif=exif)
    found, _ = read(tmp_path)
    height, width = images_of(found)[0].shape[:2]
    assert height > width
