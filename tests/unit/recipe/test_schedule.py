"""Schedules by hand-worked numbers."""

from __future__ import annotations

import math

import pytest

from frostline.recipe.schedule import (
    FIRST_STEPS,
    LENGTHS,
    MAX_STEPS,
    MIN_STEPS,
    Length,
    next_length,
    reading_interval,
    still_improving,
)


def test_given_length_warms_up_for_a_tenth_and_ends_near_zero() -> None:
    length = Length(20)
    factors = [length.factor(s) for s in range(20)]
    assert length.warmup == 2
    assert factors[:2] == pytest.approx([1 / 3, 2 / 3])
    # cosine from step 2: 0.5 (1 + cos(pi k / 19)), k = 1 .. 18
    assert factors[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 19)) for k in range(1, 19)])
    assert 0 < factors[-1] < 0.01


def test_the_weights_of_the_last_third_are_averaged() -> None:
    assert [step for step in range(10) if Length(10).is_averaged(step)] == [6, 7, 8, 9]
    assert Length(1).is_averaged(0)


@pytest.mark.parametrize(
    ("steps", "most", "expected"),
    [(75, 600, 150), (150, 600, 300), (300, 600, 600), (600, 600, None), (150, 299, None), (150, 300, 300)],
)
def test_the_next_length_is_twice_as_long_up_to_the_most(steps: int, most: int, expected: int | None) -> None:
    assert next_length(steps, most) == expected


def test_candidates_begin_at_the_second_length_and_early_readings_take_the_first() -> None:
    assert LENGTHS == (75, 150, 300, 600)
    assert (MIN_STEPS, FIRST_STEPS, MAX_STEPS) == (75, 150, 600)


def test_a_reading_comes_once_an_epoch_and_ten_times_in_the_longest_training() -> None:
    assert [reading_interval(per_epoch) for per_epoch in (3, 25, 500)] == [10, 25, 60]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0] * 8, False),
        ([1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.6, 0.6], True),
        ([0.9, 0.9, 0.8, 0.8, 0.32, 0.32, 0.31, 0.31], False),  # less than 0.02 nats
        ([1.0, 0.5], False),  # too short to tell
    ],
)
def test_still_improving_compares_the_last_two_quarters(losses: list[float], expected: bool) -> None:
    assert still_improving(losses, guessing=2.0) is expected


def test_what_fits_the_training_samples_was_not_cut_short() -> None:
    losses = [1.0, 1.0, 0.5, 0.5, 0.2, 0.2, 0.1, 0.1]
    assert still_improving(losses, guessing=0.9)
    assert not still_improving(losses, guessing=1.1)
