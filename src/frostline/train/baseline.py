"""The baseline: no network at all, 32 x 32 grey pixels with an RBF-SVM. It answers "do I need a network?"."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frostline.base.records import FloatArray, IntArray
from frostline.recipe.recipe import BASELINE_ROWS
from frostline.train.solve import softmax

SIDE = 32
PENALTY = 10.0  # SVC's C; gamma is scikit-learn's 'scale'
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's mode L


def thinned(labels: IntArray) -> IntArray:
    """Places of at most BASELINE_ROWS rows, ascending, each class in its proportion."""
    order = np.argsort(labels, kind="stable")
    if len(order) <= BASELINE_ROWS:
        return np.arange(len(order))
    return np.sort(order[np.linspace(0, len(order) - 1, BASELINE_ROWS).astype(np.int64)])


def grey_pixels(pictures: Tensor) -> FloatArray:
    """(N, 1024) in 0..1 from uint8 (N,C,H,W): grey, averaged down to 32 x 32."""
    parts = []
    for chunk in torch.split(pictures, 256):
        values = chunk.float() / 255
        weights = _LUMA if values.shape[1] == 3 else torch.full((values.shape[1],), 1 / values.shape[1])
        grey = (values * weights.view(1, -1, 1, 1)).sum(1, keepdim=True)
        small = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        parts.append(small.flatten(1).double().numpy())
    return np.concatenate(parts)


def fit_predict(train: FloatArray, labels: IntArray, rows: FloatArray, classes: int, *,
                weigh: bool = False) -> FloatArray:  # fmt: skip
    """Probabilities (N, classes) of `rows`: a softmax of the decision values at the temperature that cross-validated
    ones ask for (which class comes first isn't changed by it); at 1 where some class has a single sample."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    kept = thinned(labels)
    train, labels = train[kept], labels[kept]
    present, counts = np.unique(labels, return_counts=True)
    result = np.zeros((len(rows), classes))
    if len(present) == 1:
        result[:, present[0]] = 1.0
        return result
    machine = SVC(C=PENALTY, gamma="scale", decision_function_shape="ovr",
                  class_weight="balanced" if weigh else None)  # fmt: skip
    folds = int(min(3, counts.min()))
    if folds >= 2:
        fitted = CalibratedClassifierCV(machine, method="temperature", ensemble=False, cv=StratifiedKFold(folds)).fit(
            train, labels
        )
        result[:, present] = fitted.predict_proba(rows)
        return result
    scores = machine.fit(train, labels).decision_function(rows)
    scores = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
    result[:, present] = softmax(scores)
    return result
