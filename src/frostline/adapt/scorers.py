"""How good an adapted network is on its target, judged without target labels: several scorers, more is better.

All read class probabilities (N, C). Accuracies that come out are estimates: each rests on an assumption about the shift
that the data can't prove (Garg et al. 2022, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.base.records import FloatArray, IntArray
from frostline.stats.intervals import Interval

DENSITY_TEMPERATURE = 0.05  # Saito et al. 2021
PAIRED_ROWS = 2000  # target samples at most that are compared in pairs, or with the source
COMPONENTS = 50  # principal components that source and target are told apart by
FOLDS = 5
FEWEST_EFFECTIVE = 10.0  # weighted samples below which importance weights say nothing
DRAWS = 2000
CHUNK = 4_000_000  # numbers held at once
ROUNDING = 1e-9
Score = Callable[[FloatArray], FloatArray]  # probabilities (N, C) -> how sure each row is (N,)
SOURCES = {
    "atc": "Garg et al. 2022, Leveraging Unlabeled Data to Predict Out-of-Distribution Performance (negative entropy)",
    "atc-confidence": "Garg et al. 2022, the same with the largest probability",
    "infomax": "Bridle et al. 1991, Unsupervised Classifiers, Mutual Information and 'Phantom Targets'",
    "snd": "Saito et al. 2021, Tune it the Right Way: Soft Neighborhood Density",
    "dev": "You et al. 2019, Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation",
    "ensv": "Hu et al. 2024, Towards Reliable Model Selection for Unsupervised Domain Adaptation",
}


def negative_entropy(probabilities: FloatArray) -> FloatArray:
    """Return sum p ln p of each row (N,): 0 where one class is certain, -ln C where all are alike."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray((probabilities * logs).sum(axis=1))


