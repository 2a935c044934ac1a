"""Cheap procedures that really retrain: linear ones in closed form, many training sets at once; nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cases.evidence.features import Floats, Ints

Bools = NDArray[np.bool_]
SMALLEST = 1e-6  # of a deviation: a constant feature stays constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """A strategy's stand-in: a learner on some columns of the features.

    `projected`: learn on so many random directions, drawn anew in every training (luck of the run). `fails`: share of
    trainings that see one random direction only. Procedures of one `twins` have the same expected accuracy.
    """

    name: str
    columns: tuple[int, int]
    learner: Literal["ridge", "lda", "means", "neighbour"] = "ridge"
    penalty: float = 0.1
    projected: int = 0
    fails: float = 0.0
    twins: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLearner:
    """Scores x @ weights + bias over classes; weights (J, D, C) and bias (J, 1, C), one for each training set."""

    weights: Floats
    bias: Floats

    def predict(self, x: Floats) -> Ints:
        """Classes (J, M) of x (M, D)."""
        return np.asarray((x @ self.weights + self.bias).argmax(axis=2))


def train(p: Procedure, x: Floats, y: Ints, used: Bools, *, classes: int, rng: np.random.Generator) -> FittedLearner:
    """Fit on x (J, N, D) or (1, N, D), y likewise without D; `used` (J, N) says which rows belong to training set j."""
    sets, weight = len(used), used[:, :, None].astype(np.float64)
    x = x[:, :, slice(*p.columns)]
    directions = _directions(p, sets, x.shape[2], rng)
    if directions is not None:
        x = x @ directions
    targets = np.eye(classes)[y]
    n, counts = weight.sum(axis=1, keepdims=True), np.maximum((weight * targets).sum(axis=1, keepdims=True), 1)
    mean = (weight * x).sum(axis=1, keepdims=True) / n
    centred = (x - mean) * weight
    deviation = np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True) / n), SMALLEST)
    z = centred / deviation
    turned = z.transpose(0, 2, 1)
    moments, by_class = turned @ z / n, turned @ (targets * weight)
    weights, bias = _solve(p, moments, by_class, counts, n)
    weights = weights / deviation.transpose(0, 2, 1)
    bias = bias - mean @ weights
    return FittedLearner(weights=weights if directions is None else directions @ weights, bias=bias)


def _solved(matrices: Floats, right: Floats) -> Floats:
    return np.asarray(np.linalg.solve(matrices, right), dtype=np.float64)


def _solve(p: Procedure, moments: Floats, by_class: Floats, counts: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Of standardised features: second moments (J, D, D), sums by class (J, D, C), rows by class (J, 1, C)."""
    eye = np.eye(moments.shape[1])
    if p.learner == "ridge":
        return _solved(moments + p.penalty * eye, by_class / n), counts / n
    means = by_class / counts
    if p.learner == "means":
        weights = means
    else:
        within = moments - (means * (counts / n)) @ means.transpose(0, 2, 1)
        weights = _solved(within + p.penalty * eye, means)
    return weights, -0.5 * (means * weights).sum(axis=1, keepdims=True)


def _directions(p: Procedure, sets: int, width: int, rng: np.random.Generator) -> Floats | None:
    if not p.projected:
        return None
    drawn = rng.normal(size=(sets, width, p.projected))
    failed = rng.random(sets) < p.fails
    drawn[failed, :, 1:] = 0.0
    return np.asarray(drawn)


def neighbours(p: Procedure, x: Floats, y: Ints, used: Bools) -> Ints:
    """Class (J, N) of the nearest other row of each training set, for every row of x (N, D)."""
    part = x[:, slice(*p.columns)]
    order = np.argsort(_distances(part, part), axis=1)
    first = used[:, order].argmax(axis=2)
    return np.asarray(y[np.take_along_axis(order[None], first[:, :, None], axis=2)[:, :, 0]])


def nearest(p: Procedure, x: Floats, y: Ints, fresh: Floats) -> Ints:
    """Class (M,) of the row of x (N, D) nearest to each of `fresh` (M, D)."""
    columns = slice(*p.columns)
    return np.asarray(y[_distances(fresh[:, columns], x[:, columns]).argmin(axis=1)])


def _distances(a: Floats, b: Floats) -> Floats:
    """Squared distances less what is equal for all of b."""
    return np.asarray((b**2).sum(axis=1) - 2 * a @ b.T)


def out_of_fold(p: Procedure, x: Floats, y: Ints, used: Bools, *, classes: int, rng: np.random.Generator) -> Floats:
    """1 where right (J, N): training set j's prediction of every row of x (N, D), its own rows included."""
    if p.learner == "neighbour":
        return np.asarray(neighbours(p, x, y, used) == y, dtype=np.float64)
    fitted = train(p, x[None], y[None], used, classes=classes, rng=rng)
    return np.asarray(_predict(p, fitted, x) == y, dtype=np.float64)


def tested(
    p: Procedure, x: Floats, y: Ints, fresh: Floats, truth: Ints, *, classes: int, rng: np.random.Generator
) -> Floats:
    """Accuracy (J,) on fresh rows (M, D) of J training sets x (J, N, D), y (J, N)."""
    if p.learner == "neighbour":
        return np.array([(nearest(p, a, b, fresh) == truth).mean() for a, b in zip(x, y, strict=True)])
    fitted = train(p, x, y, np.ones(y.shape, dtype=bool), classes=classes, rng=rng)
    return np.asarray((_predict(p, fitted, fresh) == truth).mean(axis=1))


def _predict(p: Procedure, fitted: FittedLearner, x: Floats) -> Ints:
    return fitted.predict(x[:, slice(*p.columns)])
