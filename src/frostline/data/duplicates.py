"""Finds images that are there more than once: equal bytes, equal pixels, or close copies (re-saved, resized).

A close perceptual hash alone isn't enough: digits and drawings collide (in 480 line drawings 82 pairs differ in at most
6 of 64 bits, and none of them is a copy), so the hash only proposes pairs and the pixels decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.base.hashing import hash_bytes
from frostline.base.memory import large_array
from frostline.base.records import IntArray
from frostline.data.decode import Images, Pixels, in_threads

HashArray = NDArray[np.uint64]

# Measured on 2,137 real photos and drawings and 1,797 digits: copies saved again at JPEG quality 50 are at most 3 bits,
# 0.9 grey levels and 0.13 apart, photos at half the size 3 bits, 1.9 and 0.05; the closest different images are 2.4
# (drawings) and 3.8 (digits) grey levels apart. Cropped or brightened copies are not looked for.
MOST_BITS = 6  # of the 64-bit difference hash
MOST_DIFFERENCE = 2.0  # mean absolute difference of 32 x 32 grey thumbnails, in grey levels of 0 to 255
MOST_RELATIVE = 0.15  # the same, of the thumbnails less their means, over their mean absolute deviation

THUMBNAIL = 32
ROWS = 512  # hashes compared with all others at a time, at most
DISTANCES = 1 << 22  # of hashes that are held at a time: 36 MB
PAIRS = 20_000  # thumbnails compared at a time
THUMBNAIL_BYTES = 1 << 28  # beyond, they lie in a temporary file
SOME = 7  # each seventh pixel: no divisor of 32, so that every column is among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Sets of two or more rows, ascending: `exact` by bytes or pixels, `all` with close copies joined to them."""

    exact: tuple[tuple[int, ...], ...]
    all: tuple[tuple[int, ...], ...]


def find_duplicates(pictures: Images, file_hashes: Sequence[str], *, threads: int = 1) -> Duplicates:
    """Compares every image with every other; images without pixels (unreadable ones) only by their bytes.

    Hashes of images of nearly the same mean grey are compared, each with each; the rest is linear. 10,000 images
    take about two seconds, and ten where all of them are blank.
    """
    hashes = np.zeros(len(pictures), dtype=np.uint64)
    thumbnails = large_array((len(pictures), THUMBNAIL**2), "uint8", THUMBNAIL_BYTES)
    for i, (bits, thumbnail) in enumerate(in_threads(fingerprint, pictures, threads)):
        hashes[i] = bits
        thumbnails[i] = thumbnail
    exact = _exact(pictures, file_hashes, thumbnails)
    firsts = np.array(sorted({min(group) for group in exact}), dtype=np.int64)
    if len(firsts):
        firsts = firsts[[pictures[i].size > 0 for i in firsts]]
    if len(firsts) < len(pictures):
        hashes = hashes[firsts]
        thumbnails = thumbnails[firsts]
    pairs = [(int(firsts[a]), int(firsts[b])) for a, b in close_hashes(hashes, thumbnails)]
    joined = merge_groups(len(pictures), [*exact, *pairs])
    return Duplicates(exact=_several(exact), all=_several(joined))


def fingerprint(picture: Pixels) -> tuple[int, NDArray[np.uint8]]:
    """64-bit difference hash of an image, bit for bit that of `imagehash.dhash`, and its grey thumbnail (1024,).

    The hash says whether grey rises from left to right in 9 x 8 pixels; both are 0 where there are no pixels. Source:
    N. Krawetz, "Kind of Like That" (2013); the library itself would bring scipy and PyWavelets into the start.
    """
    if not picture.size:
        return 0, np.zeros(THUMBNAIL**2, dtype=np.uint8)
    grey = _grey(picture)
    thumbnail = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return _difference_hash(grey), thumbnail.reshape(-1)


