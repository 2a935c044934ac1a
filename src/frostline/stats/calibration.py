"""How far probabilities can be believed: one temperature for all, reliability, and when to withhold an answer.

`probabilities` is (N, C) in [0, 1], `labels` is (N,) with numbers 0 .. C - 1. Confidence is the largest probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from frostline.base.records import FloatArray, IntArray
from frostline.stats.intervals import Interval, normal_quantile, wilson
from frostline.stats.metrics import checked, confidence_bins, log_loss

COLDEST, HOTTEST = 0.05, 20.0  # temperatures looked at
# Of ln T about 0, before the data speak. Without it a temperature from few errors does harm (none wrong: T runs to 0).
# docs/probabilities.md has the simulation that it was chosen by.
SPREAD = 0.25
MIN_ROWS = 20
BOUND = 0.90  # two-sided level of the interval whose lower end a threshold has to reach: 95 % to one side
_SMALLEST = float(np.finfo(np.float64).tiny)
_GRID = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Samples whose confidence lies in (low, high]: their number, mean confidence and share right (None if empty)."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The confidence from which an answer is given (0 answers all, None: there is none), and why, in a sentence."""

    value: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a threshold does: of `n` samples `answered` are answered, `accuracy` of these right, with its interval."""

    n: int
    answered: int
    coverage: float
    accuracy: float | None
    ci: Interval | None


def why_not(labels: IntArray) -> str | None:
    """Why labels (N,) of held-out rows can't tell a temperature; None where they can."""
    if len(labels) < MIN_ROWS:
        return f"{len(labels)} held-out samples are too few to tell a temperature (at least {MIN_ROWS})"
    if len(np.unique(labels)) < 2:
        return "the held-out samples are all of one class"
    return None


