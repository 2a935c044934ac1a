"""One temperature, reliability bins and a threshold: against scikit-learn, scipy, and cases done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from frostline.base.records import FloatArray, IntArray
from frostline.stats import calibration as c
from frostline.stats.intervals import wilson
from frostline.stats.metrics import ece, log_loss


def drawn(n: int, classes: int, heat: float, seed: int) -> tuple[FloatArray, IntArray]:
    """Logits (n, classes) that ask for the temperature `heat`, since they are the true log posterior times it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    values = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[labels]
    return 2 * values * heat, labels


class Given(ClassifierMixin, BaseEstimator):
    """Passes logits through, as a network's last layer that scikit-learn can calibrate."""

    def fit(self, _: Any, y: Any) -> Given:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: Any) -> Any:
        return X

    def predict(self, X: Any) -> Any:
        return X.argmax(axis=1)


@pytest.mark.parametrize(("classes", "heat"), [(3, 1.0), (3, 2.5), (5, 0.5), (12, 1.4)])
def test_a_temperature_equals_scikit_learns(classes: int, heat: float) -> None:
    logits, labels = drawn(300, classes, heat, seed=classes)
    reference = CalibratedClassifierCV(FrozenEstimator(Given().fit(logits, labels)), method="temperature")
    reference.fit(logits, labels)
    plain = c.fit_temperature(softmax(logits, axis=1), labels, spread=None)
    beta = float(reference.calibrated_classifiers_[0].calibrators[0].beta_)
    assert plain == pytest.approx(1 / beta, rel=1e-4)
    ours = c.tempered(softmax(logits, axis=1), plain)
    assert ours == pytest.approx(reference.predict_proba(logits), abs=1e-4)


@pytest.mark.parametrize(("n", "heat"), [(30, 0.6), (200, 1.7)])
def test_a_temperature_with_its_prior_equals_a_minimum_on_the_logits(n: int, heat: float) -> None:
    logits, labels = drawn(n, 4, heat, seed=n)

    def cost(u: FloatArray) -> float:
        own = log_softmax(logits / math.exp(u[0]), axis=1)[np.arange(n), labels]
        return float(-own.sum() + u[0] ** 2 / (2 * 0.25**2))

    reference = math.exp(minimize(cost, x0=[0.0], method="Nelder-Mead", options={"xatol": 1e-8}).x[0])
    assert c.fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(reference, rel=1e-4)


def test_the_planted_temperature_is_found_on_many_samples() -> None:
    logits, labels = drawn(20_000, 4, 1.8, seed=1)
    assert c.fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(1.8, rel=0.03)


def test_by_hand_one_in_four_wrong_at_equal_confidence() -> None:
    p = np.tile([0.9, 0.1], (400, 1))
    labels = np.tile([0, 0, 0, 1], 100)
    wanted = math.log(9) / math.log(3)  # logit of 0.9 over logit of 0.75
    assert c.fit_temperature(p, labels, spread=None) == pytest.approx(wanted, rel=1e-5)
    assert c.tempered(p, wanted)[0] == pytest.approx([0.75, 0.25])


def test_without_an_error_the_prior_keeps_the_temperature_near_one() -> None:
    logits, _ = drawn(60, 3, 1.0, seed=3)
    p = softmax(logits, axis=1)
    right = p.argmax(axis=1)
    assert c.fit_temperature(p, right, spread=None) == pytest.approx(c.COLDEST, rel=1e-3)
    assert 0.6 < c.fit_temperature(p, right) < 1


def test_what_is_worse_than_guessing_ends_at_the_hottest() -> None:
    p = np.tile([0.99, 0.01], (5000, 1))
    assert c.fit_temperature(p, np.tile([0, 1, 1, 1], 1250)) == pytest.approx(c.HOTTEST, rel=1e-3)


def test_labels_that_tell_nothing_are_named() -> None:
    assert c.why_not(np.zeros(50, dtype=np.int64)) == "the held-out samples are all of one class"
    assert "19 held-out samples are too few" in (c.why_not(np.arange(19)) or "")
    assert c.why_not(np.arange(20) % 2) is None


@st.composite
def predictions(draw: st.DrawFn) -> tuple[FloatArray, IntArray]:
    n, classes = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = softmax(rng.normal(size=(n, classes)) * draw(st.floats(0.01, 60)), axis=1)
    p = p.astype(np.float32).astype(np.float64) if draw(st.booleans()) else p  # a sure float32 has exact zeros
    return p / p.sum(axis=1, keepdims=True), rng.integers(classes, size=n)


@settings(max_examples=80, deadline=None)
@given(predictions(), st.sampled_from([None, 0.25]))
def test_a_fitted_temperature_is_in_range_and_never_worse(found: tuple[FloatArray, IntArray], spread: Any) -> None:
    p, labels = found
    temperature = c.fit_temperature(p, labels, spread=spread)
    assert c.COLDEST <= temperature <= c.HOTTEST
    assert log_loss(c.tempered(p, temperature), labels) <= log_loss(p, labels)


