"""Plans and counted costs, worked by hand on stages of 100, 200 and 300 operations a sample."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frostline.race.cost import (
    Workload,
    count_trained,
    forward,
    head_parameters,
    inference_operations,
    moving_operations,
    step_operations,
    training_operations,
)
from frostline.race.plan import block_trial, make_plan, tune_trial
from frostline.recipe.catalogue import Choices
from frostline.recipe.recipe import Part
from frostline.recipe.selection import make_recipe
from helpers.race_plans import ROWS, STAGES, plan

WORK = Workload(rows=20, views=3, steps=7, batch_size=10)


def test_forward_counts_the_stages_between_two_cuts() -> None:
    assert [forward(STAGES, 0, 3), forward(STAGES, 1, 3), forward(STAGES, 2, 2)] == [600.0, 500.0, 0.0]


@pytest.mark.parametrize(
    ("name", "inference", "moving", "alone"),
    [
        # a stepped run: (1 + 2) x moving stages x 7 steps x 10 samples; frozen ones once for 20 samples x 3 views
        ("finetune", 600, 3 * 600 * 70, 3 * 600 * 70),
        ("scratch", 600, 3 * 600 * 70, 3 * 600 * 70),
        ("freeze@1", 600, 3 * 500 * 70, 3 * 500 * 70 + 100 * 60),
        ("freeze@2", 600, 3 * 300 * 70, 3 * 300 * 70 + 300 * 60),
        ("probe", 600, 0, 600 * 60),
        ("probe@1", 100, 0, 100 * 60),
        ("baseline", 0, 2 * 1024 * 400, 2 * 1024 * 400),
    ],
)
def test_costs_by_hand(name: str, inference: float, moving: float, alone: float) -> None:
    recipe = make_recipe(name, STAGES)
    assert inference_operations(recipe, STAGES) == inference
    assert moving_operations(recipe, STAGES, WORK) == moving
    assert training_operations(recipe, STAGES, WORK) == alone


@pytest.mark.parametrize(
    ("name", "expected"),
    [("finetune", 60 + 34), ("freeze@2", 30 + 34), ("probe", 34), ("probe@1", 34), ("baseline", 0)],
)
def test_trained_parameters_are_those_of_moving_stages_and_the_head(name: str, expected: int) -> None:
    assert count_trained(make_recipe(name, STAGES), STAGES, 34) == expected


def test_a_step_costs_what_its_gradients_cost() -> None:
    """One forward pass; 1 for the gradient of inputs, 1 more for that of weights."""
    every = {name: moving_operations(make_recipe(name, STAGES), STAGES, WORK) for name in ("norm", "bias", "lora")}
    assert every == {"norm": 2 * 600 * 70, "bias": 2 * 600 * 70, "lora": 3 * 600 * 70}
    assert moving_operations(make_recipe("reinit@1", STAGES), STAGES, WORK) == 3 * 600 * 70
    assert moving_operations(make_recipe("reinit-freeze@1", STAGES), STAGES, WORK) == 3 * 500 * 70


def test_gradual_costs_a_forward_pass_and_the_gradients_of_what_is_unfrozen() -> None:
    work = Workload(rows=20, views=3, steps=10, batch_size=10, early=2)
    # head; stage 3; stages 2 and 3; and the four steps that are left train all
    expected = 10 * (2 * 600 + 2 * (300 + 3 * 300) + 2 * (100 + 3 * 500) + 4 * 3 * 600)
    assert moving_operations(make_recipe("gradual", STAGES), STAGES, work) == expected
    short = Workload(rows=20, views=3, steps=3, batch_size=10, early=2)
    assert moving_operations(make_recipe("gradual", STAGES), STAGES, short) == 10 * (2 * 600 + 1200)


def test_a_frozen_stage_above_a_trained_one_costs_the_gradient_of_its_inputs() -> None:
    recipe = make_recipe("freeze@1", STAGES)
    phase = recipe.phases[0]
    parts = (phase.stages[0], phase.stages[1], Part(trained=False))
    assert step_operations(recipe, replace(phase, stages=parts), STAGES) == 3 * 200 + 2 * 300
    parts = (phase.stages[0], Part(trained=False, batchnorm="statistics"), phase.stages[2])
    assert step_operations(recipe, replace(phase, stages=parts), STAGES) == 200 + 3 * 300


def test_phases_before_the_last_take_an_epoch_each_or_two_thirds_of_all_steps() -> None:
    made = plan("gradual", epochs=20)
    recipe, block = made.rows[0].recipe, made.blocks[0]  # 30 rows: 3 steps an epoch, 60 in all
    by_hand = 10 * (3 * 600 + 3 * 1200 + 3 * 1600 + 51 * 1800) + 10 * 600
    assert made.trial_operations(block_trial(recipe, block, None)) == by_hand
    made = plan("gradual", epochs=3)  # 9 steps, 6 of them before the decay: 2 for each of three phases
    by_hand = 10 * (2 * 600 + 2 * 1200 + 2 * 1600 + 3 * 1800) + 10 * 600
    assert made.trial_operations(block_trial(recipe, block, None)) == by_hand


def test_trained_parameters_of_partial_strategies_are_counted_tensors() -> None:
    made = plan("norm", "finetune", partial={"norm": 7})
    assert [row.trained_parameters for row in made.rows] == [7 + 2 * 17, 60 + 2 * 17]


def test_a_race_tunes_three_rates_on_its_first_two_blocks() -> None:
    made = plan("baseline", "probe", "freeze@2", "finetune")
    assert [row.trials for row in made.rows] == [4, 4, 3 + 2 + 2, 3 + 2 + 2]
    assert [judge.index for judge in made.judges] == [0, 1]
    assert made.row("finetune").rates == (3e-5, 1e-4, 3e-4)
    assert made.row("probe").rates == made.row("baseline").rates == ()
    assert len(made.race_blocks()) == 4


def test_head_parameters_follow_from_the_width_at_the_cut() -> None:
    made = plan("probe", "probe@1", "baseline")
    assert [row.trained_parameters for row in made.rows] == [2 * 17, 2 * 5, 0]


@pytest.mark.parametrize(("epochs", "rates"), [(None, (0.5,)), (3, ())])
def test_of_a_given_rate_only_the_length_is_chosen(epochs: int | None, rates: tuple[float, ...]) -> None:
    made = plan("probe", "freeze@2", "finetune", lr=0.5, epochs=epochs)
    assert [row.trials for row in made.rows] == [4, 4, 4]
    assert made.row("finetune").recipe.rates == (0.5,)
    assert made.row("finetune").rates == rates
    assert made.row("probe").recipe.rates == ()


@pytest.mark.parametrize(
    ("lr", "epochs", "rates"),
    [
        (None, None, (3e-5, 1e-4, 3e-4)),
        (None, 5, (3e-5, 1e-4, 3e-4)),
        (0.5, None, (0.5,)),  # the length is to be chosen
        (0.5, 5, ()),  # nothing left to choose
    ],
)
def test_a_single_strategy_is_tuned_and_not_raced(
    lr: float | None, epochs: int | None, rates: tuple[float, ...]
) -> None:
    made = plan("finetune", alone=True, lr=lr, epochs=epochs)
    assert made.race_blocks() == ()
    assert made.rows[0].rates == rates
    assert made.rows[0].trials == {3: 3 + 2, 1: 2, 0: 0}[len(rates)]
    assert made.judges == made.inner


def test_a_trial_has_the_rows_of_its_split_and_a_length() -> None:
    made = plan("freeze@2", alone=True)
    trial = tune_trial(made.rows[0].recipe, made.judges[1], 1e-3, 300)
    assert (trial.purpose, trial.block, trial.steps) == ("tune", 1, 300)
    assert trial.train == tuple(made.inner[1].train.tolist())
    assert trial.validation == tuple(made.inner[1].validation.tolist())


def test_one_block_does_not_judge_its_own_rates() -> None:
    made = plan("finetune", count=1)
    assert made.judges == made.inner
    assert made.rows[0].rates
    bare = replace(made, inner=())
    assert make_plan(bare, [made.rows[0].recipe], lr=None).rows[0].rates == ()


def test_operations_of_a_trial_count_what_it_adds_to_shared_features() -> None:
    made = plan("probe", "freeze@2", "finetune", epochs=2)
    block = made.blocks[0]  # 30 rows to train on, 10 to look at; 3 steps an epoch
    by_name = {row.recipe.name: made.trial_operations(block_trial(row.recipe, block, None)) for row in made.rows}
    assert by_name == {
        "probe": 0.0,
        "freeze@2": 3 * 300 * 6 * 10 + 10 * 300,
        "finetune": 3 * 600 * 6 * 10 + 10 * 600,
    }


def test_use_cost_is_one_training_on_its_own_and_one_pass() -> None:
    made = plan("probe", "probe@1", "freeze@2", "finetune", epochs=2)  # 40 rows: 8 steps in 2 epochs, 2 views
    assert made.use_cost(made.row("probe").recipe) == 600 * 40 * 6 + 40 * 600
    assert made.use_cost(made.row("probe@1").recipe) == 100 * 40 * 6 + 40 * 100
    assert made.use_cost(made.row("freeze@2").recipe) == 300 * 40 * 2 + 3 * 300 * 80 + 40 * 600
    assert made.use_cost(made.row("finetune").recipe) == 3 * 600 * 80 + 40 * 600
    assert made.use_cost(made.row("finetune").recipe, 300) == 3 * 600 * 80 + 40 * 600  # --epochs says how many
    found = plan("finetune")
    assert found.use_cost(found.row("finetune").recipe, 300) == 3 * 600 * 3000 + 40 * 600
    assert made.row("finetune").cost == made.use_cost(made.row("finetune").recipe)


def test_the_whole_is_the_sum_of_its_parts() -> None:
    made = plan("probe", "freeze@2", "finetune", epochs=2)
    for row in made.rows:
        blocks = made.blocks
        if row.rates:  # three rates, then two, then one
            blocks = (blocks[0], blocks[0], blocks[0], blocks[1], blocks[1], *blocks[2:])
        trials = [block_trial(row.recipe, block, None) for block in blocks]
        expected = sum(map(made.trial_operations, trials))
        assert row.operations == pytest.approx(expected)
    assert made.operations == made.shared_operations + sum(row.operations for row in made.rows)


def test_shared_features_are_counted_to_the_deepest_cut_asked_for() -> None:
    # the evaluation view of 40 rows, and 10 views that are trained on or 6 that a head is solved on
    assert plan("freeze@1", "freeze@2", "finetune").shared_operations == 300 * ROWS * 11
    assert plan("probe", "finetune").shared_operations == 600 * ROWS * 7
    assert plan("finetune", "scratch").shared_operations == 0.0


def test_a_probe_alone_reads_its_own_views_only() -> None:
    assert plan("probe", alone=True).shared_operations == 600 * ROWS * 7


def test_the_plan_is_a_function_of_its_inputs() -> None:
    first, second = plan("probe", "finetune"), plan("probe", "finetune")
    assert [row.operations for row in first.rows] == [row.operations for row in second.rows]


def test_trial_keys_tell_all_trials_of_a_plan_apart() -> None:
    made = plan("probe", "probe@1", "freeze@1", "freeze@2", "finetune", "scratch", "baseline")
    splits = made.judges
    keys = [
        tune_trial(r.recipe, j, rate, n).key for r in made.rows for rate in r.rates for j in splits for n in (150, 300)
    ]
    keys += [
        block_trial(row.recipe, b, row.recipe.rates[0] if row.recipe.rates else None).key
        for row in made.rows
        for b in made.blocks
    ]
    assert len(set(keys)) == len(keys)


def test_what_is_not_trained_costs_its_inference_alone() -> None:
    made = plan("as-is", "probe")
    inference = made.development * sum(s.operations for s in STAGES)
    assert made.use_cost(made.row("as-is").recipe) == inference
    assert made.use_cost(made.row("probe").recipe) > inference
    assert (made.row("as-is").trained_parameters, made.row("as-is").rates) == (0, ())


def test_head_parameters_by_hand() -> None:
    assert head_parameters(make_recipe("probe", STAGES), 16, 3, 5) == 3 * 17
    deep = make_recipe("finetune", STAGES, Choices(head="mlp"))
    assert head_parameters(deep, 16, 3, 5) == 16 * 17 + 3 * 17  # as wide as the features, at most 512
    assert head_parameters(make_recipe("continue", STAGES), 16, 3, 5) == 5 * 17  # the network's own
