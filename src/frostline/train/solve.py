"""Linear heads on frozen features are solved, not stepped: multinomial logistic regression over a path of L2 values.

Source: Kornblith et al. 2019 (appendix: L-BFGS, warm starts from strong to weak penalty); the objective is
mean cross-entropy + l2/2 |W|^2 on features standardised by training mean and deviation, bias free of penalty. It is
scikit-learn's LogisticRegression with C = 1 / (l2 * n). Standardisation is folded back into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
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
class _Scale:
    mean: FloatMatrix
    deviation: FloatMatrix

    @staticmethod
    def of(features: FloatMatrix) -> _Scale:
        deviation = features.std(axis=0, dtype=np.float64)
        # a constant feature carries no information: dividing by 1 leaves it at zero
        deviation[deviation < 1e-6 * max(float(deviation.max(initial=0.0)), 1e-12)] = 1.0
        return _Scale(features.mean(axis=0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32))

    def apply(self, features: FloatMatrix) -> FloatMatrix:
        return np.ascontiguousarray((features - self.mean) / self.deviation, dtype=np.float32)


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
    features: FloatMatrix,
    labels: IntArray,
    classes: int,
    path: Sequence[float] = L2_PATH,
    *,
    class_weights: FloatArray | None = None,
    tolerance: float = PRECISE,
) -> Iterator[LinearHead]:
    """Solve one head per penalty, each started from the one before; a head is solved when it is asked for.

    Args:
        features: (N, D) float32.
        labels: (N,) in 0..classes-1.
        path: penalties, best from strong to weak.
        class_weights: (C,), by which the loss of each class's samples is multiplied; their mean over samples is 1.
        tolerance: largest component of the gradient at which a head counts as solved.
    """
    scale = _Scale.of(features)
    x = scale.apply(features)
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
    features: FloatMatrix, labels: IntArray, classes: int, l2: float, *, class_weights: FloatArray | None = None
) -> LinearHead:
    """Solve the head for one penalty, along the path: the result is that of `heads_along` at the same penalty."""
    path = [*(p for p in L2_PATH if p > l2), l2]
    *_, head = heads_along(features, labels, classes, path, class_weights=class_weights)
    return head


def _minimise(
    x: FloatMatrix, labels: IntArray, start: FloatArray, l2: float, weights: FloatArray | None, tolerance: float
) -> FloatArray:
    from scipy.optimize import minimize

    n, _ = x.shape
    rows = np.arange(n)
    shape = start.shape

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        theta = flat.reshape(shape)
        logits = (x @ theta[:, :-1].T.astype(np.float32)).astype(np.float64) + theta[:, -1]
        logits -= logits.max(axis=1, keepdims=True)
        exp = np.exp(logits)
        total = exp.sum(axis=1)
        losses = np.log(total) - logits[rows, labels]
        if weights is not None:
            losses = weights * losses
        loss = float(np.mean(losses)) + 0.5 * l2 * float(np.sum(theta[:, :-1] ** 2))
        exp /= total[:, None]
        exp[rows, labels] -= 1.0
        residual = exp / n if weights is None else exp * (weights / n)[:, None]
        gradient = np.empty(shape)
        gradient[:, :-1] = (residual.T.astype(np.float32) @ x).astype(np.float64) + l2 * theta[:, :-1]
        gradient[:, -1] = residual.sum(axis=0)
        return loss, gradient.ravel()

    solution = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 300, "gtol": tolerance, "ftol": tolerance / 10_000, "maxcor": 10},
    )
    return np.asarray(solution.x, dtype=np.float64).reshape(shape)