def close_hashes(hashes: HashArray, thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs (a < b) whose hashes (N) are close and whose thumbnails (N, 1024) confirm it.

    Only images of nearly the same mean grey are compared: means never differ by more than the pixels do.
    """
    means = thumbnails.mean(axis=1)
    order = np.argsort(means, kind="stable")
    hashes = hashes[order]
    means = means[order]
    prepared = _prepare(thumbnails)
    found: list[tuple[int, int]] = []
    step = max(1, min(ROWS, DISTANCES // max(1, len(hashes))))
    for start in range(0, len(hashes), step):
        block = hashes[start : start + step]
        end = int(np.searchsorted(means, means[start + len(block) - 1] + MOST_DIFFERENCE, side="right"))
        bits = np.bitwise_count(block[:, None] ^ hashes[None, start:end])
        a, b = np.nonzero(bits <= MOST_BITS)
        upper = b > a
        found.extend(prepared.confirm(order[a[upper] + start], order[b[upper] + start]))
    return sorted((min(pair), max(pair)) for pair in found)


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
            a = root(group[0])
            b = root(other)
            parent[max(a, b)] = min(a, b)
    sets: dict[int, list[int]] = {}
    for i in range(count):
        sets.setdefault(root(i), []).append(i)
    return list(sets.values())


def _several(groups: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _exact(pictures: Images, file_hashes: Sequence[str], thumbnails: NDArray[np.uint8]) -> list[list[int]]:
    """All rows in sets of equal bytes or pixels. Only images with equal thumbnails are compared pixel by pixel."""
    by_bytes = _collect(file_hashes)
    by_thumbnail = _collect(hash_bytes(t.data) for t in thumbnails)
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


@dataclass(frozen=True, slots=True)
class _Thumbnails:
    """All thumbnails (N, 1024), and what of them is looked at first."""

    pixels: NDArray[np.uint8]
    means: NDArray[np.float32]  # (N, 1)
    contrasts: NDArray[np.float32]  # (N,) mean absolute deviation

    def confirm(self, a: IntArray, b: IntArray) -> list[tuple[int, int]]:
        """The pairs that are close. Some pixels are compared first: most pairs are too far apart in those alone."""
        pairs: list[tuple[int, int]] = []
        for start in range(0, len(a), PAIRS):
            x = a[start : start + PAIRS]
            y = b[start : start + PAIRS]
            for step in (SOME, 1):
                close = self._close(x, y, step)
                x = x[close]
                y = y[close]
            pairs.extend(zip(x.tolist(), y.tolist(), strict=True))
        return pairs

    def _close(self, x: IntArray, y: IntArray, step: int) -> NDArray[np.bool_]:
        """Whether the sums over each `step`-th pixel are within the limits of the sums over all of them."""
        pixels = self.pixels[:, ::step]
        difference = pixels[x].astype(np.float32) - pixels[y]
        limit = MOST_RELATIVE * np.minimum(self.contrasts[x], self.contrasts[y])
        near = np.abs(difference).sum(axis=1) <= MOST_DIFFERENCE * THUMBNAIL**2
        difference -= self.means[x] - self.means[y]
        found: NDArray[np.bool_] = near & (np.abs(difference).sum(axis=1) <= limit * THUMBNAIL**2)
        return found


def _prepare(pixels: NDArray[np.uint8]) -> _Thumbnails:
    means = pixels.mean(axis=1, keepdims=True, dtype=np.float32)
    parts = (slice(start, start + ROWS) for start in range(0, len(pixels), ROWS))
    contrasts = [np.abs(pixels[rows] - means[rows]).mean(axis=1, dtype=np.float32) for rows in parts]
    return _Thumbnails(pixels, means, np.concatenate(contrasts) if contrasts else np.zeros(0, dtype=np.float32))


def _grey(picture: Pixels) -> Image.Image:
    channels = picture.shape[2]
    if channels in (1, 3):
        if channels == 1:
            return Image.fromarray(picture[:, :, 0])
        return Image.fromarray(picture).convert("L")
    return Image.fromarray(np.rint(picture.mean(axis=2)).astype(np.uint8))


def _difference_hash(grey: Image.Image) -> int:
    pixels = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")
