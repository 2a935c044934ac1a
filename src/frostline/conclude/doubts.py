"""Doubts about the data: labels that look wrong, copies, outliers, classes too small to judge. Never acted on.

Only development samples are examined: the sealed part is opened once, for the verdict's test. Only its size is used.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np

from frostline.base.records import Dataset, FloatArray, IntArray, Outcome
from frostline.conclude.out_of_fold import OutOfFold, out_of_fold
from frostline.data.duplicates import find_duplicates
from frostline.data.texts import Texts, find_equal_texts
from frostline.stats.intervals import wilson
from frostline.train.study import Study

KINDS = ("label", "conflicting-copy", "copy", "close-to-other-class", "outlier", "small-class")
LEAST_ROWS = 20  # with fewer, no distance stands out
MOST_ROWS = 10_000  # all pairs are compared: about 1e11 operations
NEIGHBOURS = 10
FENCE = 1.5  # interquartile ranges above the upper quartile: Tukey's inner fence
CLOSE = 0.5  # of the median distance to the nearest neighbour
LEAST_TO_LEARN = 10  # samples per class
HALF_WIDTH = 0.15  # widest useful Wilson interval of a class's sealed accuracy, halved
INSTALL = "pip install 'frostline[quality]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One doubt: `id` is a sample's, or a class's name for 'small-class'; `detail` says it in one sentence.

    `score`: of 'label' the probability of the suggested class; of 'outlier' the mean distance to the neighbours in
    units of the median one; of 'close-to-other-class' the distance in units of the median distance to the nearest.
    """

    kind: str
    id: str
    label: str
    suggestion: str | None = None
    score: float | None = None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """All doubts by kind, the gravest first; `method` says how each kind was looked for, or why it wasn't."""

    method: str
    found: tuple[Doubt, ...]


def find_doubts(study: Study, outcomes: Sequence[Outcome], strategy: str) -> Doubts:
    """List what may be wrong with the data, by the out-of-fold probabilities of `strategy` and the deepest features.

    It changes nothing and fails nothing: `method` says what could not be checked.
    """
    dataset = study.dataset
    labels, how_labels = _label_doubts(dataset, out_of_fold(outcomes, strategy, dataset.labels))
    copies = copy_sets(study)
    distant, how_near = _feature_doubts(study, copies)
    every = [*labels, *_copy_doubts(dataset, copies), *distant, *small_classes(dataset)]
    every.sort(key=lambda doubt: KINDS.index(doubt.kind))
    how_copies = "Copies: equal bytes or pixels, or a close difference hash that the pixels confirm."
    how_small = (
        f"Small classes: fewer than {LEAST_TO_LEARN} samples to learn from, or fewer than {sealed_needed()} "
        f"sealed ones, which keep a 95 % Wilson interval within {100 * HALF_WIDTH:.0f} points."
    )
    return Doubts(method=" ".join((how_labels, how_copies, how_near, how_small)), found=tuple(every))


