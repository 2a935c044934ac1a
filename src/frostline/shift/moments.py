"""The diagnosis where a run's own samples aren't at hand: what it keeps of their features and outputs stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.shift.classes import counted_proportions, estimated_proportions, shares_test
from frostline.shift.diagnose import FEWEST
from frostline.shift.findings import Diagnosis, Level, Proportions, Situation, Test
from frostline.shift.remedies import remedies_for
from frostline.shift.sentences import SITUATIONS, blind_spots
from frostline.shift.sides import Moments, Side
from frostline.shift.situations import LEVEL
from frostline.stats.paired import holm

DRAWS = 999
LEAST = 1e-12
LEVELS: dict[Situation, Level] = {"covariate": "feature", "label": "output"}
BLIND = (
    "The run's own samples aren't at hand: means of features are compared with those that it keeps, which shows no "
    "other difference of the features."
)


def mean_test(
    moments: Moments, features: FloatArray, groups: IntArray, *, rng: np.random.Generator
) -> tuple[float, float]:
    """Test "the target's features have the source's mean"; return the statistic and its p-value.

    The statistic is the mean over D of squared differences of the means, each in units of its own variance
    s_d^2 (1/n + 1/m), with m groups of target samples (a group counts once, by its mean) and s_d^2 pooled over both
    sides: the source's alone is too small for skewed features. Under the hypothesis the differences are normal with the
    pooled correlations (central limit theorem); draws from that give the p-value.
    """
    values = _group_means(features, groups)
    count = len(values)
    if count < 2:
        return 0.0, 1.0
    own = (moments.n - 1) * moments.covariance + (count - 1) * np.atleast_2d(np.cov(values, rowvar=False))
    covariance = own / (moments.n + count - 2) * (1 / moments.n + 1 / count)
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    kept = scale > 1e-6 * max(float(scale.max(initial=0.0)), LEAST)
    if not kept.any():
        return 0.0, 1.0
    difference = (values.mean(axis=0) - moments.mean)[kept] / scale[kept]
    statistic = float(np.mean(difference**2))
    correlation = covariance[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    lengths = np.clip(np.linalg.eigvalsh(correlation), 0.0, None)
    drawn = (rng.standard_normal((DRAWS, len(lengths))) ** 2 @ lengths) / len(lengths)
    return statistic, float((1 + np.sum(drawn >= statistic)) / (DRAWS + 1))


def _group_means(features: FloatArray, groups: IntArray) -> FloatArray:
    _, group = np.unique(groups, return_inverse=True)
    total = np.zeros((int(group.max()) + 1, features.shape[1]))
    np.add.at(total, group, features)
    return np.asarray(total / np.bincount(group)[:, None])


def diagnose_by_moments(
    moments: Mapping[int, Moments],
    target: Side,
    *,
    outputs: tuple[FloatArray, IntArray] | None,
    classes: Sequence[str],
    seed: int,
    permutations: int = 199,
) -> Diagnosis:
    """Say how the target differs from what is kept of the source.

    Args:
        moments: of the source's features by stage; empty where none are kept of this very network.
        target: with features at those stages, and the network's probabilities.
        outputs: out-of-fold probabilities (M, C) and labels (M,) of the source.
        classes: the source's classes, then those that only the target names.

    Means of features are compared by :func:`mean_test`, predictions by the shares of the predicted classes. Means that
    differ while these agree are called covariate, shares that differ while the means agree label; where both differ, or
    there are no means, it can't be told. Probabilities themselves aren't compared: those of the folds' networks and of
    the final one differ by that alone.
    """
    source = None
    if outputs is not None:
        probabilities, labels = outputs
        source = Side(features={}, groups=np.arange(len(labels)), probabilities=probabilities, labels=labels)
    means = _mean_tests(moments, target, seed)
    shares = _shares_test(source, target, seed, permutations)
    known = len(classes) if target.probabilities is None else target.probabilities.shape[1]
    present = set() if target.labels is None else set(target.labels.tolist())
    new = tuple(sorted(label for label in present if label >= known))
    situation = _situation(means, shares, new_classes=bool(new))
    level = LEVELS.get(situation)
    return Diagnosis(
        situation=situation,
        tests=(*means, *shares),
        proportions=_moment_proportions(source, target, known, seed),
        new_classes=new,
        missing_classes=tuple(label for label in range(known) if present and label not in present),
        level=level,
        sentences=_moment_sentences(situation, means, shares, [classes[label] for label in new]),
        cannot_see=(BLIND, *blind_spots(labelled=False, predicted=source is not None)),
        remedies=remedies_for(situation, level),
    )


def _mean_tests(moments: Mapping[int, Moments], target: Side, seed: int) -> tuple[Test, ...]:
    stages = [stage for stage in sorted(moments) if stage in target.features]
    if not stages or len(target) < FEWEST:
        return ()
    results = [
        mean_test(moments[stage], target.features[stage], target.groups, rng=numpy_generator(seed, "moments", stage))
        for stage in stages
    ]
    corrected = holm([p for _, p in results])
    return tuple(
        Test(name="moments", stage=stage, statistic=statistic, p=float(p), shown=bool(p <= LEVEL))
        for stage, (statistic, _), p in zip(stages, results, corrected, strict=True)
    )


def _shares_test(source: Side | None, target: Side, seed: int, permutations: int) -> tuple[Test, ...]:
    if source is None or source.probabilities is None or target.probabilities is None:
        return ()
    if min(len(source), len(target)) < FEWEST:
        return ()
    statistic, p = shares_test(
        source.probabilities.argmax(axis=1),
        target.probabilities.argmax(axis=1),
        rng=numpy_generator(seed, "shift", "predicted"),
        permutations=permutations,
    )
    return (Test(name="predicted-classes", statistic=statistic, p=p, shown=p <= LEVEL),)


def _situation(means: Sequence[Test], shares: Sequence[Test], *, new_classes: bool) -> Situation:
    moved = any(test.shown for test in means)
    shifted = any(test.shown for test in shares)
    if not means and not shares:
        return "new-classes" if new_classes else "cannot-tell"
    if new_classes:
        return "new-classes"
    if not moved and not shifted:
        return "none-shown"
    if moved and not shifted and shares:
        return "covariate"
    if shifted and not moved and means:
        return "label"
    return "cannot-tell"


def _moment_proportions(source: Side | None, target: Side, known: int, seed: int) -> tuple[Proportions, ...]:
    if source is None or not len(target):
        return ()
    counted = counted_proportions(source, target, known)
    estimated = estimated_proportions(source, target, rng=numpy_generator(seed, "shift-proportions"))
    if counted is None:
        return estimated
    return (counted, *estimated)


def _moment_sentences(
    situation: Situation, means: Sequence[Test], shares: Sequence[Test], new: Sequence[str]
) -> tuple[str, ...]:
    found = [SITUATIONS[situation]]
    if situation == "cannot-tell":
        found = ["The two sides differ, but without the run's own samples it can't be told how."]
        if not any(test.shown for test in (*means, *shares)):
            found = ["There is too little of the source or of the target to tell any difference from chance."]
    if means:
        differing = sum(test.shown for test in means)
        least = min(test.p for test in means)
        found.append(
            f"Means of the features differ from those of the run's source at {differing} of {len(means)} "
            f"{'depth' if len(means) == 1 else 'depths'} (smallest p = {least:.3g})."
        )
    for test in shares:
        found.append(f"Shares of the predicted classes: p = {test.p:.3g} ({'shown' if test.shown else 'not shown'}).")
    if new:
        found.append(f"Only in the target: {', '.join(new)}.")
    return tuple(found)
