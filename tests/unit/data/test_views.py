from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.data.preprocess import Preprocess
from frostline.data.views import augment_policy, make_view, make_views, number_of_views, view_of_epoch
from helpers.data_makers import SMALL, images_of, noise

PHOTO = Preprocess.default(48, (0.5,), (0.5,), 3)  # short side 55
GREY = Preprocess.default(28, (0.5,), (0.5,), 1)  # short side 32
NAMES = ["none", "light", "standard"]
SIZES = [(55, 70), (55, 55), (90, 55), (40, 300), (20, 20)]
ARRAYS = [noise(k, h, w) for k, (h, w) in enumerate(SIZES)]
PICTURES = images_of(ARRAYS)
IDS = [f"id{k}" for k in range(len(SIZES))]


def test_epochs_walk_through_the_views() -> None:
    assert [number_of_views(n) for n in (1, 6, 10, 40)] == [1, 6, 10, 10]
    assert [view_of_epoch(e, 3) for e in range(7)] == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("size", [(55, 70), (56, 55), (97, 56), (48, 48)])
def test_view_0_is_torchvisions_centre_crop(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import center_crop

    picture = noise(1, *size)
    expected = np.asarray(center_crop(Image.fromarray(picture), [48, 48]))
    view = make_view(picture, PHOTO, augment_policy(None, PHOTO), seed=0, sample="a", view=0)
    assert np.array_equal(view, expected)


def test_pictures_smaller_than_the_crop_are_enlarged_without_a_border() -> None:
    tall = Preprocess(mode="RGB", size=(20, 40), resize=24, interpolation="bilinear", mean=(0.5,), std=(0.5,))
    picture = noise(2, 48, 24)
    view = make_view(picture, tall, augment_policy("none", tall), seed=0, sample="a", view=0)
    expected = Image.fromarray(picture[18:30]).resize((40, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(view, np.asarray(expected))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(0, 3),
    st.integers(0, 12),
    st.permutations(range(len(SIZES))),
    st.integers(1, 3),
)
def test_views_depend_on_nothing_but_seed_sample_and_view(
    name: Literal["none", "light", "standard"], seed: int, view: int, order: list[int], threads: int
) -> None:
    policy = augment_policy(name, PHOTO)
    ordered = make_views(PICTURES, IDS, PHOTO, policy, seed=seed, view=view, threads=1)
    assert ordered.shape == (len(SIZES), 3, 48, 48)
    assert ordered.dtype == np.uint8
    mixed = PICTURES.select(order)
    names = [IDS[i] for i in order]
    out = np.zeros((len(order), 3, 48, 48), dtype=np.uint8)
    result = make_views(mixed, names, PHOTO, policy, seed=seed, view=view, threads=threads, out=out)
    assert result is out
    assert np.array_equal(out, ordered[order])
    single = make_view(ARRAYS[order[0]].copy(), PHOTO, policy, seed=seed, sample=names[0], view=view)
    assert np.array_equal(single.transpose(2, 0, 1), out[0])


@pytest.mark.parametrize("preprocess", [PHOTO, SMALL, GREY], ids=["photo", "small", "grey"])
def test_views_samples_and_seeds_differ_unless_augmentation_is_off(preprocess: Preprocess) -> None:
    picture = noise(3, preprocess.resize, preprocess.resize + 9, preprocess.channels)
    for name in ("light", "standard"):
        policy = augment_policy(name, preprocess)
        views = [make_view(picture, preprocess, policy, seed=0, sample="a", view=v).tobytes() for v in range(11)]
        assert len(set(views)) == 11
        assert make_view(picture, preprocess, policy, seed=1, sample="a", view=1).tobytes() not in views
        assert make_view(picture, preprocess, policy, seed=0, sample="b", view=1).tobytes() not in views
    still = augment_policy("none", preprocess)
    views = [make_view(picture, preprocess, still, seed=0, sample="a", view=v).tobytes() for v in range(3)]
    assert len(set(views)) == 1


def test_flips_are_off_for_grey_and_small_pictures_whatever_is_set() -> None:
    grey_large = Preprocess.default(224, (0.5,), (0.5,), 1)
    for name in (None, "light", "standard"):
        assert augment_policy(name, PHOTO).flip
        assert not any(augment_policy(name, p).flip for p in (SMALL, GREY, grey_large))
    assert augment_policy(None, PHOTO).name == "standard"
    assert {augment_policy(None, p).name for p in (SMALL, GREY, grey_large)} == {"light"}
    assert augment_policy("standard", GREY).saturation == 0


def test_flips_come_every_second_time_and_mirror_the_picture() -> None:
    ramp = np.tile(np.arange(0, 220, 4, dtype=np.uint8)[None, :, None], (55, 1, 3))
    policy = augment_policy("light", PHOTO)
    rising = [make_view(ramp, PHOTO, policy, seed=0, sample=str(k), view=1) for k in range(200)]
    up = sum(bool(v[20, 0, 0] < v[20, -1, 0]) for v in rising)
    assert 70 < up < 130
    flat = replace(policy, flip=False)
    for k, view in enumerate(rising[:20]):
        plain = make_view(ramp, PHOTO, flat, seed=0, sample=str(k), view=1)
        assert np.array_equal(view, plain) or np.array_equal(view, plain[:, ::-1])


def test_crops_keep_to_the_policys_area_and_ratio() -> None:
    """An image whose colours are its coordinates tells where a view was cut."""
    y, x = np.mgrid[0:200, 0:200].astype(np.uint8)
    picture = np.stack([x, y, x], axis=2)
    policy = replace(augment_policy("standard", PHOTO), light=0.0, saturation=0.0, flip=False)
    areas = []
    for k in range(150):
        view = make_view(picture, PHOTO, policy, seed=0, sample=str(k), view=1).astype(float)
        width = (view[0, -1, 0] - view[0, 0, 0]) * 48 / 47
        height = (view[-1, 0, 1] - view[0, 0, 1]) * 48 / 47
        areas.append(width * height / 200**2)
        assert 0.7 < width / height < 1.43
    assert 0.32 < min(areas) < 0.45
    assert 0.8 < max(areas) <= 1.01


def test_colour_change_equals_torchvisions_three_steps() -> None:
    import torch
    from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, adjust_saturation

    from frostline.data.views import _colour

    policy = augment_policy("standard", PHOTO)
    pixels = 60 + noise(5, 48, 48) // 2  # far from both ends, where steps would be cut off one by one
    for draws in ([0.9, 0.5, 0.5], [0.5, 0.1, 0.5], [0.5, 0.5, 0.9], [0.2, 0.8, 0.7]):
        b, c, s = (0.8 + 0.4 * u for u in draws)
        x = torch.from_numpy(pixels).permute(2, 0, 1).double() / 255
        expected = adjust_brightness(adjust_contrast(adjust_saturation(x, s), c), b).permute(1, 2, 0) * 255
        result = np.asarray(_colour(Image.fromarray(pixels), policy, draws)).astype(float)
        assert np.abs(result - expected.numpy()).max() < 1.5


def test_turning_fills_the_corners_with_the_rim() -> None:
    picture = np.full((37, 37, 1), 255, dtype=np.uint8)
    picture[12:25, 12:25] = 0
    policy = augment_policy("standard", GREY)
    assert policy.rotate
    for k in range(20):
        view = make_view(picture, GREY, replace(policy, light=0.0), seed=0, sample=str(k), view=1)
        assert view[[0, 0, -1, -1], [0, -1, 0, -1]].min() >= 250


def test_names_have_to_match_the_pictures() -> None:
    with pytest.raises(ValueError, match="4 names for 5 images"):
        make_views(PICTURES, IDS[:4], PHOTO, augment_policy(None, PHOTO), seed=0, view=1, threads=1)
