"""`frostline check`: what was understood of the data, with a sheet of images as the network gets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import frostline as package
from cases.small_world import frostline as installed
from cases.small_world import write_images
from helpers.in_process import frostline


def test_check_says_what_fit_would_read_and_draws_it(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"circles": 8, "squares": 6})
    (tmp_path / "images" / "circles" / "damaged.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    found = installed("check", "images", "--model", "glyphs", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    for part in ("circles", "squares", "2 classes", "PNG", "a pointer of Git LFS", "runs/images-check.png"):
        assert part in found.stdout
    with Image.open(tmp_path / "runs" / "images-check.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 2
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["images-check.png"]

    again = frostline("check", "images", "--sheet", tmp_path / "s.png", "--json", cwd=tmp_path)
    record = json.loads(again.stdout)
    assert {name: sum(parts.values()) for name, parts in record["classes"].items()} == {"circles": 8, "squares": 6}
    assert [w["kind"] for w in record["warnings"]] == ["unreadable"]
    assert record["images"]["formats"] == {"PNG": 14}
    assert (record["model"], record["inputs"]) == (None, None)
    assert (tmp_path / "s.png").is_file()


def test_what_fit_refuses_check_refuses_in_the_same_words(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"circles": 8})
    checked = frostline("check", "images", cwd=tmp_path)
    fitted = frostline("fit", "images", "--model", "glyphs", cwd=tmp_path)
    assert checked.returncode == fitted.returncode == 2
    assert fitted.stderr.endswith(checked.stderr)
    assert checked.stderr.startswith("error: images holds one class ('circles')")
    assert not (tmp_path / "runs").exists()


def test_texts_are_counted_with_and_without_a_network(tmp_path: Path) -> None:
    rows = [f"{'who is' if k % 2 else 'what was'} the {'cat' if k % 3 else 'dog'} {k},{'ab'[k % 2]}" for k in range(20)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(rows))
    found = package.check_data(tmp_path / "t.csv")
    assert found.texts is not None
    assert found.texts.words == (5, 5, 5)
    assert {name: sum(parts.values()) for name, parts in found.classes.items()} == {"a": 10, "b": 10}


def test_arrays_are_checked_in_python(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 30, 20, 3), dtype=np.uint8)
    found = package.check_data((images, [0, 1] * 6), "glyphs", sheet=tmp_path / "s.png", threads=1)
    assert found.images is not None
    assert found.images.sizes[0] == (20, 30)
    assert found.inputs is not None
    assert found.inputs.low < found.inputs.mean < found.inputs.high
