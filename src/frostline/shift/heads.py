"""Probabilities of data that no trained head is there for: a linear head on frozen features, cross-fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.data.split import assign_folds, number_of_folds
from frostline.stats.calibration import fit_temperature, tempered, why_not
from frostline.stats.metrics import log_loss
from frostline.train.solve import L2_PATH, ROUGH, FloatMatrix, LinearHead, best_penalty, heads_along, softmax

FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadOutputs:
    """Calibrated probabilities of linear heads: of the source (N, C) out of fold, of the target (M, C) by the same
    heads."""

    source: FloatArray
    target: FloatArray
    temperature: float
    sentence: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Samples to learn from: features (N, D), labels (N,) with -1 for none, and the group of each sample; those of one
    group lie in one fold."""

    features: FloatArray
    labels: IntArray
    groups: Sequence[str]


def cross_fitted_head(
    source: Labelled, target: FloatArray, twins: IntArray, *, classes: int, seed: int
) -> HeadOutputs | None:
    """Solve a linear head for each fold of the source, and let it answer its fold and as large a part of the target.

    So every sample of either side is answered by a head that didn't learn from it, and on both sides the same heads
    answer. With one head on all source samples for the target, the sides would differ by that alone: on random halves
    of 400 images the two-sample tests then call one in eight a shift.

    Args:
        source: samples without a label are answered as the target's are.
        target: features (M, D).
        twins: (M,) place of the source sample that a target sample is a copy of, -1 for none; a copy is answered by the
            head of its twin's fold.

    The penalty and the temperature have the least log loss out of fold. None where there are fewer than two classes or
    groups.
    """
    labels = source.labels
    known = np.flatnonzero(labels >= 0)
    names = [source.groups[i] for i in known.tolist()]
    if len(np.unique(labels[known])) < 2 or len(set(names)) < 2:
        return None
    x = np.ascontiguousarray(source.features[known], dtype=np.float32)
    y = labels[known]
    generator = numpy_generator(seed, "shift-folds")
    count = number_of_folds(y, names, most=FOLDS)
    folds = assign_folds(y, names, count, generator=generator)
    heads: list[list[LinearHead]] = []
    best = best_penalty(_losses_by_penalty(x, y, folds, classes, heads))
    own = _answers_of_heads(heads[best], x, folds)
    temperature = 1.0
    if why_not(y) is None:
        temperature = fit_temperature(own, y)
    answered = np.zeros((len(labels), classes))
    answered[known] = own
    unknown = np.flatnonzero(labels < 0)
    every = _dealt(len(labels), count, generator)
    every[known] = folds
    answered[unknown] = _answers_of_heads(heads[best], source.features[unknown], every[unknown])
    dealt = _dealt(len(target), count, generator)
    dealt = np.where(twins >= 0, every[twins], dealt)
    return HeadOutputs(
        source=tempered(answered, temperature),
        target=tempered(_answers_of_heads(heads[best], target, dealt), temperature),
        temperature=temperature,
        sentence=f"Probabilities are those of linear heads on the features, fitted to {len(known):,} labelled source "
        f"samples in {count} folds, at temperature {temperature:.2f}; none answers a sample that it was fitted to.",
    )


def _dealt(samples: int, folds: int, generator: np.random.Generator) -> IntArray:
    """Deal samples out to folds at random, evenly."""
    return np.asarray(generator.permutation(samples) % folds, dtype=np.int64)


def _answers_of_heads(heads: Sequence[LinearHead], features: FloatArray | FloatMatrix, folds: IntArray) -> FloatArray:
    """Return the probabilities (N, C) of each sample by the head of its fold."""
    values = np.asarray(features, dtype=np.float32)
    found = np.zeros((len(values), len(heads[0].bias)))
    for fold, head in enumerate(heads):
        members = folds == fold
        if members.any():
            found[members] = softmax(head.logits(values[members]))
    return found


def _losses_by_penalty(
    x: FloatMatrix, y: IntArray, folds: IntArray, classes: int, heads: list[list[LinearHead]]
) -> Iterator[float]:
    """Yield the log loss out of fold for each penalty; the heads of its folds are put into `heads`."""
    used = range(int(folds.max()) + 1)
    paths = [heads_along(x[folds != fold], y[folds != fold], classes, tolerance=ROUGH) for fold in used]
    for _ in L2_PATH:
        heads.append([next(path) for path in paths])
        yield log_loss(_answers_of_heads(heads[-1], x, folds), y)
