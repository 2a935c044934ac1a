"""Situations by rule, and planted ones in Gaussian features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.linear_model import LogisticRegression

from frostline.shift.classes import HeadTest, shares_test
from frostline.shift.diagnose import diagnose
from frostline.shift.sides import Side
from frostline.shift.situations import PValues, situation_of

NAMES = ("a", "b", "c")
SURE = HeadTest(refitted=0.9, source=0.5, p=1e-6)
NO_GAIN = HeadTest(refitted=0.9, source=0.9, p=0.7)


# features, within predictions, predictions, labels, within labels, refitted head; new classes; situation
RULES = [
    ((0.4, None, None, None, None, None), False, "none-shown"),
    ((0.4, None, None, None, None, None), True, "new-classes"),
    ((0.005, None, None, None, None, None), False, "cannot-tell"),
    ((0.005, 0.005, 0.005, None, None, None), False, "covariate"),
    ((0.005, 0.3, 0.005, None, None, None), False, "label"),
    ((0.005, 0.3, 0.3, None, None, None), False, "covariate"),
    ((0.005, 0.3, 0.005, 0.005, 0.4, None), False, "label"),
    ((0.3, 0.3, 0.005, None, None, None), False, "label"),
    ((0.3, 0.3, 0.04, None, None, None), False, "none-shown"),
    ((0.3, 0.3, 0.5, 0.6, 0.005, SURE), False, "concept"),
    ((0.02, 0.3, 0.5, 0.6, 0.005, SURE), False, "concept"),
    ((0.3, 0.3, 0.5, 0.6, 0.005, NO_GAIN), False, "covariate"),
    ((0.3, 0.3, 0.5, 0.6, 0.4, SURE), False, "none-shown"),
    ((0.005, 0.005, 0.1, 0.6, 0.005, SURE), False, "covariate"),
    ((0.005, 0.005, 0.1, 0.005, 0.005, SURE), False, "mixed"),
    ((0.3, 0.3, 0.5, 0.6, 0.4, NO_GAIN), False, "none-shown"),
    ((0.005, 0.2, 0.5, 0.6, 0.4, NO_GAIN), True, "new-classes"),
]


@pytest.mark.parametrize(("values", "new", "situation"), RULES)
def test_the_rule(values: tuple[Any, ...], new: bool, situation: str) -> None:
    names = ("features", "within_predicted", "predicted", "labels", "within_labels", "head")
    assert situation_of(PValues(**dict(zip(names, values, strict=True))), new_classes=new) == situation


def test_the_statistic_of_shares_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, 50), rng.integers(0, 3, 40)
    statistic, _ = shares_test(first, second, rng=rng, permutations=9)
    table = np.stack([np.bincount(first, minlength=3), np.bincount(second, minlength=3)])
    total = table.sum(0) * 40 / 90  # the whole statistic has a second term, of the other row, in a fixed ratio
    assert statistic == pytest.approx(((table[1] - total) ** 2 / total).sum())
    assert statistic * 90 / 50 == pytest.approx(chi2_contingency(table, correction=False).statistic)


def made(counts: tuple[int, ...], seed: int, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 6) of three classes at the corners of a triangle, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 2.5 * np.eye(6)[:4]
    return rng.normal(centres[labels]) + shift, labels


def sides(target: tuple[np.ndarray, np.ndarray], source: tuple[np.ndarray, np.ndarray]) -> tuple[Side, Side]:
    x, y = source
    other, labels = target
    model = LogisticRegression().fit(*made((60, 60, 60), 99))
    return (
        Side(features={1: x}, groups=np.arange(len(y)), probabilities=model.predict_proba(x), labels=y),
        Side(
            features={1: other}, groups=np.arange(len(labels)), probabilities=model.predict_proba(other), labels=labels
        ),
    )


WORLDS = {
    "none-shown": made((40, 40, 40), 1),
    "covariate": made((40, 40, 40), 2, shift=0.8),
    "label": made((15, 15, 90), 3),
    "new-classes": made((40, 40, 40, 20), 4),
}


@pytest.mark.parametrize("situation", WORLDS)
def test_planted_situations_are_named(situation: str) -> None:
    source, target = sides(WORLDS[situation], made((40, 40, 40), 0))
    found = diagnose(source, target, classes=(*NAMES, "d"), seed=0, permutations=99)
    assert found.situation == situation
    assert found.remedies
    assert found.typical is not None
    assert len(found.typical[1]) == len(target)


def test_exchanged_labels_are_a_concept_shift_which_is_invisible_without_labels() -> None:
    source, target = sides(made((40, 40, 40), 5), made((40, 40, 40), 0))
    exchanged = replace(target, labels=np.array([1, 0, 2])[target.labels])
    found = diagnose(source, exchanged, classes=NAMES, seed=0, permutations=99)
    assert found.situation == "concept"
    assert next(test for test in found.tests if test.name == "within-classes").shown
    blind = diagnose(source, replace(target, labels=None), classes=NAMES, seed=0, permutations=99)
    assert blind.situation == "none-shown"
    assert "concept shift" in blind.cannot_see[0]


def test_shares_of_the_classes_are_estimated_with_intervals() -> None:
    source, target = sides(WORLDS["label"], made((40, 40, 40), 0))
    found = diagnose(source, replace(target, labels=None), classes=NAMES, seed=0, permutations=99)
    assert [one.method for one in found.proportions] == ["em", "bbse"]
    for one in found.proportions:
        assert one.target == pytest.approx([0.125, 0.125, 0.75], abs=0.06)
        assert (one.interval[:, 0] <= one.target).all()
        assert (one.target <= one.interval[:, 1]).all()


def test_a_few_samples_show_nothing_and_say_so() -> None:
    source, target = sides(made((2, 2, 1), 1), made((40, 40, 40), 0))
    found = diagnose(source, target, classes=NAMES, seed=0)
    assert found.situation == "cannot-tell"
    assert found.sentences == ("The target has 5 samples; below 10 a side no difference could be told from chance.",)


def test_without_labels_of_the_source_the_kind_cannot_be_told() -> None:
    source, target = sides(WORLDS["covariate"], made((40, 40, 40), 0))
    plain = replace(source, labels=None, probabilities=None), replace(target, labels=None, probabilities=None)
    found = diagnose(*plain, classes=NAMES, seed=0, permutations=99)
    assert found.situation == "cannot-tell"
    assert found.tests[0].shown
