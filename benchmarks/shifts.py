"""Does the diagnosis name the right situation? Simulated shifts on real images, a hundred draws each.

    python benchmarks/shifts.py --repeats 100 --shared ../shared/data --json shifts.json

Features of the clean images and of each corrupted version are computed once; a repeat draws two halves, and makes the
shift in one of them. Thresholds were fixed on the digits with seeds from 1000 on; the table is of seeds 0 and up, on
all three sets. `labels` tells whether the target's labels were given.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from frostline.base.events import silent
from frostline.base.records import FloatArray, IntArray
from frostline.data.unlabelled import Purpose, read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.pipeline import read_network
from frostline.planning.domain import domain_study
from frostline.planning.prepare import placed_network
from frostline.recipe.settings import Settings
from frostline.shift.diagnose import diagnose
from frostline.shift.heads import Labelled, cross_fitted_head
from frostline.shift.sides import Side
from frostline.shift.study import chosen_depths, depth_features
from frostline.stats.proportions import bbse_proportions, corrected, em_proportions

Pixels = NDArray[np.uint8]
LARGE = 300  # target samples, at most, for the estimated shares
EXPECTED = {"blur": "covariate", "noise": "covariate", "inverted": "covariate", "shares": "label"}
EXPECTED |= {"exchanged": "concept", "new class": "new-classes", "halves": "none-shown"}


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """One set of images: labels (N,), and for each version of the images the features (N, D) by depth."""

    labels: IntArray
    versions: Mapping[str, Mapping[int, FloatArray]]


def blurred(radius: float) -> Callable[[Pixels], Pixels]:
    """Blur with a Gaussian of that radius, in hundredths of the shorter side."""

    def change(image: Pixels) -> Pixels:
        width = radius * min(image.shape[:2]) / 100
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(width)))

    return change


def noisy(spread: float) -> Callable[[Pixels], Pixels]:
    """Add Gaussian noise of that spread, in grey levels."""

    def change(image: Pixels) -> Pixels:
        rng = np.random.default_rng(int(image.astype(np.int64).sum()))
        return np.clip(image + rng.normal(0, spread, image.shape), 0, 255).astype(np.uint8)

    return change


def inverted(image: Pixels) -> Pixels:
    """Exchange dark and light."""
    return np.asarray(255 - image, dtype=np.uint8)


VERSIONS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "clean": lambda image: image,
    "blur 2": blurred(2.0),
    "blur 4": blurred(4.0),
    "noise 20": noisy(20.0),
    "noise 40": noisy(40.0),
    "inverted": inverted,
}


def world_of(images: list[Pixels], labels: IntArray, settings: Settings) -> World:
    """Compute the features of every version."""
    network, trunk = None, None
    versions = {}
    for name, change in VERSIONS.items():
        changed = [change(image) for image in images]
        found = read_network(settings)
        purpose = Purpose(name="the benchmark", fewest=1)
        data = read_unlabelled(
            list_unlabelled((changed, [f"c{label:02d}" for label in labels])),
            found.preprocess,
            purpose,
            threads=1,
            emit=silent,
        )
        if trunk is None or network is None:
            network, trunk = placed_network(settings, found, len(images))
        study = domain_study(settings, network, trunk, data, data.classes, None)
        versions[name] = depth_features(study, chosen_depths(study.stages))
    return World(labels=labels, versions=versions)


def halves(world: World, rng: np.random.Generator, most: int) -> tuple[IntArray, IntArray]:
    """Draw two halves at random, of at most that many samples each."""
    order = rng.permutation(len(world.labels))
    half = min(len(order) // 2, most)
    return order[:half], order[half : 2 * half]


def sides(world: World, rows: tuple[IntArray, IntArray], version: str, rng: np.random.Generator) -> tuple[Side, Side]:
    """Return the sides of two draws, the target in a version, labels included."""
    own, other = rows
    source = {stage: x[own] for stage, x in world.versions["clean"].items()}
    target = {stage: x[other] for stage, x in world.versions[version].items()}
    labels = world.labels[own]
    made = cross_fitted_head(
        Labelled(features=source[max(source)], labels=labels, groups=[str(i) for i in own.tolist()]),
        target[max(target)],
        np.full(len(other), -1, dtype=np.int64),
        classes=int(labels.max()) + 1,
        seed=int(rng.integers(0, 2**31)),
    )
    assert made is not None
    return (
        Side(features=source, groups=np.arange(len(own)), probabilities=made.source, labels=labels),
        Side(features=target, groups=np.arange(len(other)), probabilities=made.target, labels=world.labels[other]),
    )


def drawn(world: World, shift: str, rng: np.random.Generator, most: int) -> tuple[Side, Side]:
    """Make one shift."""
    own, other = halves(world, rng, most)
    classes = int(world.labels.max()) + 1
    if shift == "shares":
        own_rest = np.setdiff1d(np.arange(len(world.labels)), own)
        weights = rng.permutation(np.linspace(0.1, 1.0, classes) ** 2)[world.labels[own_rest]]
        other = rng.choice(own_rest, min(len(other), len(own_rest) // 2), replace=False, p=weights / weights.sum())
    if shift == "new class":
        left_out = classes - 1  # the classes are numbered so that the last one is new
        own = own[world.labels[own] != left_out]
    version = shift if shift in world.versions else "clean"
    source, target = sides(world, (own, other), version, rng)
    if shift == "exchanged":
        assert target.labels is not None
        a, b = rng.choice(classes, 2, replace=False)
        swapped = target.labels.copy()
        swapped[target.labels == a] = b
        swapped[target.labels == b] = a
        target = replace(target, labels=swapped)
    return source, target


def study(world: World, repeats: int, first_seed: int, most: int) -> dict[str, dict[str, Counter[str]]]:
    """Count the situations that are named: shift -> with or without target labels -> situation."""
    shifts = [*(name for name in VERSIONS if name != "clean"), "shares", "exchanged", "new class", "halves"]
    names = [f"c{label:02d}" for label in range(int(world.labels.max()) + 1)]
    found: dict[str, dict[str, Counter[str]]] = {}
    for shift in shifts:
        counts: dict[str, Counter[str]] = {"without": Counter(), "with": Counter()}
        for repeat in range(repeats):
            seed = first_seed + repeat
            source, target = drawn(world, shift, np.random.default_rng([seed, len(shift)]), most)
            for labelled, side in (("with", target), ("without", replace(target, labels=None))):
                counts[labelled][diagnose(source, side, classes=names, seed=seed).situation] += 1
        found[shift] = counts
        print(shift, {k: dict(v) for k, v in counts.items()}, flush=True)
    return found


def proportions(world: World, repeats: int, most: int) -> dict[str, float]:
    """Mean absolute errors of the estimated shares with 300 target samples (or all there are), and the points of
    accuracy that the correction costs where nothing has shifted."""
    errors: dict[str, list[float]] = {"em": [], "bbse": []}
    cost = []
    classes = int(world.labels.max()) + 1
    for repeat in range(repeats):
        rng = np.random.default_rng([repeat, 7])
        for shift in ("shares", "halves"):
            source, target = drawn(world, shift, rng, most)
            assert source.labels is not None
            assert target.labels is not None
            assert source.probabilities is not None
            assert target.probabilities is not None
            shares = np.bincount(source.labels, minlength=classes) / len(source)
            true = np.bincount(target.labels, minlength=classes) / len(target)
            em = em_proportions(target.probabilities, shares)
            bbse = bbse_proportions(source.probabilities, source.labels, target.probabilities)
            if shift == "shares":
                errors["em"].append(float(np.abs(em - true).mean()))
                errors["bbse"].append(float(np.abs(bbse - true).mean()))
            else:
                before = (target.probabilities.argmax(1) == target.labels).mean()
                after = (corrected(target.probabilities, em / shares).argmax(1) == target.labels).mean()
                cost.append(100 * float(before - after))
    return {
        "em": float(np.mean(errors["em"])),
        "bbse": float(np.mean(errors["bbse"])),
        "points lost": float(np.mean(cost)),
    }


def digits() -> World:
    """Handwritten digits, read by the embedded network."""
    data = load_digits()
    images = [np.asarray(Image.fromarray((i * 255 / 16).astype(np.uint8)).resize((32, 32))) for i in data.images]
    return world_of(images, data.target.astype(np.int64), Settings(data=Path("digits"), model="glyphs", threads=1))


def folder_world(folder: Path, shared: Path) -> World:
    """A folder of class folders, read by the MobileNet."""
    nets = shared / "mobilenetv1_075_imagenet"
    files = sorted(folder.rglob("*.jp*g")) or sorted(folder.rglob("*.png"))
    classes = sorted({file.parent.name for file in files})
    labels = np.array([classes.index(file.parent.name) for file in files], dtype=np.int64)
    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(np.asarray(image.convert("RGB").resize((224, 224))))
    model = f"torch:{nets / 'model.py'}:mobilenetv1_075"
    weights = str(nets / "mobilenetv1_075.safetensors")
    return world_of(images, labels, Settings(data=folder, model=model, weights=weights, threads=1))


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", default="digits,flowers5,photo")
    parser.add_argument("--most", type=int, default=150, help="samples of a side")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folders = {"flowers5": "flowers5", "photo": "pacs_photo_sketch/photo"}
    result: dict[str, Any] = {}
    for name in given.sets.split(","):
        print(f"== {name}", flush=True)
        world = digits() if name == "digits" else folder_world(given.shared / folders[name], given.shared)
        found = study(world, given.repeats, given.seed, given.most)
        shares = proportions(world, given.repeats, LARGE)
        print(shares, flush=True)
        result[name] = {"situations": {k: {w: dict(c) for w, c in v.items()} for k, v in found.items()}, **shares}
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
