"""Linear heads on frozen features are solved, not stepped: multinomial logistic regression over a path of L2 values.

Source: Kornblith et al. 2019 (appendix: L-BFGS, warm starts from strong to weak penalty); the objective is
mean cross-entropy + l2/2 |W|^2 on features standardised by training mean and deviation, bias free of penalty. It is
scikit-learn's LogisticRegression with C = 1 / (l2 * n). Standardisation is folded back into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from frostline.base.records import FloatArray, IntArray

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

L2_PATH: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4)  # strong to weak
PRECISE, ROUGH = 1e-5, 1e-4  # tolerances of a head that is used, and of heads that only choose a penalty
PATIENCE = 2  # penalties after the best one so far that are still tried
BLOCK = 1 << 21  # numbers that are worked on at a time, where how many it is doesn't change a result
LARGE = 1 << 24  # scores; beyond, loss and gradient are summed up block by block
FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LinearHead:
    """weight (C, D), bias (C,) for raw (not standardised) features; `l2` is the penalty it was solved with."""

    weight: FloatArray
    bias: FloatArray
    l2: float

    def logits(self, features: FloatMatrix) -> FloatArray:
        return np.asarray(features @ self.weight.T.astype(np.float32), dtype=np.float64) + self.bias


@dataclass(frozen=True, slots=True)
class Spare:
    """Features (N, D) that nobody reads afterwards: many samples in many views take much memory."""

    values: FloatMatrix


@dataclass(frozen=True, slots=True)
class _Scale:
    mean: FloatMatrix
    deviation: FloatMatrix

    @staticmethod
    def of(features: FloatMatrix) -> _Scale:
        mean, deviation = column_moments(features)
        # a constant feature carries no information: dividing by 1 leaves it at zero
        deviation[deviation < 1e-6 * max(float(deviation.max(initial=0.0)), 1e-12)] = 1.0
        return _Scale(mean.astype(np.float32), deviation.astype(np.float32))

    def apply_in_place(self, features: FloatMatrix) -> None:
        for rows in _blocks(features):
            part = features[rows]
            np.subtract(part, self.mean, out=part)
            np.divide(part, self.deviation, out=part)


def column_moments(features: FloatMatrix) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation (D,) of features (N, D), which lie row by row, in float64.

    Bit for bit NumPy's own, which adds rows one after another too, but takes several times the features' memory.
    """
    mean = _column_sums(features, lambda part: part) / len(features)
    squares = _column_sums(features, lambda part: (part - mean) ** 2)
    return mean, np.sqrt(squares / len(features))


def _column_sums(features: FloatMatrix, change: Callable[[FloatArray], FloatArray]) -> FloatArray:
    total = np.zeros((0, features.shape[1]))
    for rows in _blocks(features):
        part = change(features[rows].astype(np.float64))
        total = np.add.reduce(np.concatenate([total, part]), axis=0, keepdims=True)
    return np.asarray(total[0])