@settings(max_examples=80, deadline=None)
@given(predictions(), st.floats(c.COLDEST, c.HOTTEST))
def test_tempering_keeps_the_order_and_can_be_undone(found: tuple[FloatArray, IntArray], temperature: float) -> None:
    p, _ = found
    warm = c.tempered(p, temperature)
    assert warm.sum(axis=1) == pytest.approx(np.ones(len(p)))
    first, top = p.argmax(axis=1), np.sort(p, axis=1)
    clear = top[:, -1] > top[:, -2] * (1 + 1e-9)
    assert np.array_equal(warm.argmax(axis=1)[clear], first[clear])
    low = p.min() > 1e-12  # nothing was lost below the smallest number
    assert not low or c.tempered(warm, 1 / temperature) == pytest.approx(p, abs=1e-9)
    assert c.tempered(p, 1.0) is p


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_the_bins_give_back_the_calibration_error(bins: int) -> None:
    logits, labels = drawn(150, 3, 2.0, seed=5)
    p = softmax(logits, axis=1)
    found = c.reliability(p, labels, bins)
    gap = sum(b.n * abs((b.accuracy or 0.0) - (b.confidence or 0.0)) for b in found) / len(labels)
    assert gap == pytest.approx(ece(p, labels, bins), abs=1e-12)
    assert [b.low for b in found] == [k / bins for k in range(bins)]
    assert sum(b.n for b in found) == 150
    assert all((b.accuracy is None) == (b.n == 0) for b in found)
    assert all(b.low < b.confidence <= b.high + 1e-12 for b in found if b.confidence is not None)


def ladder(right: list[bool]) -> tuple[FloatArray, IntArray]:
    """Predictions of class 0 with confidence falling from 0.99; the k-th is right where `right` says so."""
    confidence = np.linspace(0.99, 0.55, len(right))
    return np.column_stack([confidence, 1 - confidence]), (~np.array(right)).astype(np.int64)


def test_the_threshold_is_the_smallest_whose_lower_bound_reaches_what_is_wanted() -> None:
    p, labels = ladder([True] * 60 + [False, True] * 20)
    found = c.abstain_threshold(p, labels, 0.9)
    assert found.value is not None
    hits, reaching = np.cumsum(labels == 0), []
    for n in range(1, 101):
        low, _ = wilson(int(hits[n - 1]), n, 0.90)
        reaching += [n] if low >= 0.9 else []
    assert found.value == p[reaching[-1] - 1, 0]
    answered = c.coverage(p, labels, found.value)
    assert (answered.answered, answered.n) == (reaching[-1], 100)
    assert answered.accuracy == hits[reaching[-1] - 1] / reaching[-1]
    assert answered.ci == wilson(int(hits[reaching[-1] - 1]), reaching[-1])


def test_nothing_is_unsure_where_all_answers_together_are_good_enough() -> None:
    p, labels = ladder([True] * 99 + [False])
    assert c.abstain_threshold(p, labels, 0.9).value == 0.0
    assert c.coverage(p, labels, 0.0).coverage == 1.0


def test_where_no_threshold_reaches_it_the_reason_says_what_is_missing() -> None:
    p, labels = ladder([True] * 51)
    few = c.abstain_threshold(p, labels, 0.95)
    assert few.value is None
    assert "of 51 held-out samples the best lower bound is 0.950; even 52 without an error" in few.reason
    p, labels = ladder([True] * 52)
    assert c.abstain_threshold(p, labels, 0.95).value == 0.0
    p, labels = ladder([False] + [True, False] * 60)
    assert "best lower bound" in c.abstain_threshold(p, labels, 0.9).reason


def test_answers_of_equal_confidence_stand_or_fall_together() -> None:
    p = np.tile([0.8, 0.2], (100, 1))
    labels = np.repeat([0, 1], [80, 20])
    assert c.abstain_threshold(p, labels, 0.9).value is None


def test_a_sample_predicted_twice_weighs_against_the_prior_as_one() -> None:
    logits, labels = drawn(40, 3, 3.0, seed=8)
    p = softmax(logits, axis=1)
    twice = np.repeat(p, 2, axis=0), np.repeat(labels, 2)
    assert c.fit_temperature(*twice, repeats=2.0) == pytest.approx(c.fit_temperature(p, labels), rel=1e-5)
    assert c.fit_temperature(*twice) > c.fit_temperature(p, labels)  # the data weigh more


def test_repeated_predictions_of_a_sample_prove_no_more_than_one() -> None:
    p, labels = ladder([True] * 40)
    twice = np.repeat(p, 2, axis=0), np.repeat(labels, 2)
    assert c.abstain_threshold(*twice, 0.95).value == 0.0
    assert c.abstain_threshold(*twice, 0.95, repeats=2.0).value is None
    assert c.coverage(*twice, 0.0, repeats=2.0).ci == c.coverage(p, labels, 0.0).ci


def test_an_answered_share_of_new_samples_is_as_good_as_wanted_in_most_draws() -> None:
    missed = asked = 0
    for seed in range(150):
        logits, labels = drawn(300, 3, 1.0, seed)
        threshold = c.abstain_threshold(softmax(logits, axis=1), labels, 0.95).value
        if threshold is not None:
            fresh, truth = drawn(4000, 3, 1.0, 1000 + seed)
            got = c.coverage(softmax(fresh, axis=1), truth, threshold)
            asked += 1
            missed += (got.accuracy or 0.0) < 0.95
    assert asked > 120
    assert missed / asked < 0.15  # by the plain share it would be about half


def test_what_cannot_be_computed_is_refused() -> None:
    p, labels = np.array([[0.6, 0.4]]), np.array([0])
    with pytest.raises(ValueError, match="temperature 0"):
        c.tempered(p, 0.0)
    with pytest.raises(ValueError, match="wanted 1"):
        c.abstain_threshold(p, labels, 1.0)
    with pytest.raises(ValueError, match="probabilities"):
        c.fit_temperature(p[:0], labels[:0])
    with pytest.raises(ValueError, match="bins is 0"):
        c.reliability(p, labels, 0)
