"""Forecasts worked by hand: 40 rows in 4 blocks of 30 + 10, stages of 100, 200 and 300 operations a sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from frostline.race.plan import block_trial, tune_trial
from frostline.race.timing import Speeds, TimeEstimate, seconds_text
from helpers.race_plans import plan

ZERO = Speeds(spent=0.0, image=0.0, forward=0.0, step=0.0, train=0.0, setup=0.0, solve=0.0, baseline=0.0, close=0.0)


def forecast(
    *names: str,
    epochs: int | None = None,
    speeds: Speeds = ZERO,
    stored: tuple[int, ...] = (1, 2, 3),
    **changed: Any,
) -> TimeEstimate:
    made = plan(*names, epochs=epochs)
    found = TimeEstimate(plan=made, speeds=speeds, steps=300, sealed=5, stored=frozenset(stored))
    return replace(found, **changed)


def of(made: TimeEstimate, name: str, steps: int | None = None) -> float:
    return made.trial(block_trial(made.plan.row(name).recipe, made.plan.blocks[0], None), steps)


def test_a_step_takes_a_fixed_time_and_its_operations() -> None:
    made = forecast("freeze@1", "finetune", speeds=replace(ZERO, step=0.5, train=1e-3), epochs=2)  # 6 steps of 10
    assert of(made, "finetune") == pytest.approx(6 * (0.5 + 10 * 600e-3))
    assert of(made, "freeze@1") == pytest.approx(6 * (0.5 + 10 * 500e-3))


def test_a_length_to_be_found_counts_at_its_most_until_it_is_known() -> None:
    made = forecast("finetune", speeds=replace(ZERO, step=0.1))
    assert of(made, "finetune") == pytest.approx(30.0)
    assert of(made, "finetune", 120) == pytest.approx(12.0)
    tuning = tune_trial(made.plan.row("finetune").recipe, made.plan.blocks[0], 1e-4, 150)
    assert made.trial(tuning) == pytest.approx(15.0)


def test_frozen_stages_that_are_not_stored_are_computed_in_every_step() -> None:
    speeds = replace(ZERO, forward=1e-3)
    kept, anew = (forecast("freeze@2", speeds=speeds, epochs=2, stored=s) for s in ((2,), ()))
    judged = 10 * 300e-3, 10 * 600e-3
    assert of(kept, "freeze@2") == pytest.approx(judged[0])
    assert of(anew, "freeze@2") == pytest.approx(6 * 10 * 300e-3 + judged[1])


def test_solved_heads_and_the_baseline_count_by_rows() -> None:
    made = forecast("baseline", "probe", speeds=replace(ZERO, solve=0.1, baseline=0.01, setup=2.0))
    assert of(made, "probe") == pytest.approx(2.0 + 30 * 0.1)
    assert of(made, "baseline") == pytest.approx(0.01 * 30**2)


def test_the_shared_pass_reads_every_view_once_to_the_deepest_cut() -> None:
    made = forecast("probe", "finetune", speeds=replace(ZERO, image=0.1, forward=1e-3))
    assert made.features() == pytest.approx(40 * (11 * 0.1 + 7 * 600e-3))


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        # two further rates at the length of the block trial, then three rates before it, then one longer one as well
        (75, [75, 75]),
        (150, [150, 150]),
        (300, [150, 150, 150]),
        (600, [150, 150, 150, 300]),
    ],
)
def test_the_race_is_the_sum_of_its_trials(steps: int, before: list[int]) -> None:
    speeds = replace(ZERO, step=0.1, train=1e-4, forward=1e-4, setup=1.0, solve=0.01, baseline=1e-3)
    made = forecast("baseline", "probe", "freeze@2", "finetune", speeds=speeds, steps=steps)
    blocks = made.plan.blocks
    trials = [block_trial(row.recipe, b, None) for row in made.plan.rows for b in blocks]
    for row in (r for r in made.plan.rows if r.rates):
        # on the first block all rates run short before one runs long; a second candidate runs long on the second block
        trials += [tune_trial(row.recipe, blocks[0], row.rates[0], length) for length in before]
        trials.append(tune_trial(row.recipe, blocks[1], row.rates[0], steps))
    assert made.race() == pytest.approx(sum(map(made.trial, trials)))


def test_the_close_counts_the_costliest_refit_or_all_of_them() -> None:
    speeds = replace(ZERO, setup=1.0, step=0.1, close=4.0)
    made = forecast("probe", "finetune", speeds=speeds)
    assert made.closing() == pytest.approx(4.0 + 2.0 + 30.0)
    assert replace(made, all_tested=True).closing() == pytest.approx(4.0 + 2.0 + 32.0)
    assert made.total() == pytest.approx(made.features() + made.race() + made.closing())


def test_after_the_refits_only_the_sealed_images_are_left() -> None:
    speeds = replace(ZERO, setup=1.0, step=0.1, close=4.0, image=0.5, forward=1e-3, baseline=0.01)
    made = forecast("baseline", "probe", "finetune", speeds=speeds)
    answers = 5 * (0.5 + 600e-3)  # of the 5 sealed images
    fitted_late = 0.01 * 40**2  # the baseline, on all rows
    assert replace(made, all_tested=True).ending() == pytest.approx(4.0 + 2 * answers + fitted_late)
    assert forecast("probe", "finetune", speeds=speeds).ending() == pytest.approx(4.0 + answers)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (55.4, "55 s"), (60, "1 min"), (250, "4 min 10 s"), (3600, "1 h"), (5400, "1 h 30 min")],
)
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
