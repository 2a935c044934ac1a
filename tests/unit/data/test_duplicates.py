from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frostline.data.decode import decode_all, hash_files, read_image
from frostline.data.duplicates import (
    MOST_BITS,
    MOST_DIFFERENCE,
    MOST_RELATIVE,
    close_hashes,
    find_duplicates,
    fingerprint,
    merge_groups,
)
from frostline.data.preprocess import Preprocess
from helpers.data_makers import SMALL, images_of, noise, shared

LARGE = Preprocess.default(224, (0.5,), (0.5,), 3)


def groups(*arrays: np.ndarray, hashes: list[str] | None = None) -> list[list[int]]:
    found = find_duplicates(images_of(arrays), hashes or [str(i) for i in range(len(arrays))])
    return [list(group) for group in found.all]


def test_difference_hash_is_imagehashs_bit_for_bit() -> None:
    imagehash = pytest.importorskip("imagehash")
    for seed in range(20):
        picture = noise(seed, 50 + seed, 61, 1 if seed % 2 else 3)
        expected = imagehash.dhash(Image.fromarray(picture.squeeze()))
        assert f"{fingerprint(picture)[0]:016x}" == str(expected)


def test_equal_bytes_and_equal_pixels_are_found() -> None:
    a, b, c = noise(1), noise(2), noise(3)
    assert groups(a, b, a.copy(), c) == [[0, 2]]
    assert groups(a, b, c, hashes=["x", "y", "x"]) == [[0, 2]]


def test_one_changed_pixel_is_no_exact_copy_but_a_close_one() -> None:
    a = noise(1)
    b = a.copy()
    b[0, 0] ^= 1
    found = find_duplicates(images_of([a, b]), ["x", "y"])
    assert found.exact == ()
    assert found.all == ((0, 1),)


def test_flat_pictures_of_different_shades_are_not_merged() -> None:
    shades = [np.full((32, 32, 3), v, dtype=np.uint8) for v in (0, 8, 255, 8)]
    assert groups(*shades) == [[1, 3]]


def test_unreadable_pictures_are_compared_by_bytes_only() -> None:
    empty = np.empty((0, 0, 3), dtype=np.uint8)
    assert groups(empty, noise(1), empty, empty, hashes=["", "a", "b", "b"]) == [[2, 3]]
    assert groups() == []


def test_saved_again_copies_of_real_photos_are_found() -> None:
    paths = sorted((shared("flowers5") / "test" / "tulip").iterdir())[:12]
    pictures = [read_image(path, LARGE) for path in paths]
    copies = []
    for k, path in enumerate(paths):
        image: Image.Image = Image.open(path)
        stream = io.BytesIO()
        if k % 2:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        image.save(stream, "JPEG", quality=60)
        copies.append(read_image(stream.getvalue(), LARGE))
    assert groups(*pictures, *copies) == [[k, k + len(paths)] for k in range(len(paths))]


def test_different_drawings_are_not_merged_although_their_hashes_collide() -> None:
    paths = sorted((shared("pacs_photo_sketch") / "sketch").rglob("*.jpg"))
    pictures, _ = decode_all(paths, SMALL, threads=2, spill_dir=None, progress=None)
    hashes = np.array([fingerprint(p)[0] for p in pictures], dtype=np.uint64)
    collisions = int((np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 6).sum() - len(hashes)) // 2
    assert collisions > 20
    assert find_duplicates(pictures, hash_files(paths, 1)).all == ()


def test_different_digits_are_not_merged() -> None:
    from sklearn.datasets import load_digits

    scans = (load_digits().images[:600] * 15.9).astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(s).resize((37, 37), Image.Resampling.BILINEAR))[..., None] for s in scans]
    assert groups(*pictures) == []


def test_ten_thousand_pictures_are_compared_in_seconds() -> None:
    values = np.random.default_rng(0).integers(0, 256, (10_000, 9, 10, 1), dtype=np.uint8)
    started = time.perf_counter()
    assert groups(*values, values[7]) == [[7, 10_000]]
    assert time.perf_counter() - started < 20  # about one second on a quiet core


@given(st.integers(1, 30), st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=4), max_size=12))
def test_merged_groups_are_the_connected_components(count: int, sets: list[list[int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sets = [[i % count for i in group] for group in sets]
    edges = [(group[0], other) for group in sets for other in group]
    rows, columns = ([e[k] for e in edges] for k in (0, 1))
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(count, count))
    number, label = connected_components(graph, directed=False)
    merged = merge_groups(count, sets)
    assert len(merged) == number
    assert sorted(i for group in merged for i in group) == list(range(count))
    assert all(len({int(label[i]) for i in group}) == 1 for group in merged)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 60.0])
def test_close_pairs_are_those_of_comparing_every_pixel_of_every_pair(spread: float) -> None:
    """Images from nearly blank to far apart, with near copies among them, against the rule written out."""
    rng = np.random.default_rng(int(spread * 10))
    small = np.clip(128 + rng.normal(0, spread, (60, 4, 4)), 0, 255).astype(np.uint8)
    blobs = [np.asarray(Image.fromarray(s).resize((32, 32), Image.Resampling.BICUBIC)) for s in small]
    near = [np.clip(b + rng.integers(-2, 3, b.shape), 0, 255).astype(np.uint8) for b in blobs[:30]]
    thumbnails = np.stack([*blobs, *near]).reshape(90, -1)
    hashes = np.array([fingerprint(t.reshape(32, 32, 1))[0] for t in thumbnails], dtype=np.uint64)
    expected = []
    for a in range(90):
        for b in range(a + 1, 90):
            x, y = thumbnails[a].astype(float), thumbnails[b].astype(float)
            contrast = min(np.abs(x - x.mean()).mean(), np.abs(y - y.mean()).mean())
            if (
                int(hashes[a] ^ hashes[b]).bit_count() <= MOST_BITS
                and np.abs(x - y).mean() <= MOST_DIFFERENCE
                and np.abs(x - y - x.mean() + y.mean()).mean() <= MOST_RELATIVE * contrast
            ):
                expected.append((a, b))
    assert close_hashes(hashes, thumbnails) == expected
    assert expected or spread < 60
