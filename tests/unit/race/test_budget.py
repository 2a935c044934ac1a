"""What a budget leaves out, and in which order, at speeds made up by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.base.events import silent
from frostline.base.records import Outcome
from frostline.race.budget import (
    Guard,
    Reduction,
    fit_reduction,
    least_reduction,
    left_out,
    moves,
    order,
    reduced,
    trimmed,
    vital_names,
)
from frostline.race.plan import Plan, block_trial, tune_trial
from frostline.race.race import run_race
from frostline.race.result import raced
from frostline.race.standing import standing_from
from frostline.race.timing import Speeds, TimeEstimate
from frostline.recipe.recipe import Trial
from frostline.recipe.schedule import MAX_STEPS
from helpers.race_plans import LABELS, Engine, outcome, plan

NAMES = ("baseline", "probe", "probe@2", "probe@1", "freeze@2", "freeze@1", "finetune", "lp-ft", "scratch")
# a step takes a tenth of a second, starting 5 and writing 1; all else is free
SPEEDS = Speeds(spent=5.0, image=0.0, forward=0.0, step=0.1, train=0.0, setup=0.0, solve=0.0, baseline=0.0, close=1.0)


def forecast(made: Plan, cut: Reduction, speeds: Speeds = SPEEDS) -> TimeEstimate:
    return TimeEstimate(plan=trimmed(made, cut), speeds=speeds, steps=cut.steps, sealed=5, stored=frozenset({1, 2, 3}))


def cut_to(made: Plan, budget: float, speeds: Speeds = SPEEDS) -> Reduction | None:
    return fit_reduction(made, lambda cut: forecast(made, cut, speeds).total(), budget)


def names(made: Plan) -> list[str]:
    return [row.recipe.name for row in made.rows]


def test_other_ways_of_moving_everything_go_first_and_the_ends_last() -> None:
    assert order(plan(*NAMES)) == ["scratch", "lp-ft", "freeze@1", "freeze@2", "finetune", "probe@1", "probe@2"]
    assert order(plan("finetune", "scratch")) == ["scratch"]
    assert order(plan("probe", alone=True)) == []
    assert vital_names(plan(*NAMES)) == {"baseline", "probe"}


def test_all_moves_lead_to_the_least_plan() -> None:
    made = plan(*NAMES, count=5)
    least = least_reduction(made)
    assert names(trimmed(made, least)) == ["baseline", "probe"]
    assert (least.blocks, least.tuned, least.steps) == (2, False, 75)
    assert [m[2] for m in moves(made) if m[0] == "blocks"] == [4, 3, 2]
    assert least_reduction(plan("finetune", alone=True)) == Reduction(blocks=4, tuned=False, steps=75)


def test_the_longest_training_goes_before_blocks_and_the_shorter_ones_after_strategies() -> None:
    assert moves(plan("probe", "finetune", "scratch", count=5)) == [
        ("steps", 600, 300),
        ("blocks", 5, 4),
        ("blocks", 4, 3),
        ("dropped", None, "scratch"),
        ("steps", 300, 150),
        ("steps", 150, 75),
        ("tuned", True, False),
        ("blocks", 3, 2),
        ("dropped", None, "finetune"),
    ]
    assert not any(m[0] == "steps" for m in moves(plan("probe", "finetune", epochs=3)))
    assert not any(m[0] == "steps" for m in moves(plan("baseline", "probe")))


def test_enough_time_leaves_nothing_out() -> None:
    made = plan(*NAMES)
    cut = cut_to(made, 1e6)
    assert cut == Reduction(blocks=4)
    assert left_out(made, cut) == ()
    assert [row.trials for row in reduced(made, cut).rows] == [row.trials for row in made.rows]


def test_a_little_too_little_time_caps_the_steps_only() -> None:
    made = plan("probe", "finetune")
    # start and close 6; 3 rates at 150 steps, then one at 300; 4 blocks and a refit of at most 60, a second candidate
    # on the second block: 3 x 15 + 30 + 4 x 60 + 60 + 60
    assert forecast(made, Reduction(blocks=4)).total() == pytest.approx(441.0)
    cut = cut_to(made, 440.0)
    assert cut == Reduction(blocks=4, steps=300)
    assert left_out(made, cut) == ("steps beyond 300",)


def test_much_too_little_time_caps_the_steps_further_before_tuning_and_the_third_block_go() -> None:
    made = plan("probe", "finetune", count=3)
    # with 300 steps: 6 + 3 x 15 + 3 x 30 + 30 + 30; with 150 or 75, where the first block has one of the three rates:
    # 6 + 2 x 15 + 3 x 15 + 15 + 15 and 6 + 2 x 7.5 + 3 x 7.5 + 7.5 + 7.5
    for steps, seconds in ((300, 201.0), (150, 111.0), (75, 58.5)):
        assert forecast(made, Reduction(blocks=3, steps=steps)).total() == pytest.approx(seconds)
        assert cut_to(made, seconds + 1) == Reduction(blocks=3, steps=steps)


def test_blocks_beyond_three_go_before_any_strategy() -> None:
    made = plan("probe", "finetune", "scratch", count=5)
    # with 300 steps: 6 + 2 x (45 + 5 x 30 + 30) + 30, and with a block less 6 + 2 x (45 + 4 x 30 + 30) + 30 = 426
    assert forecast(made, Reduction(blocks=5, steps=300)).total() == pytest.approx(486.0)
    cut = cut_to(made, 430.0)
    assert cut == Reduction(blocks=4, steps=300)
    assert left_out(made, cut) == ("1 of 5 blocks", "steps beyond 300")


def test_what_had_to_go_for_nothing_is_taken_back() -> None:
    made = plan(*NAMES, count=5)
    cut = cut_to(made, 20.0)  # not even one stepped trial and its refit fit, so all of them go, but nothing else
    assert cut is not None
    assert set(cut.dropped) == {"scratch", "lp-ft", "freeze@1", "freeze@2", "finetune"}
    assert (cut.blocks, cut.tuned, cut.steps) == (5, True, MAX_STEPS)
    assert left_out(made, cut) == ("scratch", "lp-ft", "freeze@1", "freeze@2", "finetune")
    assert names(reduced(made, cut)) == ["baseline", "probe", "probe@2", "probe@1"]


def test_the_middle_rate_stands_for_tuning() -> None:
    made = plan("probe", "finetune")
    for steps in (75, 150):
        row = reduced(made, Reduction(blocks=2, tuned=False, steps=steps)).row("finetune")
        assert (row.recipe.rates, row.rates, row.trials) == ((1e-4,), (), 2)
    longer = reduced(made, Reduction(blocks=2, tuned=False, steps=300)).row("finetune")
    assert (longer.rates, longer.trials) == ((1e-4,), 2)  # a single rate, of which the length is still chosen
    assert "tuning" in left_out(made, Reduction(blocks=4, tuned=False))[0]
    alone = reduced(plan("finetune", alone=True), Reduction(blocks=4, tuned=False)).rows[0]
    assert (alone.rates, alone.trials) == ((1e-4,), 2)  # its length is still chosen, by two judges


def test_trimmed_and_reduced_agree_on_all_that_a_forecast_reads() -> None:
    for made in (plan(*NAMES), plan("finetune", alone=True), plan("finetune", "probe", epochs=3), plan("probe")):
        for cut in (Reduction(blocks=4), least_reduction(made)):
            rough, exact = trimmed(made, cut), reduced(made, cut)
            assert [(r.recipe, r.rates) for r in rough.rows] == [(r.recipe, r.rates) for r in exact.rows]
            assert len(rough.blocks) == len(exact.blocks)


def test_too_little_time_for_anything_is_refused() -> None:
    assert cut_to(plan(*NAMES), 5.5) is None
    assert cut_to(plan(*NAMES), 6.0) is not None


@settings(deadline=None)
@given(st.floats(6.0, 2000.0), st.integers(1, 6))
def test_the_plan_fits_and_more_time_never_gives_less(budget: float, count: int) -> None:
    made = plan(*NAMES, count=count + 1)
    less = cut_to(made, budget)
    assert less is not None
    assert forecast(made, less).total() <= budget
    assert "probe" in names(trimmed(made, less))
    assert Reduction.from_json(less.to_json()) == less


def block(made: Plan, name: str, index: int) -> Trial:
    return block_trial(made.row(name).recipe, made.blocks[index], 1e-4)


def guard(made: Plan, budget: float, now: float) -> Guard:
    found = forecast(made, Reduction(blocks=len(made.blocks), steps=300))
    return Guard(forecast=found, budget=budget, clock=lambda: now, vital=vital_names(made))


def test_a_trial_needs_time_for_itself_and_for_the_close() -> None:
    made = plan("probe", "finetune")
    # a trial of 30 seconds, then a refit of 30 and a second to write
    assert guard(made, 100.0, 39.0).allows(block(made, "finetune", 1))
    late = guard(made, 100.0, 39.1)
    assert not late.allows(block(made, "finetune", 1))
    assert [t.key for t in late.denied] == ["block/finetune/1/0.0001"]


def test_a_slow_pace_asks_for_more_and_a_fast_one_keeps_the_reserve() -> None:
    made = plan("probe", "finetune")
    slow = guard(made, 100.0, 39.0)
    slow.learn(10.0, 15.0)
    assert not slow.allows(block(made, "finetune", 1))
    fast = guard(made, 100.0, 53.0)
    fast.learn(10.0, 5.0)
    assert fast.allows(block(made, "finetune", 1))  # 15 and 31
    assert not replace(fast, clock=lambda: 55.0).allows(block(made, "finetune", 1))


def test_the_least_answer_is_given_whatever_the_time() -> None:
    made = plan("baseline", "probe", "finetune")
    late = guard(made, 100.0, 1000.0)
    assert late.allows(block(made, "probe", 0))
    assert late.allows(block(made, "baseline", 0))
    assert not late.allows(block(made, "finetune", 0))
    assert not late.allows(block(made, "probe", 1))


def test_tuning_leaves_time_for_two_blocks() -> None:
    made = plan("probe", "finetune")
    tuning = tune_trial(made.row("finetune").recipe, made.blocks[0], 1e-4, 150)
    assert guard(made, 120.0, 14.0).allows(tuning)  # 15, 2 x 30, 31
    assert not guard(made, 120.0, 14.1).allows(tuning)


def test_a_learning_curve_leaves_time_for_the_sealed_test_but_not_for_the_refit_that_is_done() -> None:
    made = plan("probe", "finetune")
    curve = replace(block(made, "finetune", 1), purpose="curve")
    assert guard(made, 100.0, 69.0).allows(curve)  # 30 and a second to write
    assert not guard(made, 100.0, 69.1).allows(curve)
    assert not guard(made, 100.0, 69.0).allows(block(made, "finetune", 1))


class Until:
    """A run() that stops before the trial of this key."""

    def __init__(self, key: str, *, undertrained: bool = False) -> None:
        self.key = key
        self.engine = Engine(lambda t: outcome(t, right=5, undertrained=undertrained))

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        keys = [t.key for t in trials]
        return self.engine.run(trials[: keys.index(self.key)] if self.key in keys else trials)


def test_a_block_that_is_not_complete_is_dropped_so_that_strategies_stay_paired() -> None:
    made = plan("probe", "freeze@2", "finetune", lr=1e-4)
    result = run_race(made, Until("block/finetune/2/0.0001/150 steps"), labels=LABELS, margin=0.01, emit=silent)
    assert result.blocks == 2
    assert {name: [o.block for o in result.of(name)] for name in names(made)} == {name: [0, 1] for name in names(made)}
    assert result.left_out == ["2 of 4 planned blocks (not run)"]
    done = raced(made, result)
    assert [b.index for b in done.race_blocks()] == [0, 1]
    keys = [standing_from(result.of(n), LABELS, trained_parameters=0).keys for n in names(made)]
    assert all(np.array_equal(keys[0], k) for k in keys)


def test_a_strategy_that_misses_the_first_block_leaves_the_race() -> None:
    made = plan("probe", "freeze@2", "finetune", lr=1e-4)
    result = run_race(made, Until("block/finetune/0/0.0001/150 steps"), labels=LABELS, margin=0.01, emit=silent)
    assert "left out" in result.eliminated["finetune"]
    assert [o.block for o in result.of("freeze@2")] == [0, 1, 2, 3]
    assert result.of("finetune") == []
    assert raced(made, result) == made


def test_a_strategy_alone_that_no_time_is_left_to_tune_gets_its_middle_rate() -> None:
    made = plan("finetune", alone=True)
    result = run_race(made, Until("tune/finetune/0/0.0001/150 steps"), labels=LABELS, margin=0.01, emit=silent)
    assert result.rate("finetune") == 1e-4
    assert [o.block for o in result.outcomes] == [1]  # this engine stopped in the first fold only
    assert "not run" in result.left_out[0]


def test_rates_that_were_not_tried_are_not_chosen() -> None:
    made = plan("probe", "finetune")
    run = Until("tune/finetune/0/3e-05/150 steps")
    result = run_race(made, run, labels=LABELS, margin=0.01, emit=silent)
    assert result.rate("finetune") == 1e-4  # the middle one
    assert result.left_out == ["2 of 3 tuning runs of finetune (not run)"]
