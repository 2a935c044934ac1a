"""Transferability scores: what features (N, D) say of labels (N,) without training. Higher is better in all of them.

They order candidates and nothing more: their units differ, and none of them knows what fine-tuning would repair
(docs/rank.md). Labels are whole numbers; numbers that no sample has are no classes. Every function raises ValueError
for shapes that don't fit, fewer than two classes, or values that aren't finite.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from frostline.base.records import FloatArray, IntArray

NEIGHBOURS = 5
TEMPERATURE = 0.07  # of a neighbour's vote (Wu et al. 2018)
SMALL = 1e-6  # singular values below this share of the largest are rounding: features are float32
ENERGY = 0.8  # share of the variance that NLEEP's principal components keep
COMPONENTS = 5  # Gaussians a class, for NLEEP
SAMPLES_EACH = 10  # but so many samples for each Gaussian, where that leaves one for each class
GBC_WIDTH = 64  # principal components that GBC reads
VARIANCE_FLOOR = 1e-4  # of the mean variance: a class of one sample, or of copies, has none of its own
DISTORTION = 1e-4  # epsilon squared of TransRate, for features of mean squared length 1
CHUNK = 1024  # rows whose similarities to all others are held at a time


def knn(features: FloatArray, labels: IntArray, groups: Sequence[str] | None = None) -> float:
    """Leave-one-out accuracy of the 5 nearest neighbours by cosine, each voting exp(cos / 0.07); in [0, 1].

    `groups` (N,): samples of one group (copies, images of one patient) don't vote for each other.
    Source: Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination", section 3.4.
    """
    x, y, classes = _as_classes(features, labels)
    together = np.unique(np.asarray(groups), return_inverse=True)[1] if groups is not None else np.arange(len(y))
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(lengths > 0, lengths, 1.0)
    right = 0
    for start in range(0, len(y), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(y)))
        cosine = unit[rows] @ unit.T
        cosine[together[rows][:, None] == together[None, :]] = -np.inf
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
        votes = np.exp((np.take_along_axis(cosine, nearest, axis=1) - 1) / TEMPERATURE)
        tally = np.zeros((len(rows), classes))
        np.add.at(tally, (np.arange(len(rows))[:, None], y[nearest]), votes)
        right += int(np.sum((tally.argmax(axis=1) == y[rows]) & (tally.max(axis=1) > 0)))
    return right / len(y)


def log_me(features: FloatArray, labels: IntArray) -> float:
    """Log evidence, per sample, of Bayesian linear regression on each class's 0/1 labels, averaged over classes.

    For a class with labels y, weights w ~ N(0, 1/alpha) and noise N(0, 1/beta): the maximum over alpha and beta of
    log p(y | F, alpha, beta) / N. With lam = alpha / beta the best beta is N / Q(lam), so that one line search over lam
    finds the maximum that the paper's fixed point iterates towards. Unbounded. Scaling the features changes nothing.
    Source: You et al. 2021, "LogME: practical assessment of pre-trained models for transfer learning", equation 2.
    """
    x, y, classes = _as_classes(features, labels)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    kept = singular > SMALL * singular.max(initial=0.0)
    squares = singular[kept] ** 2
    total = 0.0
    for label in range(classes):
        target = (y == label).astype(np.float64)
        along = (left[:, kept].T @ target) ** 2
        total += _evidence(squares, along, float(target @ target), len(y))
    return total / classes


def _evidence(squares: FloatArray, along: FloatArray, length: float, rows: int) -> float:
    """Maximum over lam of the log evidence a sample; `squares`, `along` (R,): squared singular values, and squared
    coordinates of the target along their directions; `length`: its squared length."""
    from scipy.optimize import minimize_scalar

    beyond = max(length - float(along.sum()), 0.0)
    constant = rows / 2 * (np.log(rows) - 1 - np.log(2 * np.pi))
    least = 1e-14 * length  # of the residual: labels that the features fit exactly have infinite evidence

    def negative(log_lam: float) -> float:
        lam = np.exp(log_lam)
        residual = beyond + float(np.sum(along * (lam / (lam + squares))))
        fit = rows / 2 * np.log(max(residual, least))
        return float(fit + 0.5 * np.sum(np.log1p(squares / lam)) - constant)

    if not len(squares):
        return -negative(0.0) / rows
    grid = np.linspace(np.log(squares.min()) - 20, np.log(squares.max()) + 14, 150)
    place = int(np.argmin([negative(value) for value in grid]))
    bounds = (grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)])
    found = minimize_scalar(negative, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return -float(min(found.fun, negative(grid[place]))) / rows


def h_score(features: FloatArray, labels: IntArray) -> float:
    """tr(S_f^-1 S_b): covariance of the features inverted, times that of their class means; from 0 to C - 1.

    With no more samples than features it is C - 1 whatever they hold: `h_score_shrunk` is for that.
    Source: Bao et al. 2019, "An information-theoretic approach to transferability in task transfer learning",
    definition 2.
    """
    x, y, classes = _as_classes(features, labels)
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    white = left[:, singular > SMALL * singular.max(initial=0.0)]
    return sum(float(np.sum(white[y == c].sum(axis=0) ** 2)) / int(np.sum(y == c)) for c in range(classes))


def h_score_shrunk(features: FloatArray, labels: IntArray) -> float:
    """(1 - a) tr(S_a^-1 S_b), where S_a = (1 - a) S_f + a tr(S_f) / D I with the a of Ledoit & Wolf; 0 to C - 1.

    Source: Ibrahim, Ponomareva & Mazumder 2021, "Newer is not always better: rethinking transferability metrics",
    equation 5; Ledoit & Wolf 2004.
    """
    from sklearn.covariance import ledoit_wolf

    x, y, classes = _as_classes(features, labels)
    centred = x - x.mean(axis=0)
    if not np.any(centred):
        return 0.0
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    if shrinkage >= 1:
        return 0.0
    means = np.stack([centred[y == c].mean(axis=0) * np.sqrt(np.mean(y == c)) for c in range(classes)])
    return float((1 - shrinkage) * np.trace(means @ np.linalg.solve(covariance, means.T)))


def leep(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean log of sum_z P(y | z) theta_z(x), with P(y, z) the mean of theta over the samples of y; at most 0.

    `probabilities` (N, Z): theta, what the source's own head gives each of its classes.
    Source: Nguyen et al. 2020, "LEEP: a new measure to evaluate transferability of learned representations",
    equations 1 and 2.
    """
    theta, y, classes = _as_classes(probabilities, labels)
    joint = np.stack([theta[y == c].sum(axis=0) for c in range(classes)]) / len(y)
    marginal = joint.sum(axis=0)
    conditional = joint / np.where(marginal > 0, marginal, 1.0)
    expected = np.sum(theta * conditional[y], axis=1)
    return float(np.mean(np.log(np.maximum(expected, np.finfo(np.float64).tiny))))


