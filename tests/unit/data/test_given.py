"""Arrays through Python: shapes, types, labels, and the same pixels as files with the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.base.errors import DataError
from frostline.data.decode import decode_all, hash_files, read_image
from frostline.data.given import list_given
from frostline.data.preprocess import Preprocess
from frostline.data.raw import RawImage, arrange, raw_images
from frostline.data.views import augment_policy, make_view
from helpers.data_makers import SMALL, noise

RGB = Preprocess.default(28, (0.5,), (0.5,), 3)
GREY = Preprocess.default(28, (0.5,), (0.5,), 1)
FIVE = Preprocess.default(28, (0.5,), (0.5,), 5)


def stack(count: int = 4, channels: int = 3, height: int = 24, width: int = 20) -> np.ndarray:
    bands = [[noise(i * 10 + k, height, width, 1)[:, :, 0] for k in range(channels)] for i in range(count)]
    return np.array(bands).transpose(0, 2, 3, 1)


def decoded(images: Any, preprocess: Preprocess) -> list[np.ndarray]:
    sources = arrange(raw_images(images), preprocess)
    pictures, bad = decode_all(sources, preprocess, threads=1, spill_dir=None, progress=None)
    assert not bad
    return list(pictures)


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


FORMS = {
    "channels first": lambda x: x.transpose(0, 3, 1, 2),
    "list": list,
    "tuple of channels first": lambda x: tuple(p.transpose(2, 0, 1) for p in x),
    "tensor": torch.from_numpy,
    "tensor with a graph": lambda x: (torch.from_numpy(x) / 255).double().requires_grad_(),
    "object array": lambda x: np.array([None, *x], dtype=object)[1:],
    "pillow images": lambda x: [Image.fromarray(p) for p in x],
    "16 bit": lambda x: x.astype(np.uint16) * 257,
    "16 bit, other byte order": lambda x: (x.astype(np.uint16) * 257).astype(">u2"),
    "float64": lambda x: x / 255,
    "float32": lambda x: (x / 255).astype(np.float32),
    "fortran order": np.asfortranarray,
    "backwards view": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_pictures_gives_the_pixels_of_the_files(form: Any, tmp_path: Path) -> None:
    images = stack()
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    assert equal(decoded(form(images), RGB), [read_image(path, RGB) for path in paths])
    assert equal(decoded(form(images), GREY), [read_image(path, GREY) for path in paths])
    plain = hash_files(arrange(raw_images(images), RGB), 1)
    assert hash_files(arrange(raw_images(form(images)), RGB), 1) == plain


def test_grey_arrays_are_treated_as_grey_files(tmp_path: Path) -> None:
    images = stack(channels=1)[..., 0]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    for preprocess in (RGB, GREY):
        files = [read_image(path, preprocess) for path in paths]
        for form in (images, images[..., None], images[:, None], images.astype(np.uint16) * 257):
            assert equal(decoded(form, preprocess), files)


def test_pictures_of_varying_size_and_files_may_stand_in_one_list(tmp_path: Path) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    images = [noise(2, 30, 40), tmp_path / "a.png", noise(3, 50, 33, 1)[:, :, 0], str(tmp_path / "a.png")]
    one, two, three, four = decoded(images, RGB)
    assert one.shape == (32, 42, 3)
    assert np.array_equal(two, read_image(tmp_path / "a.png", RGB))
    assert np.array_equal(two, four)
    assert np.array_equal(three[..., 0], three[..., 2])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7).filter(lambda c: c != 3), st.booleans(), st.integers(20, 40), st.integers(20, 40))
def test_many_channels_are_resized_one_by_one(channels: int, first: bool, height: int, width: int) -> None:
    preprocess = Preprocess.default(16, (0.5,), (0.5,), channels)
    images = stack(2, channels, height, width)
    found = decoded(images.transpose(0, 3, 1, 2) if first else images, preprocess)
    for k in range(channels):
        assert equal(
            [p[:, :, k : k + 1] for p in found], decoded(images[..., k], Preprocess.default(16, (0.5,), (0.5,), 1))
        )


def test_three_channels_one_by_one_are_an_rgb_picture_and_its_views() -> None:
    bands = Preprocess(
        mode="N", size=(28, 28), resize=32, interpolation="bilinear", mean=(0.5,), std=(0.5,), channels=3
    )
    images = stack()
    assert equal(decoded(images, bands), decoded(images, RGB))
    policy = augment_policy("standard", bands)
    assert (policy.flip, policy.light, policy.saturation, policy.rotate) == (False, 0.0, 0.0, 10.0)
    for view in range(4):
        a = make_view(images[0], bands, policy, seed=0, sample="x", view=view)
        assert np.array_equal(a, make_view(images[0], RGB, policy, seed=0, sample="x", view=view))


def test_views_of_many_channels_move_all_of_them_alike() -> None:
    grey = stack(1, 1, 60, 50)[0]
    picture = np.repeat(grey, 5, axis=2)
    policy = augment_policy("standard", FIVE)
    for view in range(5):
        made = make_view(picture, FIVE, policy, seed=0, sample="x", view=view)
        assert made.shape == (28, 28, 5)
        assert np.array_equal(made, np.repeat(make_view(grey, GREY, policy, seed=0, sample="x", view=view), 5, axis=2))


REFUSED = {
    "five channels": (stack(channels=5), RGB, r"shape \(24, 20, 5\) has 5 channel.* reads 3 channels \(RGB\)"),
    "too few": (stack(channels=3), FIVE, "has 3 channel.* reads 5 channels"),
    "grey for many": (stack(channels=1)[..., 0], FIVE, "has 1 channel.* reads 5 channels"),
    "two readings": (stack(height=3, channels=3), RGB, r"\(3, 20, 3\) in X can have their channels on the first or"),
    "one image": (stack()[0], RGB, "can be one image with channels, or 24 grey ones"),
    "one tensor": (stack()[0].transpose(2, 0, 1), RGB, "can be one image with channels, or 3 grey ones"),
    "rows": (np.zeros((4, 9), np.uint8), RGB, r"shape \(4, 9\) \(rows of numbers"),
    "none": (np.zeros((0, 9, 9), np.uint8), RGB, "holds no images"),
    "no list": ([], RGB, "holds no images"),
    "no pixels": (np.zeros((4, 0, 9), np.uint8), RGB, "without pixels"),
    "long integers": (stack().astype(int), RGB, "holds int64 values"),
    "booleans": (stack() > 9, RGB, "holds bool values"),
    "0 to 255 as floats": (stack().astype(float), RGB, "holds floats from 0 to 255, but"),
    "not a number": (stack() / 255 * np.nan, RGB, "floats from nan"),
    "text": ("folder", RGB, "X is text"),
    "a number": (3, RGB, "X is a int"),
    "numbers": ([1, 2], RGB, r"X\[0\] is a int"),
    "one odd image": ([stack()[0], np.zeros((2, 2, 2, 2), np.uint8)], RGB, r"X\[1\] has shape \(2, 2, 2, 2\)"),
    "a type": (np.zeros((2, 4, 4), complex), RGB, "complex128"),
}


@pytest.mark.parametrize(("images", "preprocess", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_known_is_refused_in_one_sentence(images: Any, preprocess: Preprocess, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        arrange(raw_images(images), preprocess)
    assert error.value.hint


def test_files_for_a_network_of_many_channels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="reads 5 channels, but image files have 1"):
        decode_all([tmp_path / "a.png"], FIVE, threads=1, spill_dir=None, progress=None)


@given(st.integers(0, 255))
def test_every_8_bit_value_survives_16_bits_and_floats(value: int) -> None:
    one = np.full((1, 1), value, np.uint8)
    for form in (one, one.astype(np.uint16) * 257, one / 255, (one / 255).astype(np.float32)):
        assert RawImage(form).pixels().item() == value


def test_a_mapping_gives_rows_with_parts_and_groups() -> None:
    data = {
        "image": stack(),
        "label": [7, 8, 7, 8],
        "split": ["train", "Train", "valid", "test"],
        "group": ["a", 1, None, "a"],
    }
    listing = list_given(data)
    assert [r.id for r in listing.rows] == ["0", "1", "2", "3"]
    assert [r.class_name for r in listing.rows] == ["7", "8", "7", "8"]
    assert [r.part for r in listing.rows] == ["train", "train", "val", "test"]
    assert [r.group for r in listing.rows] == ["a", "1", None, "a"]
    assert listing.kind == "arrays"
    assert listing.warnings == ()


def test_floats_are_rounded_with_a_warning() -> None:
    (warning,) = list_given((stack() / 255, [0, 1, 0, 1])).warnings
    assert (warning.kind, warning.count) == ("rounded", 4)


def test_the_name_follows_the_content() -> None:
    X, y = stack(), [0, 1, 0, 1]
    name = list_given((X, y)).root
    assert list_given([X.copy(), np.array(y)]).root == name
    changed = X.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [(changed, y), (X, [0, 1, 1, 0])]
    assert len({name, *(list_given(pair).root for pair in others)}) == 3
    assert list_given({"image": X, "label": y, "split": ["train"] * 4}).root != name


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 0, 1],
        ["0", "1", "0", "1"],
        np.array([0, 1, 0, 1], np.uint8),
        torch.tensor([0, 1, 0, 1]),
        list(np.array([0, 1, 0, 1])),
    ],
)
def test_labels_of_every_type_are_class_names(labels: Any) -> None:
    assert [row.class_name for row in list_given((stack(), labels)).rows] == ["0", "1", "0", "1"]


def test_a_frame_of_pandas_is_a_mapping(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": ["a.png", "b.png"], "label": ["x", "y"], "other": [1, 2]})
    assert [(r.class_name) for r in list_given(frame).rows] == ["x", "y"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [0, 1, 0]}, "label has 3 values for 4 images"),
        ({"label": [None, " ", None, ""]}, "label is empty in every row"),
        ({"label": [0.5, 1.0, 0.0, 1.0]}, "label is 0.5 in row 0"),
        ({"label": [0, "1", 0, 1]}, "mixes text with numbers"),
        ({"label": np.eye(4)}, r"label has shape \(4, 4\).*label.argmax\(1\)"),
        ({"label": [[0, 1], [1, 0], [0, 1], [1, 0]]}, r"label has 2 values for each image.*np.argmax"),
        ({"label": [b"a", b"b", b"a", b"b"]}, r"label is b'a' in row 0.*astype\(str\)"),
        ({"label": {0: "a", 1: "b", 2: "a", 3: "b"}}, "label is a dict"),
        ({"label": "abab"}, "label is a str"),
        ({"label": 3}, "label is a int"),
        ({"label": ["a\nb", "b", "a", "b"]}, "can't be written"),
        ({"split": ["train", "fold1", "test", "train"]}, "split is 'fold1' in row 1"),
        ({"split": ["train", None, "test", "train"]}, "split is empty in row 1"),
        ({"group": [1, 2, 3, (4,)]}, r"group is \(4,\) in row 3"),
        ({"lable": 1}, "column 'lable'"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_row_and_column(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_given({"image": stack(), "label": [0, 1, 0, 1]} | change)


@pytest.mark.parametrize("data", [3, {"image": stack()}, {"label": [1]}, (stack(), [1], [2])])
def test_other_forms_of_data_are_refused(data: Any) -> None:
    with pytest.raises(DataError) as error:
        list_given(data)
    assert "(X, y)" in error.value.hint


def test_labels_in_a_column_of_their_own_are_taken() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    for labels in (np.array([[0], [1], [0], [1]]), [[0], [1], [0], [1]]):
        assert [row.class_name for row in list_given((images, labels)).rows] == ["0", "1", "0", "1"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I", "F", "1", "CMYK"])
def test_pillow_images_are_read_as_their_files_are(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(noise(1, 30, 40, 1)[..., 0])
    image = grey.convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(grey.point(lambda v: 255 * (v > 128)))
    if mode == "I":
        image = image.point(lambda v: v * 200)
    if mode == "F":
        image = image.point(lambda v: v * (1 / 300) + 0.0)
    image.save(tmp_path / "x.tif")
    (source,) = arrange(raw_images([image]), SMALL)
    ours = read_image(source, SMALL).astype(int)
    assert np.abs(ours - read_image(tmp_path / "x.tif", SMALL)).max() <= 1


def test_the_orientation_of_a_pillow_image_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(2, 40, 40)).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        (source,) = arrange(raw_images([image]), SMALL)
    ours = read_image(source, SMALL).astype(int)  # turned before it is resized, where a file is turned after
    assert np.abs(ours - read_image(tmp_path / "x.png", SMALL)).max() <= 1