def wrong_labels(labels: IntArray, probabilities: FloatArray) -> IntArray:
    """Return the rows whose label is probably wrong, the least credible first.

    Args:
        labels: class of each row (M,).
        probabilities: out of fold, (M, C).

    Source: confident learning, Northcutt, Jiang & Chuang 2021 (JAIR 70), as cleanlab does it by default. Raises
    ImportError where the extra `quality` isn't installed.
    """
    if len(np.unique(labels)) < 2:
        return np.zeros(0, dtype=np.int64)
    present = np.unique(labels)  # with few blocks a class may have no row; no label then refers to its column
    places = np.searchsorted(present, labels)
    columns = probabilities[:, present]
    columns = columns / np.maximum(columns.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    with warnings.catch_warnings():  # about classes with few rows, which 'small-class' covers
        warnings.simplefilter("ignore")
        from cleanlab.filter import find_label_issues

        rows = find_label_issues(places, columns, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(rows, dtype=np.int64)


def _label_doubts(dataset: Dataset, predicted: OutOfFold | None) -> tuple[list[Doubt], str]:
    if importlib.util.find_spec("cleanlab") is None:
        return [], f"Labels weren't judged, since cleanlab isn't installed: {INSTALL}."
    if predicted is None:
        return [], "Labels weren't judged: a strategy that ran alone predicts nothing out of fold (give --blocks N)."
    doubts = []
    for place in wrong_labels(predicted.labels, predicted.probabilities):
        sample = dataset.samples[predicted.rows[place]]
        best = int(predicted.probabilities[place].argmax())
        label = dataset.classes[sample.label]
        other = dataset.classes[best]
        share = float(predicted.probabilities[place, best])
        detail = f"{sample.id} is labelled {label}, but looks like {other} ({share:.2f})."
        doubts.append(Doubt(kind="label", id=sample.id, label=label, suggestion=other, score=share, detail=detail))
    how = f"Labels: confident learning (cleanlab) on the out-of-fold probabilities of {predicted.strategy}."
    return doubts, how


def copy_sets(study: Study) -> list[tuple[int, ...]]:
    """Return sets of two or more dataset rows of the development part that hold the same image or text.

    Copies share a group. Where the user gave groups, which join more than copies, the content is compared again.
    """
    samples = study.dataset.samples
    rows = study.development
    if any(samples[i].group.startswith("group:") for i in rows):
        content = study.features.source.images
        if isinstance(content, Texts):
            equal = find_equal_texts(content.words).all
        else:
            hashes = [samples[i].sha256 for i in rows]
            equal = find_duplicates(content, hashes, threads=study.compute.threads).all
        return [tuple(int(rows[k]) for k in group) for group in equal]
    groups: dict[str, list[int]] = {}
    for i in rows:
        groups.setdefault(samples[i].group, []).append(int(i))
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _copy_doubts(dataset: Dataset, copies: Sequence[tuple[int, ...]]) -> Iterator[Doubt]:
    """Yield one doubt for every copy but the first of its set."""
    for group in copies:
        first = dataset.samples[group[0]]
        for row in group[1:]:
            sample = dataset.samples[row]
            label = dataset.classes[sample.label]
            other = dataset.classes[first.label]
            if label == other:
                detail = f"{sample.id} is a copy of {first.id}."
                yield Doubt(kind="copy", id=sample.id, label=label, detail=detail)
            else:
                detail = f"{sample.id} is labelled {label}, but is a copy of {first.id}, labelled {other}."
                yield Doubt(kind="conflicting-copy", id=sample.id, label=label, suggestion=other, detail=detail)


def _feature_doubts(study: Study, copies: Sequence[tuple[int, ...]]) -> tuple[list[Doubt], str]:
    """Return outliers and close neighbours of another class, and how they were looked for."""
    stages = study.features.pooled_stages
    samples = len(study.development)
    not_done = "Outliers and close neighbours weren't looked for:"
    if not stages:
        return [], f"{not_done} no strategy that ran reads stored features."
    if not LEAST_ROWS <= samples <= MOST_ROWS:
        return [], f"{not_done} that takes {LEAST_ROWS:,} to {MOST_ROWS:,} samples, and there are {samples:,}."
    stage = max(stages)
    name = study.stages[stage].name
    distances, nearest = neighbours(study.features.pooled(stage, 0).double().numpy())
    rows = np.asarray(study.development)
    copy_set = {row: k for k, group in enumerate(copies) for row in group}
    close = close_to_other_class(study.dataset, rows, distances, nearest, copy_set)
    doubts = [*close, *outliers(study.dataset, rows, distances)]
    how = (
        f"Outliers: mean cosine distance to {distances.shape[1]} neighbours, on the features after {name}, beyond "
        f"Tukey's inner fence. Close neighbours of another class: each the other's nearest, at most {CLOSE:g} of "
        f"the median such distance apart."
    )
    return doubts, how


def neighbours(features: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return cosine distances (N, K) to the K nearest other rows, and these rows (N, K); K is 10, or N - 1 if smaller.

    Features (N, D) are not centred: among 104 images of insects, three of them drawings, the drawings rank 4 to 6 by
    mean distance; with centred features they rank 76 to 83.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(features) - 1), metric="cosine", algorithm="brute")
    distances, rows = search.fit(features).kneighbors()
    return np.asarray(distances, dtype=np.float64), np.asarray(rows, dtype=np.int64)


def outliers(dataset: Dataset, rows: IntArray, distances: FloatArray) -> list[Doubt]:
    """Return the rows whose mean distance to their neighbours (N, K) is beyond the inner fence, the farthest first.

    Sources: distance to neighbours as a score, Ramaswamy, Rastogi & Shim 2000 (SIGMOD); the fence, Tukey 1977
    (Exploratory Data Analysis): the upper quartile and one and a half times the distance between the quartiles.
    """
    mean = distances.mean(axis=1)
    low, middle, high = np.quantile(mean, (0.25, 0.5, 0.75))
    far = [int(i) for i in np.argsort(-mean, kind="stable") if mean[i] > high + FENCE * (high - low)]
    doubts = []
    for i in far:
        sample = dataset.samples[rows[i]]
        label = dataset.classes[sample.label]
        ratio = float(mean[i] / max(middle, 1e-12))
        detail = f"{sample.id} is unlike all others: {ratio:.1f} times the usual distance to its neighbours."
        doubts.append(Doubt(kind="outlier", id=sample.id, label=label, score=ratio, detail=detail))
    return doubts


def close_to_other_class(
    dataset: Dataset, rows: IntArray, distances: FloatArray, nearest: IntArray, copies: dict[int, int]
) -> list[Doubt]:
    """Return pairs of different classes that are each other's nearest and very close, the closest first.

    `copies` says which set of copies a dataset row belongs to: those have a kind of doubt of their own.
    """
    first = nearest[:, 0]
    near = distances[:, 0]
    limit = CLOSE * float(np.median(near))
    doubts = []
    for a in np.argsort(near, kind="stable"):
        b = int(first[a])
        one = dataset.samples[rows[a]]
        two = dataset.samples[rows[b]]
        known = copies.get(int(rows[a]), -1) == copies.get(int(rows[b]), -2)
        if near[a] > limit or a > b or first[b] != a or one.label == two.label or known:
            continue
        label = dataset.classes[one.label]
        other = dataset.classes[two.label]
        distance = float(near[a] / max(limit / CLOSE, 1e-12))
        detail = f"{one.id} ({label}) and {two.id} ({other}) look nearly alike to the network."
        doubts.append(
            Doubt(
                kind="close-to-other-class",
                id=one.id,
                label=label,
                suggestion=other,
                score=distance,
                detail=detail,
            )
        )
    return doubts


def small_classes(dataset: Dataset) -> list[Doubt]:
    """Return the classes with too few samples to be learnt, or to be judged on the sealed part."""
    learn = np.bincount(dataset.labels[dataset.development], minlength=len(dataset.classes))
    judge = np.bincount(dataset.labels[dataset.sealed], minlength=len(dataset.classes))
    doubts = []
    for name, to_learn, to_judge in zip(dataset.classes, learn.tolist(), judge.tolist(), strict=True):
        lacks = _lacks(to_learn, to_judge)
        if lacks:
            detail = f"{name}: {'; '.join(lacks)}."
            doubts.append(Doubt(kind="small-class", id=name, label=name, detail=detail))
    return doubts


def _lacks(to_learn: int, to_judge: int) -> list[str]:
    lacks = []
    if to_learn < LEAST_TO_LEARN:
        lacks.append(f"{to_learn} samples to learn from, and at least {LEAST_TO_LEARN} are needed")
    if to_judge == 0:
        lacks.append("no sealed sample, so its accuracy isn't tested")
    elif to_judge < sealed_needed():
        lacks.append(
            f"{to_judge} sealed samples give its accuracy only to within {100 * half_width(to_judge):.0f} points "
            f"({sealed_needed()} would give it to within {100 * HALF_WIDTH:.0f})"
        )
    return lacks


def half_width(n: int) -> float:
    """Return half the 95 % Wilson interval of a share estimated from n samples, where it is widest (at one half)."""
    low, high = wilson(n / 2, n)
    return (high - low) / 2


@cache
def sealed_needed() -> int:
    """Return the number of samples that give any share to within HALF_WIDTH."""
    return next(n for n in count(1) if half_width(n) <= HALF_WIDTH)
