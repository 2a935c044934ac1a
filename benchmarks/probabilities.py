"""What a temperature fitted on few samples gains or costs, and how often a threshold keeps what it promised.

    python benchmarks/probabilities.py

Samples are Gaussian, so that their true posterior is known: logits are its logarithm times the planted temperature.
Prints the two tables of docs/probabilities.md; about two minutes on one core.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from frostline.base.records import FloatArray, IntArray
from frostline.stats import calibration as c
from frostline.stats.metrics import accuracy, log_loss

WORLDS = ((2, 1.8), (2, 3.0), (5, 2.5), (5, 3.5))  # classes, distance of their means
HEATS = (1.0, 1.5, 2.5, 0.6)
SIZES = (20, 50, 100, 250)
SPREADS = (None, 0.5, 0.25)
DRAWS, FRESH = 60, 2000


def draw(rng: np.random.Generator, n: int, world: tuple[int, float], heat: float) -> tuple[FloatArray, IntArray]:
    """Probabilities (n, C) that the temperature `heat` would make true, and labels (n,)."""
    classes, distance = world
    labels = rng.integers(classes, size=n)
    values = rng.normal(size=(n, classes)) + distance * np.eye(classes)[labels]
    return np.asarray(softmax(distance * heat * values, axis=1)), labels


def temperatures(rng: np.random.Generator) -> None:
    """Log loss on new samples before less after, by planted temperature and number of held-out samples."""
    print("Gain in log loss (0.001 nats) by the prior's spread: mean, worst of 40 draws; all worlds together")
    print("planted T | samples | possible |", " | ".join(str(s or "no prior") for s in SPREADS))
    for heat in HEATS:
        fresh = [draw(rng, FRESH, world, heat) for world in WORLDS]
        possible = np.mean([log_loss(p, y) - log_loss(c.tempered(p, heat), y) for p, y in fresh])
        for n in SIZES:
            gains: dict[float | None, list[float]] = {spread: [] for spread in SPREADS}
            for world, (p, y) in zip(WORLDS, fresh, strict=True):
                before = log_loss(p, y)
                for _ in range(DRAWS):
                    held, labels = draw(rng, n, world, heat)
                    for spread, found in gains.items():
                        fitted = c.fit_temperature(held, labels, spread=spread)
                        found.append(before - log_loss(c.tempered(p, fitted), y))
            cells = [f"{1e3 * np.mean(g):.0f}, {1e3 * np.quantile(g, 0.025):.0f}" for g in gains.values()]
            print(f"{heat} | {n} | {1e3 * possible:.0f} |", " | ".join(cells), flush=True)


def thresholds(rng: np.random.Generator) -> None:
    """Share of draws with a threshold, share of these whose answers on new samples miss what was wanted."""
    print("\nOf 400 draws: share with a threshold, of these share below the wanted accuracy, share answered")
    print("accuracy | wanted | samples | Wilson's lower bound | plain share")
    for world in (WORLDS[2], WORLDS[3]):
        p, y = draw(rng, 50_000, world, 1.0)
        for wanted in (0.9, 0.95, 0.99):
            for n in (100, 250, 1000):
                bound, plain = [], []
                for _ in range(400):
                    held, labels = draw(rng, n, world, 1.0)
                    bound.append(c.abstain_threshold(held, labels, wanted).value)
                    plain.append(by_plain_share(held, labels, wanted))
                cells = [told(found, p, y, wanted) for found in (bound, plain)]
                print(f"{accuracy(p, y):.3f} | {wanted} | {n} |", " | ".join(cells), flush=True)


def by_plain_share(p: FloatArray, labels: IntArray, wanted: float) -> float | None:
    """The rule that isn't used: the smallest confidence from which the share right is as wanted."""
    confidence = p.max(axis=1)
    order = np.argsort(-confidence)
    share = np.cumsum((p.argmax(axis=1) == labels)[order]) / np.arange(1, len(labels) + 1)
    enough = np.flatnonzero(share >= wanted)
    return float(confidence[order][enough[-1]]) if len(enough) else None


def told(found: list[float | None], p: FloatArray, y: IntArray, wanted: float) -> str:
    there = [t for t in found if t is not None]
    got = [c.coverage(p, y, t) for t in there]
    missed = np.mean([(g.accuracy or 0.0) < wanted for g in got]) if got else float("nan")
    answered = np.mean([g.coverage for g in got]) if got else float("nan")
    return f"{len(there) / len(found):.2f}, {missed:.2f}, {answered:.2f}"


if __name__ == "__main__":
    temperatures(np.random.default_rng(0))
    thresholds(np.random.default_rng(1))
