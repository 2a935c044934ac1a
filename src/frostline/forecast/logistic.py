"""Many multinomial logistic regressions on one set of rows at once, each fitted on some of them, at its own penalty.

The rows are coordinates in the eigenbasis of a kernel, so their columns are orthogonal, and a bound on the curvature
(Boehning 1992) is nearly diagonal there: accelerated descent scaled by it (Nesterov 1983; restarts after O'Donoghue &
Candes 2015) needs a few dozen products of matrices for all problems together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 500
PRECISE, ROUGH = 1e-5, 1e-4  # tolerances: of the largest step in a coordinate, relative to the largest coordinate
AT_ONCE = 1 << 24  # numbers of (problems, classes, rows) that are held at a time


@dataclass(frozen=True, slots=True)
class Problems:
    """`rows` (P, N) says which rows each problem is fitted on, `penalties` (P,) multiply half the squared weights."""

    rows: Tensor
    penalties: Tensor


def fit_predict(
    coordinates: Tensor, labels: Tensor, classes: int, problems: Problems, tolerance: float = PRECISE
) -> Tensor:
    """Log probabilities (P, N, C) of all rows, in each problem.

    Args:
        coordinates: (N, R) float32, columns orthogonal and of mean 0; rows of mean squared length 1.
        labels: (N,) in 0..C-1.
        problems: minimise the mean cross-entropy over its rows + penalty / 2 |weights|^2; biases are free.
        tolerance: when to stop, for all problems together.
    """
    at_once = max(1, AT_ONCE // (classes * len(coordinates)))
    parts = []
    for rows, penalties in zip(*(torch.split(t, at_once) for t in (problems.rows, problems.penalties)), strict=True):
        parts.append(_fit(coordinates, labels, classes, Problems(rows.float(), penalties.float()), tolerance))
    return torch.cat(parts)


def _fit(coordinates: Tensor, labels: Tensor, classes: int, problems: Problems, tolerance: float) -> Tensor:
    rows = problems.rows
    x = torch.cat([coordinates, torch.ones(len(coordinates), 1)], 1)
    share = rows / rows.sum(1, keepdim=True)
    truth = torch.nn.functional.one_hot(labels, classes).T.float()
    ridge = problems.penalties[:, None].expand(-1, x.shape[1]).clone()
    ridge[:, -1] = 0.0
    # ridge + half the curvature's bound: x'x is diagonal, and every problem has some of its rows, each share / count
    scale = (0.5 * (x * x).sum(0) * share.amax(1, keepdim=True) + ridge).unsqueeze(1)
    ridge = ridge.unsqueeze(1)
    theta = torch.zeros((len(rows), classes, x.shape[1]))
    ahead = theta
    momentum = torch.ones(len(rows), 1, 1)
    for _ in range(STEPS):
        gradient = (_log_probabilities(ahead, x).exp() - truth).mul_(share.unsqueeze(1)) @ x + ridge * ahead
        step = gradient / scale
        new = ahead - step
        moved = new - theta
        uphill = (step * scale * moved).sum((1, 2), keepdim=True) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        following = (1 + (1 + 4 * momentum * momentum).sqrt()) / 2
        ahead = new + torch.where(uphill, torch.zeros_like(momentum), (momentum - 1) / following) * moved
        momentum = following
        theta = new
        if float(step.abs().max()) <= tolerance * float(theta.abs().max()):
            break
    return _log_probabilities(theta, x).transpose(1, 2)


def _log_probabilities(theta: Tensor, x: Tensor) -> Tensor:
    """(P, C, N)"""
    return torch.log_softmax(theta @ x.T, 1)
