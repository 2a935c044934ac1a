"""The baseline, which needs no network. Images: 32 x 32 grey pixels with an RBF-SVM; texts: TF-IDF of words and pairs
of words with logistic regression. It answers "do I need a network?".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frostline.base.records import FloatArray, IntArray
from frostline.data.contract import Contract, Samples, evaluation_views
from frostline.data.texts import Texts
from frostline.features.extract import Features
from frostline.recipe.recipe import BASELINE_ROWS
from frostline.train.solve import softmax

GREY_SIDE = 32
CHUNK = 32  # images made grey at a time: as floats they take a lot of memory, which the allocator would keep
PENALTY = 10.0  # SVC's C; gamma is scikit-learn's 'scale'
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's mode L

PlainContents = FloatArray | Sequence[str]  # inputs of the baseline: grey pixels (N, 1024), or texts


def read_plain(features: Features, positions: Tensor) -> PlainContents:
    """Return the baseline's inputs of the development samples at these positions."""
    contents = features.source.images
    if isinstance(contents, Texts):
        return contents.select(positions.numpy()).words
    return grey_pixels(features.images(positions, 0))


def plain_contents(samples: Samples, contract: Contract, threads: int) -> PlainContents:
    """Return the baseline's inputs of other samples."""
    if isinstance(samples, Texts):
        return samples.words
    return grey_pixels(evaluation_views(samples, contract, threads))


def thinned(labels: IntArray) -> IntArray:
    """Return the indices of at most BASELINE_ROWS samples, ascending, each class in its proportion."""
    order = np.argsort(labels, kind="stable")
    if len(order) <= BASELINE_ROWS:
        return np.arange(len(order))
    return np.sort(order[np.linspace(0, len(order) - 1, BASELINE_ROWS).astype(np.int64)])


def grey_pixels(images: Tensor) -> FloatArray:
    """Return (N, 1024) in 0..1 from uint8 (N,C,H,W): grey, averaged down to 32 x 32."""
    parts = []
    for chunk in torch.split(images, CHUNK):
        values = chunk.float() / 255
        channels = values.shape[1]
        weights = _LUMA
        if channels != 3:
            weights = torch.full((channels,), 1 / channels)
        grey = (values * weights.view(1, -1, 1, 1)).sum(1, keepdim=True)
        small = F.interpolate(grey, size=(GREY_SIDE, GREY_SIDE), mode="bilinear", antialias=True, align_corners=False)
        parts.append(small.flatten(1).double().numpy())
    return np.concatenate(parts)


def fit_predict(
    train: PlainContents, labels: IntArray, queries: PlainContents, classes: int, *, weigh: bool = False
) -> FloatArray:
    """Fit on `train` and return the probabilities (N, classes) of `queries`.

    For images: a softmax of the decision values, at the temperature that fits cross-validated ones best (it doesn't
    change which class comes first); at 1 where some class has a single sample.
    """
    kept = thinned(labels)
    labels = labels[kept]
    present = np.unique(labels)
    class_weight = "balanced" if weigh else None
    result = np.zeros((len(queries), classes))
    if len(present) == 1:
        result[:, present[0]] = 1.0
    elif isinstance(train, np.ndarray):
        result[:, present] = _pixel_probabilities(train[kept], labels, queries, class_weight)
    else:
        result[:, present] = _word_probabilities([train[i] for i in kept.tolist()], labels, queries, class_weight)
    return result


def _word_probabilities(train: Sequence[str], labels: IntArray, queries: Any, class_weight: str | None) -> FloatArray:
    """Fit TF-IDF of words and pairs of words, counts on a log scale, with an L2 penalty a tenth of scikit-learn's."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        known = words.fit_transform(train)
    except ValueError:  # no text holds a word, only punctuation
        words.set_params(analyzer="char")
        known = words.fit_transform(train)
    machine = LogisticRegression(C=PENALTY, max_iter=1000, class_weight=class_weight)
    probabilities: FloatArray = machine.fit(known, labels).predict_proba(words.transform(queries))
    return probabilities


def _pixel_probabilities(train: FloatArray, labels: IntArray, queries: Any, class_weight: str | None) -> FloatArray:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    machine = SVC(C=PENALTY, gamma="scale", decision_function_shape="ovr", class_weight=class_weight)
    _, counts = np.unique(labels, return_counts=True)
    folds = min(3, int(counts.min()))
    if folds >= 2:
        splits = StratifiedKFold(folds)
        calibrated = CalibratedClassifierCV(machine, method="temperature", ensemble=False, cv=splits)
        probabilities: FloatArray = calibrated.fit(train, labels).predict_proba(queries)
        return probabilities
    scores = machine.fit(train, labels).decision_function(queries)
    if scores.ndim == 1:  # of two classes scikit-learn gives one column
        scores = np.stack([-scores, scores], axis=1)
    return softmax(scores)
