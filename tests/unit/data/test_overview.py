"""Facts of files: formats by their content, sizes as they are on disk, endings that say something else."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from frostline.data.overview import frames_warning, image_facts, text_facts
from frostline.data.raw import RawImage
from frostline.data.traits import Trait
from helpers.data_makers import save


def test_formats_sizes_modes_and_wrong_endings_are_found(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a.png", 1, height=10, width=30), save(tmp_path / "b.jpg", 2, height=20, width=20)]
    save(tmp_path / "c.png", 3, height=50, width=5).rename(tmp_path / "c.jpg")
    Image.new("L", (7, 7)).save(tmp_path / "d.jfif", "JPEG")
    (tmp_path / "e.png").write_bytes(b"no image")
    paths += [tmp_path / "c.jpg", tmp_path / "d.jfif", tmp_path / "e.png"]
    facts = image_facts(paths, threads=1)
    assert facts.looked_at == 4
    assert facts.formats == {"PNG": 2, "JPEG": 2}
    assert facts.modes == {"RGB": 3, "L": 1}
    assert facts.sizes == ((7, 7), (30, 10), (20, 20))
    assert facts.misnamed == ("c.jpg is PNG",)


def test_bytes_and_arrays_are_looked_at_too() -> None:
    held = BytesIO()
    Image.new("RGB", (4, 6)).save(held, "PNG")
    raw = RawImage(np.zeros((3, 8, 9), dtype=np.uint16), axis=0)
    facts = image_facts([held.getvalue(), raw], threads=1)
    assert facts.formats == {"PNG": 1, "array": 1}
    assert facts.sizes == ((4, 6), (9, 8), (9, 8))


def test_texts_are_counted_in_words_and_tokens() -> None:
    facts = text_facts(["one", "one two three", "one two"], [3, 9, 5])
    assert facts.words == (1, 2, 3)
    assert facts.tokens == (3, 5, 9)
    assert text_facts(["a"], None).tokens is None


def test_files_of_several_images_are_told_with_their_number(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), 60 * k, dtype=np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.gif")
    names = ["a.tif", "b.gif"]
    (warning,) = frames_warning([tmp_path / name for name in names], names, [Trait.PAGES, Trait.PAGES], 1)
    assert (warning.kind, warning.examples) == ("several-images", ("a.tif with 3",))
