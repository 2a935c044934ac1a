"""Images of one colour, and files of 12 bits in 16 that come out nearly black, are told."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.data.overview import range_warnings
from frostline.data.raw import RawImage
from helpers.data_makers import images_of, noise


def test_usual_images_give_no_warning() -> None:
    images = images_of([noise(i) for i in range(4)])
    assert range_warnings(images, list("abcd"), range(4)) == ()


def test_images_of_one_colour_are_named() -> None:
    red = np.zeros((9, 9, 3), dtype=np.uint8)
    red[..., 0] = 200
    (warning,) = range_warnings(images_of([noise(0), red, noise(1)]), list("abc"), range(3))
    assert (warning.kind, warning.count, warning.examples) == ("constant-images", 1, ("b",))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_in_files_of_sixteen_are_told(bits: int) -> None:
    rng = np.random.default_rng(0)
    raw = [RawImage(rng.integers(0, 2**bits, (9, 9), dtype=np.uint16)) for _ in range(4)]
    (warning,) = range_warnings(images_of([image.pixels() for image in raw]), list("abcd"), range(4))
    assert (warning.kind, warning.count) == ("pixel-range", 4)


def test_a_few_dark_images_among_others_are_usual() -> None:
    dark = (noise(0) // 8).astype(np.uint8)
    assert range_warnings(images_of([dark, *(noise(i) for i in range(1, 4))]), list("abcd"), range(4)) == ()
