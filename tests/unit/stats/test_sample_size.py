from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from frostline.stats.paired import equivalent_samples_needed, mcnemar_exact, paired_samples_needed


@pytest.mark.parametrize(("discordance", "expected"), [(0.05, 970), (0.10, 1960), (0.20, 3920)])
def test_two_points_need_as_many_samples_as_the_literature_says(discordance, expected):
    assert paired_samples_needed(0.02, discordance) == pytest.approx(expected, rel=0.005)


def test_the_constants_follow_from_power_and_level():
    assert paired_samples_needed(0.01, 0.5) == pytest.approx(7.849 * (0.5 - 1e-4) / 1e-4, rel=1e-4)
    assert paired_samples_needed(0.01, 0.5, power=0.9, level=0.01) == pytest.approx(14.879 * 4999, rel=1e-4)
    assert equivalent_samples_needed(0.0, 0.1, margin=0.01) == pytest.approx(6.183 * 1000, rel=1e-3)


@pytest.mark.parametrize(("delta", "discordance", "level", "power"), [(0.02, 0.1, 0.05, 0.8), (0.05, 0.2, 0.01, 0.9)])
def test_sizes_are_those_of_statsmodels_z_test_on_paired_differences(delta, discordance, level, power):
    deviation = math.sqrt(discordance - delta**2)

    def size(effect, alternative):
        found = NormalIndPower().solve_power(
            effect / deviation, alpha=level, power=power, ratio=0, alternative=alternative
        )
        return math.ceil(found)

    assert paired_samples_needed(delta, discordance, power=power, level=level) == size(delta, "two-sided")
    alike = equivalent_samples_needed(delta, discordance, margin=0.08, power=power, level=level)
    assert alike == size(0.08 - delta, "larger")


def test_that_many_samples_reach_the_promised_power():
    difference, discordance = 0.05, 0.12
    n = paired_samples_needed(difference, discordance)
    rng = np.random.default_rng(0)
    win, loss = (discordance + difference) / 2, (discordance - difference) / 2
    tables = rng.multinomial(n, [win, loss, 1 - discordance], size=1500)
    power = np.mean([mcnemar_exact(int(b), int(c)) < 0.05 for b, c, _ in tables])
    assert power == pytest.approx(0.8, abs=0.05)  # the exact test is a little more careful than the formula


def test_no_answer_is_below_what_the_exact_test_can_reach():
    assert paired_samples_needed(-1.0, 1.0) == 6
    assert paired_samples_needed(0.5, 0.5) == 12


@pytest.mark.parametrize(("difference", "discordance"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_impossible_differences_are_refused(difference, discordance):
    with pytest.raises(ValueError, match=r"difference|discordance"):
        paired_samples_needed(difference, discordance)


def test_a_difference_beyond_the_margin_is_never_equivalent():
    with pytest.raises(ValueError, match="margin"):
        equivalent_samples_needed(0.02, 0.1, margin=0.01)
