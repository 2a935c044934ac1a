"""What a run keeps stands in for its samples: the test of means against formulas, and what may be concluded."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from frostline.base.records import FloatArray, IntArray
from frostline.shift.findings import Diagnosis
from frostline.shift.moments import diagnose_by_moments, mean_test
from frostline.shift.sides import Moments, Side

CLASSES = ("a", "b")


def moments_of(features: FloatArray) -> Moments:
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    return Moments(mean=features.mean(axis=0), covariance=covariance, n=len(features))


def test_one_feature_is_the_squared_z_of_two_means() -> None:
    kept = Moments(mean=np.array([1.0]), covariance=np.array([[4.0]]), n=100)
    target = np.linspace(-2.0, 4.4, 25)[:, None]  # of mean 1.2
    statistic, p = mean_test(kept, target, np.arange(25), rng=np.random.default_rng(0))
    pooled = (99 * 4.0 + 24 * target.var(ddof=1)) / 123
    z = 0.2 / np.sqrt(pooled * (1 / 100 + 1 / 25))
    assert statistic == pytest.approx(z**2)
    assert p == pytest.approx(chi2.sf(z**2, 1), abs=0.03)


def test_a_group_counts_once() -> None:
    kept = Moments(mean=np.array([0.0]), covariance=np.array([[1.0]]), n=1000)
    target = np.repeat([[0.5], [-0.1]], 50, axis=0)
    apart, _ = mean_test(kept, target, np.arange(100), rng=np.random.default_rng(0))
    together, _ = mean_test(kept, target, np.repeat([0, 1], 50), rng=np.random.default_rng(0))
    assert together == pytest.approx(0.2**2 / (1 / 1000 + 1 / 2), rel=0.01)
    assert apart > 40 * together


def test_false_alarms_are_as_rare_as_they_should_be_with_correlated_features() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    ps = []
    for _ in range(200):
        both = np.exp(rng.normal(size=(140, 12)) @ mixing / 4)  # skewed and correlated
        ps.append(mean_test(moments_of(both[:90]), both[90:], np.arange(50), rng=rng)[1])
    assert np.mean(np.array(ps) <= 0.05) < 0.09
    assert 0.35 < np.mean(ps) < 0.65


def side(features: FloatArray, predicted: IntArray, labels: IntArray | None = None) -> Side:
    probabilities = np.full((len(predicted), 2), 0.1)
    probabilities[np.arange(len(predicted)), predicted] = 0.9
    return Side(features={3: features}, groups=np.arange(len(predicted)), probabilities=probabilities, labels=labels)


def said(
    moved: float, share: float, *, kept: bool = True, count: int = 80, labels: IntArray | None = None
) -> Diagnosis:
    rng = np.random.default_rng(1)
    own = rng.normal(size=(120, 5))
    source = side(own, np.arange(120) % 2)
    assert source.probabilities is not None
    target = side(rng.normal(size=(count, 5)) + moved, (np.arange(count) < share * count).astype(np.int64), labels)
    return diagnose_by_moments(
        {3: moments_of(own)} if kept else {},
        target,
        outputs=(source.probabilities, np.arange(120) % 2),
        classes=(*CLASSES, "c"),
        seed=0,
    )


def test_the_situation_follows_from_means_and_shares() -> None:
    assert said(0.0, 0.5).situation == "none-shown"
    assert said(1.0, 0.5).situation == "covariate"
    assert said(0.0, 0.95).situation == "label"
    assert said(1.0, 0.95).situation == "cannot-tell"
    assert said(0.0, 0.95, kept=False).situation == "cannot-tell"
    assert said(0.0, 0.5, kept=False).situation == "none-shown"
    assert said(1.0, 0.95, count=5).situation == "cannot-tell"


def test_the_answer_says_what_it_rests_on() -> None:
    found = said(1.0, 0.5)
    assert [test.name for test in found.tests] == ["moments", "predicted-classes"]
    assert [one.method for one in found.proportions] == ["em", "bbse"]
    assert "aren't at hand" in found.cannot_see[0]
    assert found.level == "feature"
    few = said(0.0, 0.5, count=5)
    assert few.tests == ()
    assert "too little" in few.sentences[0]


def test_new_classes_are_named() -> None:
    labels = np.arange(80) % 3
    found = said(0.0, 0.5, labels=labels)
    assert found.situation == "new-classes"
    assert found.new_classes == (2,)
    assert found.missing_classes == ()
    assert [one.method for one in found.proportions] == ["counted", "em", "bbse"]
    assert "c" in found.sentences[-1]
