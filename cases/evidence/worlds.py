"""Populations that rows can be drawn from without end, and the twelve strategies compared on each.

Real: a smoothed bootstrap of stored features. A row is drawn among those of its class, its deviation from the class
mean is shrunk by sqrt(1 - h^2), and h times a normal draw with the class's covariance is added: class means and
covariances are those of the real rows. `digits rows` draws real rows themselves, without replacement.
Synthetic: normal classes on blocks of features, of planted separation; in four of them all strategies are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cases.evidence.features import CUTS, REAL, WIDTH, Floats, Ints, load
from cases.evidence.learners import Procedure

SMOOTHING = 0.6
ROWS = "digits, rows"
STRATEGIES = 12
BLOCK = 6  # features that one synthetic strategy sees
# half the distance of the class means, by strategy
PLANTED = (1.35, 1.35, 1.25, 1.3, 1.1, 0.9, 1.35, 1.3, 1.2, 1.0, 0.7, 0.4)
EQUAL = 1.1


class World(Protocol):
    """Rows of known law."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> int: ...

    @property
    def strategies(self) -> tuple[Procedure, ...]: ...

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        """n rows, as many of each class to within one, in random order."""

    def draw_pair(self, rng: np.random.Generator, n: int, fresh: int) -> tuple[Floats, Ints, Floats, Ints]:
        """As draw, with `fresh` further rows to test on."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The smoothed bootstrap of real features; `roots` (C, D, D) are Cholesky-like roots of the class covariances."""

    name: str
    classes: int
    strategies: tuple[Procedure, ...]
    x: Floats
    rows: tuple[Ints, ...]
    means: Floats
    roots: Floats

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        y = balanced(rng, n, self.classes)
        x = np.empty((n, self.x.shape[1]))
        for c, rows in enumerate(self.rows):
            mine = np.flatnonzero(y == c)
            noise = rng.normal(size=(len(mine), self.x.shape[1])) @ self.roots[c]
            deviation = self.x[rng.choice(rows, len(mine))] - self.means[c]
            x[mine] = self.means[c] + np.sqrt(1 - SMOOTHING**2) * deviation + SMOOTHING * noise
        return x, y

    def draw_pair(self, rng: np.random.Generator, n: int, fresh: int) -> tuple[Floats, Ints, Floats, Ints]:
        return *self.draw(rng, n), *self.draw(rng, fresh)


