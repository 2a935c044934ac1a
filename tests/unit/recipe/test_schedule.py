"""Schedules by hand-worked numbers, plateaus by drawn curves."""

from __future__ import annotations

import math

import pytest

from frostline.recipe.schedule import HOLD, MAX_STEPS, OPEN, Length, Plateau, still_improving


def test_given_length_warms_up_for_a_tenth_and_ends_near_zero() -> None:
    length = Length(20)
    factors = [length.factor(s) for s in range(20)]
    assert length.warmup == 2
    assert factors[:2] == pytest.approx([1 / 3, 2 / 3])
    # cosine from step 2: 0.5 (1 + cos(pi k / 19)), k = 1 .. 18
    assert factors[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 19)) for k in range(1, 19)])
    assert 0 < factors[-1] < 0.01


def test_found_length_repeats_what_the_search_did() -> None:
    found = Length(150, HOLD)
    assert [found.factor(s) for s in range(100)] == [OPEN.factor(s) for s in range(100)]
    assert found.factor(99) == 1.0
    assert found.factor(100) < 1.0
    assert found.factor(149) < 0.01
    assert OPEN.steps == MAX_STEPS


def test_plateau_is_three_readings_without_one_percent_of_improvement() -> None:
    plateau = Plateau()
    readings = [1.0, 0.9, 0.895, 0.896, 0.80, 0.80, 0.799, 0.795]
    #           new  new  bad 1  bad 2  new  bad 1  bad 2  bad 3
    assert [plateau.reached(x) for x in readings] == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0] * 8, False),
        ([1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.6, 0.6], True),
        ([0.5, 0.5, 0.3, 0.3, 0.02, 0.02, 0.01, 0.01], False),  # half of it, but less than 0.02 nats
        ([1.0, 0.5], False),  # too short to tell
    ],
)
def test_still_improving_compares_the_last_two_quarters(losses: list[float], expected: bool) -> None:
    assert still_improving(losses) is expected
