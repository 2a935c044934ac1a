"""Pooled features of real images at four cuts of a network, computed by the package once and kept as .npz files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUTS = 4
WIDTH = 24  # principal components kept of each cut: enough to classify by, few enough to retrain thousands of times
MOBILENET = {
    "ants_bees": "ants_bees",
    "flowers5": "flowers5",
    "photo": "pacs_photo_sketch/photo",
    "sketch": "pacs_photo_sketch/sketch",
}
REAL = ("digits", *MOBILENET)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def load(name: str, cache: Path, shared: Path) -> tuple[Floats, Ints] | None:
    """Features (N, CUTS * WIDTH), first cut first, and labels (N,) of a real set; None where its files are absent."""
    kept = cache / f"{name}-{CUTS}x{WIDTH}.npz"
    if not kept.exists():
        found = _pooled(name, shared)
        if found is None:
            return None
        stages, labels = found
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, x=np.concatenate([_principal(x) for x in stages], axis=1), y=labels)
    with np.load(kept) as read:
        return read["x"].astype(np.float64), read["y"].astype(np.int64)


def _principal(x: Floats) -> Floats:
    """The leading WIDTH principal components (fewer: zeros), of mean variance 1. Labels aren't looked at."""
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    scores = np.zeros((len(x), WIDTH))
    scores[:, : u.shape[1]] = u[:, :WIDTH] * s[:WIDTH]
    return scores / np.sqrt(scores.var(axis=0).mean())


def _pooled(name: str, shared: Path) -> tuple[list[Floats], Ints] | None:
    if name == "digits":
        from frostline.demo import digits

        return _extract(digits(), {"model": "glyphs"})
    data, network = shared / MOBILENET[name], shared / "mobilenetv1_075_imagenet"
    if not data.is_dir() or not network.is_dir():
        return None
    return _extract(
        data,
        {
            "model": f"torch:{network / 'model.py'}:mobilenetv1_075",
            "weights": str(network / "mobilenetv1_075.safetensors"),
        },
    )


def _extract(data: Any, options: dict[str, Any]) -> tuple[list[Floats], Ints]:
    """What `frostline fit` would compute for `probe@K`, for all rows that the data has."""
    from frostline.base.events import silent
    from frostline.data.given import list_given
    from frostline.data.read import read_data
    from frostline.data.tables import find
    from frostline.pipeline import read_network
    from frostline.planning.prepare import make_study, make_trunk, map_network
    from frostline.recipe.settings import settings_from

    listing = find(data) if isinstance(data, Path) else list_given(data)
    settings = settings_from(listing.root, options.pop("model"), options | {"device": "cpu"})
    network = read_network(settings)
    read = read_data(settings, listing, network.preprocess, silent)
    # Here nothing is learnt, so nothing is sealed.
    every = tuple(replace(s, part="development") for s in read.dataset.samples)
    dataset = replace(read.dataset, samples=every)
    model, stages = map_network(network)
    trunk = make_trunk(settings, network, model, stages, len(dataset.development))
    features = make_study(settings, dataset, read.samples, network, trunk, None).features
    cuttable = [s.index for s in stages.stages if s.cuttable]
    chosen = sorted({cuttable[i] for i in _spread(len(cuttable))})
    features.want(raw=(), pooled=chosen, views=0, pooled_views=(0,))
    features.prepare(0)
    return [features.pooled(s, 0).double().numpy() for s in chosen], dataset.labels


def _spread(count: int) -> Iterator[int]:
    """Up to CUTS places of `count`, evenly apart, the last one included."""
    return (round((k + 1) * count / CUTS) - 1 for k in range(CUTS))