@dataclass(frozen=True, slots=True)
class Rows:
    """A large real set itself: rows without replacement, tested on rows left over."""

    name: str
    classes: int
    strategies: tuple[Procedure, ...]
    x: Floats
    rows: tuple[Ints, ...]

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        x, y, _, _ = self.draw_pair(rng, n, self.classes)
        return x, y

    def draw_pair(self, rng: np.random.Generator, n: int, fresh: int) -> tuple[Floats, Ints, Floats, Ints]:
        y, order = balanced(rng, n, self.classes), [rng.permutation(rows) for rows in self.rows]
        taken = np.bincount(y, minlength=self.classes)
        left = min(fresh // self.classes, min(len(o) - t for o, t in zip(order, taken, strict=True)))
        chosen = np.empty(n, dtype=np.int64)
        for c in range(self.classes):
            chosen[y == c] = order[c][: taken[c]]
        others = np.concatenate([o[t : t + left] for o, t in zip(order, taken, strict=True)])
        return self.x[chosen], y, self.x[others], np.repeat(np.arange(self.classes), left)


@dataclass(frozen=True, slots=True)
class Normal:
    """Two classes, one block of features a strategy: normal with identity, means `distances` from the middle, so that
    the best rule on a block has the accuracy Phi(distance).

    `outliers`: share of rows whose noise is ten times as large, in each block on its own.
    """

    name: str
    strategies: tuple[Procedure, ...]
    distances: tuple[float, ...]
    width: int = BLOCK
    outliers: float = 0.0
    classes: int = 2

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        y = balanced(rng, n, 2)
        noise = rng.normal(size=(n, len(self.distances), self.width))
        if self.outliers:
            noise[rng.random((n, len(self.distances))) < self.outliers] *= 10
        shift = np.array(self.distances)[None, :, None] * (2 * y - 1)[:, None, None] / np.sqrt(self.width)
        return (noise + shift).reshape(n, -1), y

    def draw_pair(self, rng: np.random.Generator, n: int, fresh: int) -> tuple[Floats, Ints, Floats, Ints]:
        return *self.draw(rng, n), *self.draw(rng, fresh)


def balanced(rng: np.random.Generator, n: int, classes: int) -> Ints:
    """Labels (n,) in random order, as many of each class to within one."""
    start = rng.permutation(classes)
    return np.asarray(rng.permutation(start[np.arange(n) % classes]), dtype=np.int64)


def probes() -> tuple[Procedure, ...]:
    """Twelve ways to read real features: cut, learner, penalty, and three that differ by the luck of the run alone."""
    cut = [(k * WIDTH, (k + 1) * WIDTH) for k in range(CUTS)]
    rerun: dict[str, Any] = {"columns": cut[3], "projected": 12, "twins": "rerun"}
    return (
        Procedure(name="last, ridge", columns=cut[3]),
        Procedure(name="rerun 1", **rerun),
        Procedure(name="rerun 2", **rerun),
        Procedure(name="third, ridge", columns=cut[2]),
        Procedure(name="last, class means", columns=cut[3], learner="means"),
        Procedure(name="last, LDA", columns=cut[3], learner="lda"),
        Procedure(name="second, ridge", columns=cut[1]),
        Procedure(name="rerun 3", **rerun),
        Procedure(name="last, nearest row", columns=cut[3], learner="neighbour"),
        Procedure(name="third, class means", columns=cut[2], learner="means"),
        Procedure(name="first, ridge", columns=cut[0]),
        Procedure(name="third, LDA", columns=cut[2], learner="lda"),
    )


def tunable(world: World) -> tuple[Procedure, ...]:
    """Three penalties of one learner, of which a study tunes one."""
    columns = world.strategies[0].columns
    return tuple(Procedure(name=f"penalty {p:g}", columns=columns, penalty=p) for p in (0.01, 0.3, 10.0))


def _blocks(twins: str, **more: Any) -> tuple[Procedure, ...]:
    return tuple(
        Procedure(name=f"block {k}", columns=(k * BLOCK, (k + 1) * BLOCK), twins=twins, **more)
        for k in range(STRATEGIES)
    )


def synthetic() -> list[World]:
    """Planted accuracies, and four populations of equal strategies, each lucky in its own way."""
    same = (EQUAL,) * STRATEGIES
    reruns = tuple(Procedure(name=f"rerun {k}", columns=(0, 24), projected=8, twins="all") for k in range(STRATEGIES))
    failing = tuple(
        Procedure(name=f"rerun {k}", columns=(0, 24), projected=16, fails=0.1, twins="all") for k in range(STRATEGIES)
    )
    return [
        Normal("planted", _blocks(""), PLANTED),
        Normal("equal, own features", _blocks("all"), same),
        Normal("equal, reruns", reruns, (1.5,), width=24),
        Normal("equal, outliers", _blocks("all", penalty=1e-3), same, outliers=0.03),
        Normal("equal, 1 in 10 runs fails", failing, (1.5,), width=24),
    ]


def worlds(cache: Path, shared: Path, names: Sequence[str] = REAL) -> list[World]:
    """All populations whose data are there."""
    found: list[World] = []
    for name in names:
        read = load(name, cache, shared)
        if read is None:
            continue
        x, y = read
        classes = int(y.max()) + 1
        rows = tuple(np.flatnonzero(y == c) for c in range(classes))
        if name == "digits":
            found.append(Rows(ROWS, classes, probes(), x, rows))
        means = np.stack([x[r].mean(axis=0) for r in rows])
        roots = np.stack([_root(x[r]) for r in rows])
        found.append(Smoothed(name, classes, probes(), x, rows, means, roots))
    return found + synthetic()


def _root(x: Floats) -> Floats:
    """R (D, D) with R' R the covariance of x (N, D), which may have fewer rows than columns."""
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False, bias=True))
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)
