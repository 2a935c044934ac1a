"""Finds pictures that are there more than once: equal bytes, equal pixels, or close copies (re-saved, resized).

A close perceptual hash alone isn't enough: digits and drawings collide (in 480 line drawings 82 pairs differ in at most
6 of 64 bits, and none of them is a copy), so the hash only proposes pairs and the pixels decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.base.hashing import hash_bytes
from frostline.base.records import IntArray
from frostline.data.decode import Picture, Pictures

HashArray = NDArray[np.uint64]

# Measured on 2,137 real photos and drawings and 1,797 digits: copies saved again at JPEG quality 50 are at most 3 bits,
# 0.9 grey levels and 0.13 apart, photos at half the size 3 bits, 1.9 and 0.05; the closest different pictures are 2.4
# (drawings) and 3.8 (digits) grey levels apart. Cropped or brightened copies are not looked for.
MOST_BITS = 6  # of the 64-bit difference hash
MOST_DIFFERENCE = 2.0  # mean absolute difference of 32 x 32 grey thumbnails, in grey levels of 0 to 255
MOST_RELATIVE = 0.15  # the same, of the thumbnails less their means, over their mean absolute deviation

THUMBNAIL = 32
ROWS = 512  # hashes compared with all others at a time: 512 x 10,000 distances are 40 MB
PAIRS = 20_000  # thumbnails compared at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Sets of two or more rows, ascending: `exact` by bytes or pixels, `all` with close copies joined to them."""

    exact: tuple[tuple[int, ...], ...]
    all: tuple[tuple[int, ...], ...]


def duplicate_groups(pictures: Pictures, file_hashes: Sequence[str], *, threads: int = 1) -> list[list[int]]:
    """Sets of rows that show the same picture; see :func:`find_duplicates`."""
    return [list(group) for group in find_duplicates(pictures, file_hashes, threads=threads).all]


def find_duplicates(pictures: Pictures, file_hashes: Sequence[str], *, threads: int = 1) -> Duplicates:
    """Compares every picture with every other; pictures without pixels (unreadable ones) only by their bytes.

    The comparison of hashes is quadratic but tiny (10,000 pictures: below a second); the rest is linear.
    """
    with ThreadPoolExecutor(max(1, threads)) as pool:
        prints = list(pool.map(_fingerprint, pictures))
    thumbnails = np.stack([p[1] for p in prints]) if prints else np.zeros((0, THUMBNAIL**2), dtype=np.uint8)
    exact = _exact(pictures, file_hashes, thumbnails)
    firsts = np.array(sorted({min(group) for group in exact}), dtype=np.int64)
    firsts = firsts[[pictures[i].size > 0 for i in firsts]] if len(firsts) else firsts
    hashes = np.array([prints[i][0] for i in firsts], dtype=np.uint64)
    pairs = [(int(firsts[a]), int(firsts[b])) for a, b in close_pairs(hashes, thumbnails[firsts])]
    joined = merge_groups(len(pictures), [*exact, *pairs])
    return Duplicates(exact=_several(exact), all=_several(joined))


def difference_hash(picture: Picture) -> int:
    """64-bit difference hash, bit for bit that of `imagehash.dhash`: does grey rise from left to right in 9 x 8 pixels.

    Source: N. Krawetz, "Kind of Like That" (2013); the library itself would bring scipy and PyWavelets into the start.
    """
    return _difference_hash(_grey(picture))


def close_pairs(hashes: HashArray, thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs (a < b) whose hashes (N) are close and whose thumbnails (N, 1024) confirm it."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(hashes), ROWS):
        block = hashes[start : start + ROWS]
        bits = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        a, b = np.nonzero(bits <= MOST_BITS)
        upper = b > a
        found.extend(_confirmed(a[upper] + start, b[upper] + start, thumbnails))
    return found


def merge_groups(count: int, groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """All rows 0 .. count - 1 in sets, where rows that share a group, directly or over others, share a set."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for group in groups:
        for other in group[1:]:
            a, b = root(group[0]), root(other)
            parent[max(a, b)] = min(a, b)
    sets: dict[int, list[int]] = {}
    for i in range(count):
        sets.setdefault(root(i), []).append(i)
    return list(sets.values())


def _several(groups: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _exact(pictures: Pictures, file_hashes: Sequence[str], thumbnails: NDArray[np.uint8]) -> list[list[int]]:
    """All rows in sets of equal bytes or pixels. Only pictures with equal thumbnails are compared pixel by pixel."""
    by_bytes, by_thumbnail = _collect(file_hashes), _collect(t.tobytes() for t in thumbnails)
    groups = [rows for digest, rows in by_bytes.items() if digest]
    for rows in by_thumbnail.values():
        rows = [i for i in rows if pictures[i].size]
        if len(rows) > 1:
            pixels = _collect(f"{pictures[i].shape}{hash_bytes(pictures[i].data)}" for i in rows)
            groups.extend([rows[k] for k in same] for same in pixels.values())
    return merge_groups(len(pictures), groups)


def _collect(keys: Iterable[str | bytes]) -> dict[str | bytes, list[int]]:
    rows: dict[str | bytes, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(key, []).append(i)
    return rows


def _confirmed(a: IntArray, b: IntArray, thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(a), PAIRS):
        rows, others = a[start : start + PAIRS], b[start : start + PAIRS]
        x, y = thumbnails[rows].astype(np.float32), thumbnails[others].astype(np.float32)
        difference = np.abs(x - y).mean(axis=1)
        x -= x.mean(axis=1, keepdims=True)
        y -= y.mean(axis=1, keepdims=True)
        contrast = np.minimum(np.abs(x).mean(axis=1), np.abs(y).mean(axis=1))
        close = (difference <= MOST_DIFFERENCE) & (np.abs(x - y).mean(axis=1) <= MOST_RELATIVE * contrast)
        pairs.extend(zip(rows[close].tolist(), others[close].tolist(), strict=True))
    return pairs


def _fingerprint(picture: Picture) -> tuple[int, NDArray[np.uint8]]:
    if not picture.size:
        return 0, np.zeros(THUMBNAIL**2, dtype=np.uint8)
    grey = _grey(picture)
    thumbnail = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return _difference_hash(grey), thumbnail.reshape(-1)


def _grey(picture: Picture) -> Image.Image:
    return Image.fromarray(picture[:, :, 0]) if picture.shape[2] == 1 else Image.fromarray(picture).convert("L")


def _difference_hash(grey: Image.Image) -> int:
    pixels = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")
