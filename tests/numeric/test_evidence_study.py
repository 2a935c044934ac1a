"""The study of benchmarks/evidence.py: its learners are the textbook's, its truths are right, and it still runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cases.evidence.learners import Procedure, out_of_fold, train
from cases.evidence.simulation import simulate
from cases.evidence.study import measure_truth, run_study
from cases.evidence.tables import estimate, report
from cases.evidence.worlds import PLANTED, Rows, probes, synthetic

N, D, C = 90, 5, 3


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, and two training sets."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % C
    x = rng.normal(size=(N, D)) * np.array([1, 2, 0.5, 1, 1]) + 0.8 * rng.normal(size=(C, D))[y]
    return x, y, np.stack([np.arange(N) >= 20, np.arange(N) < 60])


def textbook(learner: str, x: np.ndarray, y: np.ndarray) -> Any:
    if learner == "ridge":
        return make_pipeline(StandardScaler(), Ridge(alpha=0.1 * len(y))).fit(x, np.eye(C)[y])
    if learner == "means":
        return make_pipeline(StandardScaler(), NearestCentroid()).fit(x, y)
    if learner == "lda":
        return LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(C, 1 / C)).fit(x, y)
    return KNeighborsClassifier(1).fit(x, y)


@pytest.mark.parametrize("learner", ["ridge", "means", "lda", "neighbour"])
def test_learners_are_those_of_scikit_learn_on_every_training_set(rows, learner):
    x, y, used = rows
    penalty = 1e-12 if learner == "lda" else 0.1
    p = Procedure(name="p", columns=(0, D), learner=learner, penalty=penalty)
    right = out_of_fold(p, x, y, used, classes=C, rng=np.random.default_rng(0))
    for found, mask in zip(right, used, strict=True):
        expected = textbook(learner, x[mask], y[mask]).predict(x[~mask])
        classes = expected.argmax(axis=1) if learner == "ridge" else expected
        assert found[~mask].tolist() == (classes == y[~mask]).tolist()


def test_reruns_differ_by_luck_alone_and_repeat_themselves(rows):
    x, y, used = rows
    p = Procedure(name="p", columns=(0, D), projected=3)
    first, again, other = (
        train(p, x[None], y[None], used, classes=C, rng=np.random.default_rng(s)).weights for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_the_planted_accuracies_are_nearly_reached_with_many_rows():
    planted, *equals = synthetic()
    truth = measure_truth(planted, 500, sets=20, seed=0)
    assert truth.block == pytest.approx(norm.cdf(PLANTED), abs=0.02)
    assert (truth.block <= norm.cdf(PLANTED) + 0.01).all()  # nothing beats the best rule
    assert len(set(measure_truth(equals[0], 50, sets=20, seed=0).block)) == 1


def test_every_row_is_predicted_once_a_repeat_by_models_that_have_not_seen_it():
    study = run_study(synthetic()[0], 50, np.random.default_rng(0))
    for repeat in range(3):
        keys = study.standings[0].keys
        held = keys[(keys[:, 0] >= 5 * repeat) & (keys[:, 0] < 5 * repeat + 5), 1]
        assert sorted(held) == list(range(50))


def test_rows_to_test_on_are_never_rows_drawn_to_learn_from():
    x = np.arange(120.0)[:, None]
    world = Rows("rows", 2, probes(), x, (np.arange(60), np.arange(60, 120)))
    drawn, y, fresh, truth = world.draw_pair(np.random.default_rng(0), 50, 40)
    assert not set(drawn[:, 0]) & set(fresh[:, 0])
    assert ((drawn[:, 0] >= 60) == y).all()
    assert np.bincount(truth).tolist() == [20, 20]


def test_a_small_study_runs_repeats_itself_and_makes_its_tables():
    worlds = synthetic()[:2]
    results = simulate(worlds, sizes=(50,), studies=2, sets=20, processes=1)
    again = simulate(worlds[:1], sizes=(50,), studies=2, sets=20, processes=1)
    assert again["planted|50"] == results["planted|50"]
    text = report(results)
    assert "4 studies: 2 populations" in text
    assert "nan" not in text
    cell = results["equal, own features|50"]
    assert np.mean(cell["1 repeat|12|pair covers"]) > 0.9
    assert max(cell["1 repeat|12|false worse"]) == 0


def test_a_rate_that_was_never_seen_has_an_error_all_the_same():
    assert estimate([0.0] * 50).se == pytest.approx(0.019, abs=0.001)
    assert estimate([0.0, 1.0]).se == pytest.approx(0.5)
