"""The baseline: no network at all. Images: 32 x 32 grey pixels with an RBF-SVM; texts: TF-IDF of words and pairs of
words with logistic regression. It answers "do I need a network?".
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

SIDE = 32
PENALTY = 10.0  # SVC's C; gamma is scikit-learn's 'scale'
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's mode L

Plain = FloatArray | Sequence[str]  # what the baseline reads: grey pixels (N, 1024), or texts


def read_plain(features: Features, positions: Tensor) -> Plain:
    """What it reads of development rows at these places."""
    contents = features.source.images
    if isinstance(contents, Texts):
        return contents.select(positions.numpy()).words
    return grey_pixels(features.images(positions, 0))


def plain(samples: Samples, contract: Contract, threads: int) -> Plain:
    """The same of other samples."""
    return samples.words if isinstance(samples, Texts) else grey_pixels(evaluation_views(samples, contract, threads))


def thinned(labels: IntArray) -> IntArray:
    """Places of at most BASELINE_ROWS rows, ascending, each class in its proportion."""
    order = np.argsort(labels, kind="stable")
    if len(order) <= BASELINE_ROWS:
        return np.arange(len(order))
    return np.sort(order[np.linspace(0, len(order) - 1, BASELINE_ROWS).astype(np.int64)])


def grey_pixels(images: Tensor) -> FloatArray:
    """(N, 1024) in 0..1 from uint8 (N,C,H,W): grey, averaged down to 32 x 32."""
    parts = []
    for chunk in torch.split(images, 256):
        values = chunk.float() / 255
        weights = _LUMA if values.shape[1] == 3 else torch.full((values.shape[1],), 1 / values.shape[1])
        grey = (values * weights.view(1, -1, 1, 1)).sum(1, keepdim=True)
        small = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        parts.append(small.flatten(1).double().numpy())
    return np.concatenate(parts)


def fit_predict(train: Plain, labels: IntArray, rows: Plain, classes: int, *, weigh: bool = False) -> FloatArray:
    """Probabilities (N, classes) of `rows`.

    Of images a softmax of the decision values at the temperature that cross-validated ones ask for (which class
    comes first isn't changed by it); at 1 where some class has a single sample.
    """
    kept = thinned(labels)
    labels = labels[kept]
    present, counts = np.unique(labels, return_counts=True)
    result = np.zeros((len(rows), classes))
    if len(present) == 1:
        result[:, present[0]] = 1.0
    elif isinstance(train, np.ndarray):
        result[:, present] = _fit_pixels(train[kept], labels, rows, int(counts.min()), weigh=weigh)
    else:
        result[:, present] = _fit_words([train[i] for i in kept.tolist()], labels, rows, weigh=weigh)
    return result


def _fit_words(train: Sequence[str], labels: IntArray, rows: Any, *, weigh: bool) -> FloatArray:
    """TF-IDF of words and pairs of words, counts on a log scale; L2 penalty as scikit-learn's own, weaker by 10."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        known = words.fit_transform(train)
    except ValueError:  # no text holds a word: punctuation is all there is
        words.set_params(analyzer="char")
        known = words.fit_transform(train)
    machine = LogisticRegression(C=PENALTY, max_iter=1000, class_weight="balanced" if weigh else None)
    found: FloatArray = machine.fit(known, labels).predict_proba(words.transform(rows))
    return found


def _fit_pixels(train: FloatArray, labels: IntArray, rows: Any, smallest: int, *, weigh: bool) -> FloatArray:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    machine = SVC(C=PENALTY, gamma="scale", decision_function_shape="ovr", class_weight="balanced" if weigh else None)
    folds = min(3, smallest)
    if folds >= 2:
        fitted = CalibratedClassifierCV(machine, method="temperature", ensemble=False, cv=StratifiedKFold(folds)).fit(
            train, labels
        )
        found: FloatArray = fitted.predict_proba(rows)
        return found
    scores = machine.fit(train, labels).decision_function(rows)
    return softmax(np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores)