def confidence(probabilities: FloatArray) -> FloatArray:
    """Return the largest probability of each row (N,)."""
    return np.asarray(probabilities.max(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Source samples that a network didn't learn from, as it reads them: probabilities (M, C), labels (M,) and groups
    (M,). `weights` (M,) make up for other proportions of the classes; None: all count alike."""

    probabilities: FloatArray
    labels: IntArray
    groups: IntArray
    weights: FloatArray | None = None

    @property
    def right(self) -> FloatArray:
        """1 where the most probable class is the true one, else 0 (M,)."""
        found: FloatArray = (self.probabilities.argmax(axis=1) == self.labels).astype(np.float64)
        return found

    @property
    def shares(self) -> FloatArray:
        """What each sample counts (M,), with a sum of 1."""
        weights = self.weights
        if weights is None:
            weights = np.ones(len(self.labels))
        return np.asarray(weights / weights.sum())


def thresholds(scores: FloatArray, right: FloatArray, counts: FloatArray) -> FloatArray:
    """Return, for each row of `counts` (B, M), the score below which lies as much of the source as is wrong (B,).

    Infinite where all is wrong. Source: Garg et al. 2022, equation 1.
    """
    order = np.argsort(scores, kind="stable")
    sorted_counts = counts[:, order]
    before = np.cumsum(sorted_counts, axis=1) - sorted_counts
    wrong = (sorted_counts * (1 - right[order])).sum(axis=1, keepdims=True)
    total = sorted_counts.sum(axis=1, keepdims=True)
    places = (before < wrong - ROUNDING * total).sum(axis=1)
    found: FloatArray = np.append(scores[order], np.inf)[places]
    return found


def atc(reference: Reference, target: FloatArray, score: Score = negative_entropy) -> float:
    """Return the accuracy on the target (N, C) that average thresholded confidence foretells.

    The share of target samples that score at least as high as the threshold above which, on the source, as many samples
    lie as are right. Source: Garg et al. 2022, equations 1 and 2.
    """
    counts = reference.shares[None, :]
    found = thresholds(score(reference.probabilities), reference.right, counts)
    return float((score(target) >= found[0]).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedGain:
    """Estimated accuracy of one network on the target less that of another, with the interval of a paired bootstrap at
    `level`. `changed` is the share of target samples that the two answer differently."""

    difference: float
    ci: Interval
    changed: float
    level: float

    @property
    def shown(self) -> bool:
        """Whether the interval lies above 0."""
        return self.ci[0] > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """Source and target as one network reads them; `most` is an upper bound of its accuracy on the target."""

    reference: Reference
    target: FloatArray
    most: float = 1.0


def estimated_gain(
    new: Read, old: Read, target_groups: IntArray, *, rng: np.random.Generator, level: float, draws: int = DRAWS
) -> EstimatedGain:
    """Estimate how much more accurate `new` is than `old` on the target; both read the same samples.

    Where both give the same answer, both are right or both are wrong: such a sample adds 0, however sure they are.
    Where answers differ, each counts as right if it scores above its own threshold (:func:`atc`). No estimate is above
    its bound. Groups of the source and of the target are drawn again together, for both networks alike, thresholds
    included. Source: Garg et al. 2022; changed answers, bounds and the paired bootstrap are ours.
    """
    changed = new.target.argmax(axis=1) != old.target.argmax(axis=1)
    scores = [negative_entropy(one.target) for one in (new, old)]
    ones = [np.ones((1, len(groups))) for groups in (new.reference.groups, target_groups)]
    estimates = _estimates(new, old, scores, changed, ones)
    found = []
    step = max(1, CHUNK // (len(target_groups) + len(new.reference.labels)))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        counts = [drawn_again(groups, rows, rng) for groups in (new.reference.groups, target_groups)]
        drawn = _estimates(new, old, scores, changed, counts)
        found.append(drawn[0] - drawn[1])
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return EstimatedGain(
        difference=float(estimates[0][0] - estimates[1][0]),
        ci=(float(low), float(high)),
        changed=float(changed.mean()),
        level=level,
    )


def drawn_again(groups: IntArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each sample (N,) comes up when its groups are drawn again with replacement (draws, N)."""
    names, place = np.unique(groups, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray(counts[:, place], dtype=np.float64)


def _estimates(
    new: Read, old: Read, scores: Sequence[FloatArray], changed: NDArray[np.bool_], counts: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return both estimates for each draw (B,); `counts` of the source (B, M) and of the target (B, N)."""
    above = []
    for one, score in zip((new, old), scores, strict=True):
        reference = one.reference
        weighed = counts[0] * reference.shares[None, :]
        limits = thresholds(negative_entropy(reference.probabilities), reference.right, weighed)
        above.append((score[None, :] >= limits[:, None]).astype(np.float64))
    total = counts[1].sum(axis=1)
    before = (counts[1] * above[1]).sum(axis=1) / total
    gained = (counts[1] * changed * (above[0] - above[1])).sum(axis=1) / total
    return np.minimum(before + gained, new.most), np.minimum(before, old.most)


def share_distance(predicted: IntArray, shares: FloatArray) -> float:
    """Return how far the classes' shares among answers (N,) are from `shares` (C,), beyond what luck explains.

    Total variation less its mean for N draws from `shares`, 0 at least. Where classes do have these shares, at least so
    many answers are wrong: each answer too many of a class is one.
    """
    counted = np.bincount(predicted, minlength=len(shares)) / len(predicted)
    distance = 0.5 * float(np.abs(counted - shares).sum())
    return max(0.0, distance - share_noise(len(predicted), shares))


def share_noise(count: int, shares: FloatArray) -> float:
    """Return the mean total variation between `shares` (C,) and those of `count` draws (normal approximation)."""
    spreads = np.sqrt(shares * (1 - shares) / count)
    return 0.5 * float(spreads.sum()) * float(np.sqrt(2 / np.pi))


def information(probabilities: FloatArray) -> float:
    """Return H(mean p) - mean H(p) in nats: mutual information of samples and answers, in [0, ln C].

    High where answers are sure and all classes are used. Source: Bridle et al. 1991; as a validator Musgrave et al.
    2022, "Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation".
    """
    whole = probabilities.mean(axis=0, keepdims=True)
    return float(negative_entropy(probabilities).mean() - negative_entropy(whole)[0])


def neighbourhood_density(probabilities: FloatArray, *, rng: np.random.Generator) -> float:
    """Return the mean entropy of each sample's soft neighbourhood, in nats: high where answers form dense clusters.

    Similarities are those of probabilities scaled to length 1, over 0.05, the sample itself left out; of more than
    2,000 samples so many are drawn. Source: Saito et al. 2021, equations 2 to 4.
    """
    if len(probabilities) > PAIRED_ROWS:
        probabilities = probabilities[np.sort(rng.choice(len(probabilities), PAIRED_ROWS, replace=False))]
    scaled = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
    similar = scaled @ scaled.T / DENSITY_TEMPERATURE
    np.fill_diagonal(similar, -np.inf)
    shares = np.exp(similar - similar.max(axis=1, keepdims=True))
    return float(-negative_entropy(shares / shares.sum(axis=1, keepdims=True)).mean())


def density_ratio(source: FloatArray, target: FloatArray, *, rng: np.random.Generator) -> FloatArray:
    """Return p_target / p_source at each source sample (M,), by a logistic regression that didn't see that sample.

    It reads the first 50 principal components of both, each scaled to a spread of 1; of more than 2,000 target samples
    so many are drawn. Source: Bickel et al. 2009, "Discriminative Learning Under Covariate Shift"; You et al. 2019 take
    a further part of the source where this takes folds.
    """
    from sklearn.linear_model import LogisticRegression

    if len(target) > PAIRED_ROWS:
        target = target[np.sort(rng.choice(len(target), PAIRED_ROWS, replace=False))]
    features = _components(np.concatenate([source, target]))
    sides = np.repeat([0, 1], [len(source), len(target)])
    folds = np.concatenate([rng.permutation(len(side)) % FOLDS for side in (source, target)])
    ratio = np.zeros(len(source))
    for fold in range(FOLDS):
        train = folds != fold
        judged = np.flatnonzero((folds == fold) & (sides == 0))
        fitted = LogisticRegression(max_iter=500).fit(features[train], sides[train])
        prior = (sides[train] == 0).sum() / (sides[train] == 1).sum()
        ratio[judged] = prior * np.exp(np.clip(fitted.decision_function(features[judged]), -30, 30))
    return ratio


def _components(features: FloatArray) -> FloatArray:
    """Return the scores of the first principal components, each divided by its spread."""
    centred = np.asarray(features, dtype=np.float64) - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(COMPONENTS, int((sizes > ROUNDING * sizes[0]).sum()))
    return np.asarray(left[:, :kept] * np.sqrt(len(features)))


def effective_samples(weights: FloatArray) -> float:
    """Return (sum w)^2 / sum w^2: how many samples of equal weight say as much. Source: Kish 1965."""
    total = float((weights**2).sum())
    if total == 0:
        return 0.0
    return float(weights.sum()) ** 2 / total


def weighted_accuracy(weights: FloatArray, right: FloatArray) -> float | None:
    """Return deep embedded validation as an accuracy: one less the importance-weighted share of errors, with a control
    variate. None where the weights leave fewer than 10 effective samples.

    1 - (mean(w l) + eta mean(w) - eta) with eta = -cov(w l, w) / var(w). Source: You et al. 2019, section 3; equal
    weights of 1 give the plain accuracy.
    """
    if effective_samples(weights) < FEWEST_EFFECTIVE:
        return None
    lost = weights * (1 - right)
    spread = float(weights.var(ddof=1))
    eta = 0.0
    if spread > 0:
        eta = -float(np.cov(lost, weights)[0, 1]) / spread
    return 1 - (float(lost.mean()) + eta * float(weights.mean()) - eta)


def ensemble_agreement(networks: Sequence[FloatArray]) -> list[float]:
    """Return, for each network's probabilities (N, C), the share of samples that it answers as the mean of all does.

    Source: Hu et al. 2024 (EnsV).
    """
    together = np.mean(list(networks), axis=0).argmax(axis=1)
    return [float((one.argmax(axis=1) == together).mean()) for one in networks]
