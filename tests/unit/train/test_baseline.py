"""The baseline: an SVM on small grey images, against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import SVC

from frostline.recipe.recipe import BASELINE_ROWS
from frostline.train.baseline import fit_predict, thinned


def test_its_decisions_are_those_of_the_svm() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.random((90, 40)) + 0.25 * y[:, None]
    rows = rng.random((50, 40)) + 0.25 * (np.arange(50) % 3)[:, None]
    p = fit_predict(x, y, rows, 3)
    assert p.sum(axis=1) == pytest.approx(np.ones(50))
    scores = SVC(C=10, gamma="scale", decision_function_shape="ovr").fit(x, y).decision_function(rows)
    assert (p.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_many_rows_are_thinned_in_proportion_and_few_are_not() -> None:
    labels = np.repeat([0, 1, 2], [6000, 3000, 1000])
    kept = thinned(labels)
    assert len(kept) == BASELINE_ROWS == len(set(kept.tolist()))
    assert np.bincount(labels[kept]).tolist() == pytest.approx([1200, 600, 200], abs=1)
    assert thinned(labels[::10]).tolist() == list(range(1000))