def _blocks(values: FloatMatrix) -> list[slice]:
    """Return the rows of an array (N, D) in parts of about BLOCK numbers."""
    step = max(1, BLOCK // values.shape[1])
    return [slice(start, start + step) for start in range(0, len(values), step)]


@cache
def _blas_libraries() -> ThreadpoolController:
    """Find the BLAS libraries in use, once: that takes a fifth of the time of a small path."""
    import scipy.optimize  # noqa: F401  (has a BLAS of its own, which is found only once it is loaded)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def softmax(logits: FloatArray) -> FloatArray:
    """Return the probabilities (N, C) of logits (N, C)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def heads_along(
    features: FloatMatrix | Spare,
    labels: IntArray,
    classes: int,
    path: Sequence[float] = L2_PATH,
    *,
    class_weights: FloatArray | None = None,
    tolerance: float = PRECISE,
) -> Iterator[LinearHead]:
    """Solve one head per penalty, each started from the one before; a head is solved when it is asked for.

    Args:
        features: (N, D) float32; spare ones are standardised in place, others in a copy.
        labels: (N,) in 0..classes-1.
        path: penalties, best from strong to weak.
        class_weights: (C,), by which the loss of each class's samples is multiplied; their mean over samples is 1.
        tolerance: largest component of the gradient at which a head counts as solved.
    """
    if isinstance(features, Spare):
        x = np.require(features.values, np.float32, ["C", "W"])
    else:
        x = np.array(features, np.float32, order="C")
    scale = _Scale.of(x)
    scale.apply_in_place(x)
    theta = np.zeros((classes, x.shape[1] + 1))
    weights = None
    if class_weights is not None:
        weights = class_weights[labels]
    for l2 in path:
        # one BLAS thread: on these small products more cost up to ninety times the time where cores are shared
        with _blas_libraries().limit(limits=1, user_api="blas"):
            theta = _minimise(x, labels, theta, l2, weights, tolerance)
        weight = theta[:, :-1] / scale.deviation
        yield LinearHead(weight, theta[:, -1] - weight @ scale.mean.astype(np.float64), l2)


def best_penalty(losses: Iterable[float]) -> int:
    """Return the place of the lowest of these losses, which are those along a path, from strong to weak.

    The path is followed until PATIENCE further penalties have brought nothing: heads with weak ones take longest.
    """
    best = 0
    lowest = math.inf
    for place, loss in enumerate(losses):
        if loss < lowest:
            best, lowest = place, loss
        elif place - best >= PATIENCE:
            break
    return best


def solve(
    features: FloatMatrix | Spare,
    labels: IntArray,
    classes: int,
    l2: float,
    *,
    class_weights: FloatArray | None = None,
) -> LinearHead:
    """Solve the head for one penalty, along the path: the result is that of `heads_along` at the same penalty."""
    path = [*(p for p in L2_PATH if p > l2), l2]
    *_, head = heads_along(features, labels, classes, path, class_weights=class_weights)
    return head


def _minimise(
    x: FloatMatrix, labels: IntArray, start: FloatArray, l2: float, weights: FloatArray | None, tolerance: float
) -> FloatArray:
    from scipy.optimize import minimize

    shape = start.shape
    if len(x) * len(start) > LARGE:
        step = max(1, BLOCK // len(start))
        parts = [slice(first, first + step) for first in range(0, len(x), step)]
    else:
        parts = [slice(0, len(x))]

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        theta = flat.reshape(shape)
        losses = []
        gradient = np.zeros(shape)
        for rows in parts:
            part_weights = None if weights is None else weights[rows]
            losses.append(_add_rows(gradient, (x[rows], labels[rows], part_weights), theta, len(x)))
        gradient[:, :-1] += l2 * theta[:, :-1]
        loss = float(np.concatenate(losses).mean()) + 0.5 * l2 * float(np.sum(theta[:, :-1] ** 2))
        return loss, gradient.ravel()

    solution = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 300, "gtol": tolerance, "ftol": tolerance / 10_000, "maxcor": 10},
    )
    return np.asarray(solution.x, dtype=np.float64).reshape(shape)


def _add_rows(
    gradient: FloatArray, rows: tuple[FloatMatrix, IntArray, FloatArray | None], theta: FloatArray, n: int
) -> FloatArray:
    """Add what some of `n` samples (features, labels, weights) give to the gradient, and return their losses."""
    x, labels, weights = rows
    places = np.arange(len(x))
    logits = (x @ theta[:, :-1].T.astype(np.float32)).astype(np.float64)
    logits += theta[:, -1]
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[places, labels]
    exp = np.exp(logits, out=logits)
    total = exp.sum(axis=1)
    losses = np.log(total) - chosen
    exp /= total[:, None]
    exp[places, labels] -= 1.0
    if weights is None:
        exp /= n
    else:
        losses = weights * losses
        exp *= (weights / n)[:, None]
    gradient[:, :-1] += (exp.T.astype(np.float32) @ x).astype(np.float64)
    gradient[:, -1] += exp.sum(axis=0)
    return np.asarray(losses)
