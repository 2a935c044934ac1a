"""What one sample adds to a metric, against scikit-learn and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.metrics import log_loss as sklearn_log_loss

from frostline.stats.contributions import Metric, contributions, metric_text

REFERENCE = {
    "accuracy": lambda y, p: accuracy_score(y, p.argmax(1)),
    "balanced-accuracy": lambda y, p: balanced_accuracy_score(y, p.argmax(1)),
    "f1-macro": lambda y, p: f1_score(y, p.argmax(1), average="macro"),
    "log-loss": lambda y, p: -sklearn_log_loss(y, p, labels=range(p.shape[1])),
}


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=40, p=[0.6, 0.2, 0.15, 0.05])
    p = rng.dirichlet(np.ones(4), size=40) + 0.7 * np.eye(4)[labels]
    return p / p.sum(1, keepdims=True), labels


@pytest.mark.parametrize("metric", list(REFERENCE))
@pytest.mark.parametrize("seed", range(5))
def test_their_mean_is_the_score(metric: Metric, seed: int) -> None:
    p, y = case(seed)
    assert contributions(metric, p, y).mean() == pytest.approx(REFERENCE[metric](y, p), abs=1e-12)


def test_the_influence_on_f1_is_its_derivative_by_the_samples_weight() -> None:
    p, y = case(7)
    predicted, n, step = p.argmax(1), len(y), 1e-6
    score = f1_score(y, predicted, average="macro")
    for i in (0, 5, 20):
        weights = np.ones(n)
        weights[i] += step * n
        moved = f1_score(y, predicted, average="macro", sample_weight=weights)
        assert contributions("f1-macro", p, y)[i] - score == pytest.approx((moved - score) / step, abs=1e-3)


def test_log_loss_is_shown_as_a_positive_number() -> None:
    assert (metric_text("log-loss", -0.25), metric_text("accuracy", 0.9)) == ("0.250", "0.900")
