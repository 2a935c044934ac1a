"""A sheet of example images as the network gets them: wrong channels, turned or cropped images show at a glance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from frostline.base.records import Dataset
from frostline.data.images import Images
from frostline.data.preprocess import Preprocess
from frostline.data.views import augment_policy, make_views

CLASSES = 12  # rows of the sheet
ACROSS = 6  # images of a class
TILE = 128  # pixels
GAP = 8
TITLE = 22
INK, PAPER = (30, 30, 30), (255, 255, 255)

Tile = NDArray[np.uint8]  # (H, W, 3)


def draw_sheet(dataset: Dataset, images: Images, preprocess: Preprocess) -> Image.Image:
    """One row a class: its name, its number of images, and up to six of them after resizing and cropping.

    Of images of other channels than grey and RGB the first is drawn as grey. The images of a class are spread evenly
    over its samples, in every part but the sealed one.
    """
    shown = _shown_rows(dataset)
    width = GAP + ACROSS * (TILE + GAP)
    sheet = Image.new("RGB", (width, GAP + max(1, len(shown)) * (TITLE + TILE + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    for place, (label, rows) in enumerate(shown.items()):
        top = GAP + place * (TITLE + TILE + GAP)
        title = f"{_drawable(dataset.classes[label])}: {counts[label]} images"
        draw.text((GAP, top), title, fill=INK, font=font)
        for column, tile in enumerate(thumbnails(images, rows, preprocess)):
            sheet.paste(tile, (GAP + column * (TILE + GAP), top + TITLE))
    return sheet


def example_rows(dataset: Dataset) -> list[int]:
    """The samples that the sheet shows."""
    return [row for rows in _shown_rows(dataset).values() for row in rows]


def thumbnails(images: Images, rows: Sequence[int], preprocess: Preprocess) -> list[Image.Image]:
    """These images as the network gets them, resized and cropped; the longer side has TILE pixels."""
    return [_scaled_to_tile(tile) for tile in _tiles(images, rows, preprocess)]


def _shown_rows(dataset: Dataset) -> dict[int, list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for row in dataset.rows("development", "validation").tolist():
        members[int(dataset.labels[row])].append(row)
    labels = sorted(members)
    step = max(1, len(labels) / CLASSES)
    some = sorted({labels[int(k * step)] for k in range(min(CLASSES, len(labels)))})
    return {label: _evenly(members[label]) for label in some}


def _evenly(rows: Sequence[int]) -> list[int]:
    count = min(ACROSS, len(rows))
    return [rows[(2 * k + 1) * len(rows) // (2 * count)] for k in range(count)]


def _tiles(images: Images, rows: Sequence[int], preprocess: Preprocess) -> list[Tile]:
    views = make_views(
        images.select(rows), [""] * len(rows), preprocess, augment_policy("none", preprocess), seed=0, view=0, threads=1
    )
    tiles = np.moveaxis(np.asarray(views), 1, 3)
    if preprocess.mode != "RGB":
        tiles = np.repeat(tiles[..., :1], 3, axis=3)
    return list(tiles)


def _scaled_to_tile(tile: Tile) -> Image.Image:
    """The whole tile, its longer side at TILE pixels; small images keep hard edges, so that pixels can be counted."""
    image = Image.fromarray(np.ascontiguousarray(tile))
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize(size, how)


def _drawable(name: str) -> str:
    """A name with what the built-in font can draw; other letters become question marks."""
    return name.encode("latin-1", "replace").decode("latin-1")