def fit_temperature(
    probabilities: FloatArray, labels: IntArray, *, spread: float | None = SPREAD, repeats: float = 1.0
) -> float:
    """The temperature T in [0.05, 20] at which :func:`tempered` probabilities have the least log loss.

    To the mean loss is added (ln T)^2 / (2 spread^2 N): the mode under a normal prior on ln T, which fades as 1 / N,
    N samples predicted `repeats` times each; `spread` None leaves it out. The log loss (metrics.log_loss) is never
    more than at T = 1, which is given back where no temperature does better. With nothing wrong and no prior, T is
    the lower end. Raises ValueError like metrics.accuracy. Source: Guo et al. 2017, "On Calibration of Modern Neural
    Networks" (temperature scaling); the prior is ours.
    """
    probabilities, labels = checked(probabilities, labels)
    logs = _logs(probabilities)
    own = (np.arange(len(labels)), labels)
    if spread is None:
        pull = 0.0
    else:
        pull = repeats / (2 * spread**2 * len(labels))

    def cost(u: float) -> float:
        return float(pull * u * u - log_softmax(logs * math.exp(-u), axis=1)[own].mean())

    # in ln T the loss has one valley, but with the prior it need not: first a coarse look, then the nearest valley
    grid = np.linspace(math.log(COLDEST), math.log(HOTTEST), _GRID)
    at = int(np.argmin([cost(float(u)) for u in grid]))
    ends = (float(grid[max(at - 1, 0)]), float(grid[min(at + 1, _GRID - 1)]))
    found = math.exp(float(minimize_scalar(cost, bounds=ends, method="bounded", options={"xatol": 1e-7}).x))
    found = min(max(found, COLDEST), HOTTEST)
    if log_loss(tempered(probabilities, found), labels) <= log_loss(probabilities, labels):
        return found
    return 1.0


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """softmax(ln p / T), (N, C): above 1 less sure, below 1 surer; which class comes first stays.

    It is softmax(logits / T) of the network's logits, which ln p equals up to a constant for each sample. A
    probability of 0 counts as 2e-308. `tempered(tempered(p, T), 1 / T)` is p again. Raises ValueError unless T > 0.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature} is not above 0")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if temperature == 1:
        return probabilities
    return np.asarray(softmax(_logs(probabilities) / temperature, axis=1))


def reliability(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> tuple[Bin, ...]:
    """The reliability diagram, in the bins of metrics.ece, which is the mean over samples of |accuracy - confidence|.

    Raises ValueError like metrics.ece. Source: Guo et al. 2017.
    """
    probabilities, labels = checked(probabilities, labels)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = confidence_bins(confidence, bins)
    counts = np.bincount(which, minlength=bins)
    sure, hits = (np.bincount(which, weights=values, minlength=bins) for values in (confidence, right))
    return tuple(
        Bin(
            low=k / bins,
            high=(k + 1) / bins,
            n=int(n),
            confidence=float(sure[k] / n) if n else None,
            accuracy=float(hits[k] / n) if n else None,
        )
        for k, n in enumerate(counts)
    )


def abstain_threshold(probabilities: FloatArray, labels: IntArray, wanted: float, *, repeats: float = 1.0) -> Threshold:
    """The smallest confidence from which answers are right at least `wanted` often, shown by their Wilson bound.

    The lower end of the 90 % interval has to reach `wanted`, not the plain share: that one is picked where it happens
    to lie high, and then misses what was asked for on new samples about half the time (docs/probabilities.md).

    Args:
        wanted: share in (0, 1).
        repeats: predictions a sample, where repeated folds predicted each several times: they count as one.

    Raises ValueError like metrics.accuracy, or for `wanted` out of range. Source: the idea of a bound is Geifman &
    El-Yaniv 2017, "Selective Classification for Deep Neural Networks".
    """
    if not 0 < wanted < 1:
        raise ValueError(f"wanted {wanted} is not between 0 and 1")
    probabilities, labels = checked(probabilities, labels)
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    hits = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))  # equal confidences go together
    bounds = np.array([_interval(int(hits[k]), int(k) + 1, repeats, BOUND)[0] for k in ends])
    enough = np.flatnonzero(bounds >= wanted)
    samples = round(len(labels) / repeats)
    if not len(enough):
        return Threshold(value=None, reason=_unreached(wanted, samples, float(bounds.max())))
    last = int(ends[enough[-1]])
    if last == len(labels) - 1:
        return Threshold(value=0.0, reason=f"All {samples} held-out answers together reach {wanted:g}: none is unsure.")
    share = f"{hits[last] / (last + 1):.3f} of the {last + 1} surest of {len(labels)} held-out answers are right"
    return Threshold(
        value=float(confidence[last]),
        reason=f"{share}, at least {bounds[enough[-1]]:.3f} by their interval's lower end.",
    )


def coverage(probabilities: FloatArray, labels: IntArray, threshold: float, *, repeats: float = 1.0) -> Coverage:
    """What answering from this confidence on gives; the interval is Wilson's at 95 %. Raises ValueError as above."""
    probabilities, labels = checked(probabilities, labels)
    sure = probabilities.max(axis=1) >= threshold
    hits = int((probabilities.argmax(axis=1) == labels)[sure].sum())
    answered = int(sure.sum())
    return Coverage(
        n=len(labels),
        answered=answered,
        coverage=answered / len(labels),
        accuracy=hits / answered if answered else None,
        ci=_interval(hits, answered, repeats, 0.95) if answered else None,
    )


def _interval(hits: int, answered: int, repeats: float, level: float) -> Interval:
    n = max(1, round(answered / repeats))
    return wilson(hits / answered * n, n, level)


def _unreached(wanted: float, samples: int, best: float) -> str:
    z = normal_quantile(BOUND)
    needed = math.ceil(z * z * wanted / (1 - wanted))  # where all are right, Wilson's bound is n / (n + z^2)
    few = ""
    if needed > samples:
        few = f"; even {needed} without an error would be needed"
    return f"No threshold reaches {wanted:g}: of {samples} held-out samples the best lower bound is {best:.3f}{few}."


def _logs(probabilities: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.clip(probabilities, _SMALLEST, 1.0)))
