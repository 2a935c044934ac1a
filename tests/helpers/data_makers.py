"""Small images, folders and data sets for the tests of the data layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.base.records import Dataset, Sample
from frostline.data.assemble import AssembleOptions, assemble
from frostline.data.decode import decode_all, hash_files
from frostline.data.images import Images, Pixels, Writer
from frostline.data.preprocess import Preprocess
from frostline.data.scan import scan

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = Preprocess.default(28, (0.5,), (0.5,), 3)


def shared(name: str) -> Path:
    """A folder of the shared data; skips the test where it is absent."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"shared data {name} is absent")
    return SHARED / name


def noise(seed: int, height: int = 40, width: int = 40, channels: int = 3) -> np.ndarray:
    """Coarse random blobs: unlike each other, yet no copy is hurt by JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, channels), dtype=np.uint8)
    image = Image.fromarray(coarse if channels == 3 else coarse[:, :, 0])
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, channels)


def images_of(arrays: Sequence[Pixels]) -> Images:
    """These arrays as decoded images."""
    writer = Writer(sum(array.size for array in arrays), None)
    for array in arrays:
        writer.add(array)
    return writer.finish()


def save(path: Path, seed: int, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, **size)).save(path)
    return path


def folder(root: Path, **counts: int) -> Path:
    """Images below root; `train__ants=3` puts three in train/ants. All differ."""
    seed = sum(1 for _ in root.rglob("*.png")) * 1000
    for name, count in counts.items():
        for k in range(count):
            save(root / name.replace("__", "/") / f"{k:03}.png", seed := seed + 1)
    return root


def build(root: Path, **options: Any) -> Dataset:
    """The data set of a folder, by the same steps as `frostline fit`."""
    listing = scan(root)
    paths = [row.path for row in listing.rows if row.path is not None]
    pictures, bad = decode_all(paths, SMALL, threads=1, spill_dir=None, progress=None)
    hashes = hash_files(paths, 1)
    dataset, rows = assemble(listing, pictures, bad, hashes, options=AssembleOptions(**options))
    assert [listing.rows[i].id for i in rows] == [s.id for s in dataset.samples]
    return dataset


def dataset_of(labels: list[int], groups: list[str] | None = None, validation: int = 0) -> Dataset:
    """A data set without files; the last `validation` rows are a given validation part."""
    first = len(labels) - validation
    samples = tuple(
        Sample(
            id=f"{i}.png",
            path=Path(f"{i}.png"),
            label=label,
            part="development" if i < first else "validation",
            group=groups[i] if groups else str(i),
            sha256=f"{i:064x}",
        )
        for i, label in enumerate(labels)
    )
    classes = tuple(f"c{k}" for k in range(max(labels) + 1))
    return Dataset(path="x", kind="class-folders", classes=classes, samples=samples, sealed_from="test/")
