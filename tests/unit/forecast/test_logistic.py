"""Many logistic regressions at once give what scikit-learn gives one by one."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from frostline.forecast.logistic import Problems, fit_predict


def problem(rows: int = 60, columns: int = 12, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates as an eigenbasis gives them: orthogonal columns of falling size; labels that follow some of them."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(rows, columns)) * 0.7 ** np.arange(columns)
    raw -= raw.mean(0)
    left, sizes, _ = np.linalg.svd(raw, full_matrices=False)
    coordinates = left * sizes
    coordinates /= np.sqrt((coordinates**2).sum(1).mean())
    labels = (coordinates[:, :classes] + 0.2 * rng.normal(size=(rows, classes))).argmax(1)
    return torch.from_numpy(coordinates).float(), torch.from_numpy(labels)


def test_probabilities_are_those_of_scikit_learn() -> None:
    x, y = problem()
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand((4, len(x)), generator=generator) < 0.7).float()
    strengths = (1.0, 10.0, 100.0, 300.0)
    penalties = torch.tensor([1 / (c * float(m.sum())) for c, m in zip(strengths, masks, strict=True)])
    found = fit_predict(x, y, 3, Problems(masks, penalties)).exp().numpy()
    for mask, strength, probabilities in zip(masks, strengths, found, strict=True):
        chosen = mask.numpy() > 0
        model = LogisticRegression(C=strength, max_iter=5000, tol=1e-10).fit(x.numpy()[chosen], y.numpy()[chosen])
        np.testing.assert_allclose(probabilities, model.predict_proba(x.numpy()), atol=0.01)


def test_weights_of_rows_count_as_repeated_rows() -> None:
    x, y = problem()
    weights = torch.ones(len(x))
    weights[::2] = 2.0
    found = fit_predict(x, y, 3, Problems(weights[None], torch.tensor([0.01])))[0].exp().numpy()
    twice = np.repeat(np.arange(len(x)), weights.int().numpy())
    model = LogisticRegression(C=1 / (0.01 * len(twice)), max_iter=5000, tol=1e-10).fit(x[twice], y[twice])
    np.testing.assert_allclose(found, model.predict_proba(x.numpy()), atol=0.01)
