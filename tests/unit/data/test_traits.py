"""What is unusual about image files is noticed while they are decoded, whatever colours the network reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.decode import decode_all
from frostline.data.preprocess import Preprocess
from frostline.data.traits import NOTHING, Trait, trait_warnings
from helpers.data_makers import SMALL, noise
from helpers.messy_folder import odd_formats, odd_pixels, odd_sizes, save

GREY = Preprocess.default(28, (0.5,), (0.5,), 1)
FOUND = {
    "print.jpg": Trait.CMYK,
    "palette.png": Trait.PALETTE,
    "palette.gif": Trait.PALETTE | Trait.PAGES,
    "sixteen.png": Trait.DEEP | Trait.GREY,
    "sixteen.tif": Trait.DEEP | Trait.GREY | Trait.PAGES,
    "alpha.png": Trait.TRANSPARENT,
    "alpha.webp": Trait.TRANSPARENT,
    "grey.jpg": Trait.GREY,
    "grey.png": Trait.GREY,
    "black_and_white.png": Trait.GREY,
    "turned3.jpg": Trait.TURNED,
    "turned6.jpg": Trait.TURNED,
    "really_jpeg.png": Trait.MISNAMED,
    "really_png.jpg": Trait.MISNAMED,
    "really_webp.JPEG": Trait.MISNAMED,
    "moving.gif": Trait.PALETTE | Trait.PAGES,
    "moving.png": Trait.PAGES,
    "moving.webp": Trait.PAGES,
    "pages.tif": Trait.PAGES,
    "pixel.png": Trait.SMALL,
    "strip.png": Trait.STRIP,
    "one_colour.png": NOTHING,
}


@pytest.mark.parametrize("preprocess", [SMALL, GREY], ids=["colour", "grey"])
def test_each_trait_is_noticed_where_it_is(tmp_path: Path, preprocess: Preprocess) -> None:
    for make in (odd_formats, odd_pixels, odd_sizes):
        make(tmp_path)
    paths = [path for path in sorted(tmp_path.rglob("*.*")) if path.name in FOUND]
    traits: list[Trait] = []
    _, bad = decode_all(paths, preprocess, threads=2, spill_dir=None, progress=None, traits=traits)
    assert not bad
    assert {path.name: its for path, its in zip(paths, traits, strict=True)} == FOUND


def test_colours_of_sixteen_bits_and_grey_that_is_saved_as_colour_are_noticed(tmp_path: Path) -> None:
    grey = np.repeat(noise(1)[..., :1], 3, axis=2)
    deep = tmp_path / "deep.ppm"
    deep.write_bytes(b"P6 2 2 65535\n" + bytes(range(24)))
    paths = [save(tmp_path / "grey.png", Image.fromarray(grey)), deep]
    traits: list[Trait] = []
    decode_all(paths, SMALL, threads=1, spill_dir=None, progress=None, traits=traits)
    assert traits[0] == Trait.GREY
    assert Trait.SMALL in traits[1]


def test_files_that_cannot_be_read_have_no_traits(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    traits: list[Trait] = []
    decode_all([tmp_path / "x.png"], SMALL, threads=1, spill_dir=None, progress=None, traits=traits)
    assert traits == [NOTHING]


def test_grey_is_told_among_colour_alone() -> None:
    names = ["a", "b", "c"]
    assert trait_warnings([Trait.GREY] * 3, names) == ()
    (warning,) = trait_warnings([Trait.GREY, NOTHING, NOTHING], names)
    assert (warning.kind, warning.count, warning.examples) == ("grey-among-colour", 1, ("a",))