def nleep(features: FloatArray, labels: IntArray, *, seed: int) -> float:
    """LEEP with clusters in the place of source classes: a mixture of Gaussians on principal components; at most 0.

    Components with 80 % of the variance; 5 Gaussians a class, fewer where there are fewer than 10 samples for each.
    Theirs are diagonal covariances, since few samples allow no others. `seed` (32 bits) starts the mixture.
    Source: Li et al. 2021, "Ranking neural checkpoints", section 4.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    x, y, classes = _as_classes(features, labels)
    scores, variances = _principal(x)
    if not len(variances):
        return leep(np.ones((len(y), 1)), y)
    share = np.cumsum(variances) / variances.sum()
    width = int(np.searchsorted(share, ENERGY - 1e-12)) + 1
    parts = min(COMPONENTS * classes, max(classes, len(y) // SAMPLES_EACH))
    mixture = GaussianMixture(parts, covariance_type="diag", init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scores[:, :width])
    return leep(np.asarray(mixture.predict_proba(scores[:, :width])), y)


def gbc(features: FloatArray, labels: IntArray) -> float:
    """- sum over ordered pairs of classes of exp(-D), D the Bhattacharyya distance of their Gaussians; in [-C(C-1), 0].

    Gaussians with diagonal covariances on the first 64 principal components.
    Source: Pandy et al. 2022, "Transferability estimation using Bhattacharyya class separability", equations 4 to 6.
    """
    x, y, classes = _as_classes(features, labels)
    scores, variances = _principal(x)
    if not len(variances):
        return -float(classes * (classes - 1))
    scores = scores[:, :GBC_WIDTH]
    floor = VARIANCE_FLOOR * float(variances[:GBC_WIDTH].mean())
    means = np.stack([scores[y == c].mean(axis=0) for c in range(classes)])
    spreads = np.stack([scores[y == c].var(axis=0) for c in range(classes)]) + floor
    total = 0.0
    for a in range(classes):
        middle = (spreads[a] + spreads) / 2
        apart = np.sum((means[a] - means) ** 2 / middle, axis=1) / 8
        shape = np.sum(np.log(middle) - (np.log(spreads[a]) + np.log(spreads)) / 2, axis=1) / 2
        total += float(np.exp(-(apart + shape)).sum()) - 1.0  # but for the class with itself
    return -total


def trans_rate(features: FloatArray, labels: IntArray) -> float:
    """R(Z) - sum_c n_c / N R(Z_c): by how many nats the classes shorten the code of the features; at least 0.

    R(Z) = 1/2 log det(I + D / (N eps^2) Z'Z), Z centred over all samples and of mean squared length 1, eps^2 = 1e-4.
    Source: Huang et al. 2022, "Frustratingly easy transferability estimation", equation 4; Ma et al. 2007.
    """
    x, y, classes = _as_classes(features, labels)
    centred = x - x.mean(axis=0)
    size = float(np.mean(np.sum(centred**2, axis=1)))
    if size == 0:
        return 0.0
    z = centred / np.sqrt(size)
    return _rate(z) - sum(float(np.mean(y == c)) * _rate(z[y == c]) for c in range(classes))


def _rate(z: FloatArray) -> float:
    """Nats that code one row of z (N, D) up to the distortion."""
    singular = np.linalg.svd(z, compute_uv=False)
    return 0.5 * float(np.sum(np.log1p(z.shape[1] / (len(z) * DISTORTION) * singular**2)))


def _principal(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Principal components (N, R) of features of total variance 1, and their variances (R,), the largest first."""
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    kept = singular > SMALL * singular.max(initial=0.0)
    singular = singular[kept] / np.sqrt(max(float(np.sum(singular[kept] ** 2)) / len(x), np.finfo(np.float64).tiny))
    return left[:, kept] * singular, singular**2 / len(x)


def _as_classes(values: FloatArray, labels: IntArray) -> tuple[FloatArray, IntArray, int]:
    """The values as float64, labels counted from 0 without gaps, and the number of classes."""
    x = np.asarray(values, dtype=np.float64)
    given = np.asarray(labels)
    if x.ndim != 2 or given.shape != x.shape[:1]:
        raise ValueError(f"expected values (N, D) and labels (N,), found {x.shape} and {given.shape}")
    if not np.isfinite(x).all():
        raise ValueError("the values aren't finite")
    present, y = np.unique(given, return_inverse=True)
    if len(present) < 2:
        raise ValueError(f"expected two classes or more, found {len(present)}")
    return x, y.astype(np.int64), len(present)
