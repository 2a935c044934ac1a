"""What a doubling of the labels is said to mean, and the power law against scipy's own fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from frostline.stats.curves import HIGHEST, LOWEST, Gain, gain_sentence, power_law, reading_of

SIZES = (12.0, 24.0, 48.0, 96.0)


def gain(difference: float, low: float, high: float, *, blocks: int = 5, fewer: int = 98, labels: int = 195) -> Gain:
    return Gain(strategy="probe", fewer=fewer, labels=labels, blocks=blocks, difference=difference, ci=(low, high))


@pytest.mark.parametrize(
    ("ci", "reading"),
    [
        ((0.004, 0.038), "helps"),
        ((0.001, 0.0201), "helps"),
        ((0.002, 0.02), "little"),  # above luck, but not worth a doubling
        ((-0.009, 0.013), "little"),
        ((-0.05, -0.01), "little"),  # fewer labels did better: no case for more
        ((-0.08, 0.08), "undecided"),
        ((0.0, 0.03), "undecided"),
    ],
)
def test_a_doubling_is_read_by_both_ends_of_its_interval(ci: tuple[float, float], reading: str) -> None:
    assert reading_of(ci) == reading


def test_a_doubling_that_helped_is_told_with_its_interval_and_promises_no_more_than_one_more() -> None:
    assert gain_sentence(gain(0.021, 0.004, 0.038), instead="another network") == (
        "Doubling the labels from 98 to 195 brought probe 2.1 points on 5 blocks (95 % interval 0.4 to 3.8): more "
        "labels help; another doubling may bring about as much or a little less."
    )
    guessed = gain_sentence(gain(0.021, 0.004, 0.038), instead="another network", projected=0.014)
    assert guessed.endswith("or a little less (a power law through the points guesses 1.4).")


def test_a_flat_curve_points_elsewhere_and_says_whether_luck_explains_it() -> None:
    assert gain_sentence(gain(0.002, -0.009, 0.013), instead="another network") == (
        "Doubling the labels from 98 to 195 brought probe 0.2 points on 5 blocks (95 % interval -0.9 to 1.3), not "
        "shown to be more than luck: the curve is flat. More labels of this kind would help little; another network "
        "would be the thing to try."
    )
    assert "more than luck, but little: the curve is flat" in gain_sentence(gain(0.009, 0.003, 0.015), instead="x")


def test_a_wide_interval_promises_nothing_even_where_a_guess_is_there() -> None:
    text = gain_sentence(gain(0.03, -0.05, 0.11), instead="another network", projected=0.02)
    assert text.endswith("(95 % interval -5.0 to 11.0): whether more labels would help can't be told from so few.")
    assert "another network" not in text
    assert "guesses" not in text


def test_a_single_block_and_a_step_that_is_no_doubling_are_said_so() -> None:
    text = gain_sentence(gain(0.021, 0.004, 0.038, blocks=1, fewer=60, labels=100), instead="x")
    assert text.startswith("Going from 60 to 100 labels brought probe")
    assert "on a single block (95 % interval 0.4 to 3.8, the luck of the training set not covered): more" in text
    assert "-0.0" not in gain_sentence(gain(-0.0001, -0.0001, 0.0), instead="x")


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.05, 1.0, 0.5), (0.0, 0.8, 0.3), (0.1, 2.0, 1.2)])
def test_a_true_power_law_is_found_again(floor: float, scale: float, exponent: float) -> None:
    found = power_law(SIZES, [floor + scale * n**-exponent for n in SIZES])
    assert found is not None
    assert (found.floor, found.scale, found.exponent) == pytest.approx((floor, scale, exponent), abs=1e-3)
    assert found.error(192) == pytest.approx(floor + scale * 192**-exponent, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_noisy_points_get_the_curve_that_scipy_finds_from_many_starts(seed: int) -> None:
    n = np.array(SIZES)
    values = 0.06 + 0.9 * n**-0.6 + np.random.default_rng(seed).normal(0, 0.01, len(n))

    def model(at: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * (at / n[0]) ** -c

    def squares(error: np.ndarray) -> float:
        return float(np.sum((error - values) ** 2))

    fits = [
        curve_fit(model, n, values, p0=(0.05, 0.2, c), bounds=([0, 0, LOWEST], [1, 10, HIGHEST]), maxfev=20_000)[0]
        for c in (0.1, 0.5, 1.0, 1.8)
    ]
    best = min(fits, key=lambda f: squares(model(n, *f)))
    found = power_law(SIZES, list(values))
    assert found is not None
    mine = np.array([found.error(v) for v in n])
    assert squares(mine) <= squares(model(n, *best)) + 1e-9
    assert found.error(2 * n[-1]) == pytest.approx(float(model(2 * n[-1:], *best)[0]), abs=1e-3)


def test_fewer_sizes_than_a_power_law_needs_give_none() -> None:
    assert power_law((24, 48, 96), (0.3, 0.2, 0.1)) is None
    assert power_law((24, 48, 96, 96), (0.3, 0.2, 0.1, 0.1)) is None


def test_a_curve_that_rises_with_labels_is_taken_as_flat() -> None:
    found = power_law(SIZES, (0.1, 0.1, 0.12, 0.12))
    assert found is not None
    assert found.error(192) == pytest.approx(0.11)
