"""The race with a made-up run(): tuning, failures, elimination, and that order doesn't count."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from frostline.base.events import Event, silent
from frostline.base.records import Outcome
from frostline.race.plan import make_plan
from frostline.race.race import run_race
from frostline.race.result import RaceResult, block_sizes, standings
from frostline.recipe.recipe import Trial
from frostline.recipe.selection import make_recipe
from helpers.race_plans import LABELS, Engine, outcome, plan

NAMES = ("baseline", "probe", "freeze@2", "finetune")


def raced(engine: Engine, *names: str, events: list[Event] | None = None, **options: Any) -> RaceResult:
    made = plan(*(names or NAMES), **options)
    emit = silent if events is None else events.append
    return run_race(made, engine.run, labels=LABELS, margin=0.01, emit=emit)


def rates(result: RaceResult) -> dict[str, float]:
    return {name: candidate.rate for name, candidate in result.chosen.items()}


def asked(engine: Engine, name: str) -> list[str]:
    """Block, rate and steps of every trial of a strategy that was asked for."""
    return sorted(key.split("/", 2)[2] for key in engine.asked if f"/{name}/" in key)


def by_loss(losses: dict[float, float], *, undertrained: bool = False) -> Engine:
    """Each trial gets the loss of its rate."""

    def answer(trial: Trial) -> Outcome:
        loss = losses.get(trial.rate, 0.6) if trial.rate else 0.3
        return outcome(trial, loss=loss, undertrained=undertrained)

    return Engine(answer)


def cut_short(losses: dict[float, float]) -> Engine:
    """As `by_loss`, but all trainings were cut short, so that higher rates are tried, too. Goes with max_steps=150, so
    that no longer ones follow."""
    return by_loss(losses, undertrained=True)


def test_tuning_takes_the_lowest_log_loss_of_each_strategy() -> None:
    engine = cut_short({3e-5: 0.5, 1e-4: 0.4, 3e-4: 0.6, 1e-3: 0.2})
    result = raced(engine, "probe", "lora", "finetune", max_steps=150)
    assert rates(result) == {"lora": 1e-3, "finetune": 1e-4}
    assert [o.rate for o in result.of("finetune")] == [1e-4] * 4


def test_all_rates_meet_the_first_judge_and_those_in_question_the_second() -> None:
    engine = cut_short({3e-5: 0.4, 1e-4: 0.4, 3e-4: 0.6})
    raced(engine, "probe", "finetune", max_steps=150)
    first = ["0/0.0001/150 steps", "0/0.0003/150 steps", "0/3e-05/150 steps"]
    second = ["1/0.0001/150 steps", "1/3e-05/150 steps"]
    assert asked(engine, "finetune") == [*first, *second, "2/3e-05/150 steps", "3/3e-05/150 steps"]
    clear = cut_short({3e-5: 0.5, 1e-4: 0.4, 3e-4: 0.6})
    raced(clear, "probe", "finetune", max_steps=150)
    assert asked(clear, "finetune") == [*first, *(f"{block}/0.0001/150 steps" for block in (1, 2, 3))]


def test_a_higher_rate_is_not_tried_where_the_lower_one_was_better() -> None:
    engine = cut_short({3e-5: 0.3, 1e-4: 0.4, 3e-4: 0.2})
    assert rates(raced(engine, "probe", "finetune", max_steps=150)) == {"finetune": 3e-5}
    assert asked(engine, "finetune")[:2] == ["0/0.0001/150 steps", "0/3e-05/150 steps"]
    assert not any("0.0003" in key for key in asked(engine, "finetune"))


def test_a_higher_rate_is_tried_unless_the_lower_one_was_better() -> None:
    assert rates(raced(by_loss({3e-5: 0.5, 1e-4: 0.4, 3e-4: 0.2}), "probe", "finetune")) == {"finetune": 3e-4}
    engine = by_loss({3e-5: 0.3, 1e-4: 0.4, 3e-4: 0.2})
    assert rates(raced(engine, "probe", "finetune")) == {"finetune": 3e-5}
    assert not any("0.0003" in key for key in asked(engine, "finetune"))


def test_what_the_second_judge_cut_short_is_tried_longer_on_both() -> None:
    def answer(trial: Trial) -> Outcome:
        steps = trial.steps or 0
        return outcome(trial, loss=0.5 - steps / 2000, undertrained=trial.block == 1 and steps < 300)

    engine = Engine(answer)
    result = raced(engine, "probe", "finetune")
    assert result.steps("finetune") == 300
    keys = asked(engine, "finetune")
    assert {key for key in keys if "300 steps" in key} == {f"{block}/3e-05/300 steps" for block in range(4)}
    assert not any("600 steps" in key for key in keys)
    assert [o.steps for o in result.of("finetune")] == [300] * 4


def test_the_first_candidates_have_150_steps_or_the_most_there_may_be() -> None:
    for most, first in ((600, 150), (150, 150), (75, 75)):
        engine = by_loss({})
        raced(engine, "probe", "finetune", max_steps=most)
        assert {key.split("/")[2] for key in asked(engine, "finetune")} == {f"{first} steps"}


def test_ties_go_to_the_lower_rate() -> None:
    engine = cut_short(dict.fromkeys((3e-5, 1e-4, 3e-4), 0.4))
    assert rates(raced(engine, "probe", "finetune", max_steps=150)) == {"finetune": 3e-5}
    assert any("0.0003" in key for key in asked(engine, "finetune"))


def test_a_training_that_was_cut_short_is_tried_longer_and_its_neighbour_begins_there() -> None:
    def answer(trial: Trial) -> Outcome:
        steps = trial.steps or 0
        return outcome(trial, loss=0.5 - steps / 2000 + (trial.rate or 0.0), undertrained=steps < 600)

    engine = Engine(answer)
    result = raced(engine, "probe", "freeze@2", "finetune")
    assert {name: c.steps for name, c in result.chosen.items()} == {"freeze@2": 600, "finetune": 600}
    assert result.steps("finetune") == 600
    first = [key.removeprefix("0/") for key in asked(engine, "freeze@2") if key.startswith("0/")]
    assert first == sorted([f"{rate:g}/150 steps" for rate in (1e-4, 3e-4)] + ["0.0001/300 steps", "0.0001/600 steps"])
    first = [key.removeprefix("0/") for key in asked(engine, "finetune") if key.startswith("0/")]
    assert first == sorted(f"{rate:g}/600 steps" for rate in (1e-4, 3e-5, 1e-5))  # lower while that helps, once


def test_a_lower_rate_gets_the_longer_training_too() -> None:
    losses = {(1e-4, 150): 0.5, (3e-4, 150): 0.4, (3e-4, 300): 0.45, (1e-4, 300): 0.3}
    engine = Engine(
        lambda t: outcome(t, loss=losses.get((t.rate or 0.0, t.steps or 0), 0.6), undertrained=t.steps == 150)
    )
    result = raced(engine, "probe", "finetune")
    assert (result.rate("finetune"), result.steps("finetune")) == (1e-4, 300)


def test_a_longer_training_that_is_no_better_is_not_taken() -> None:
    engine = Engine(lambda t: outcome(t, loss=0.3 if t.steps == 150 else 0.4, undertrained=True))
    assert {c.steps for c in raced(engine, "probe", "finetune").chosen.values()} == {150}
    assert {key.split("/")[2] for key in asked(engine, "finetune")} == {"150 steps", "300 steps"}  # tried once


def test_a_deeper_strategy_does_not_try_the_higher_rates_of_its_neighbour() -> None:
    engine = cut_short({1e-4: 0.4, 3e-4: 0.3, 1e-3: 0.6, 3e-5: 0.5})
    raced(engine, "probe", "freeze@2", "finetune", max_steps=150)
    assert any("0.001/" in key for key in asked(engine, "freeze@2"))
    assert {key.split("/")[1] for key in asked(engine, "finetune")} == {"0.0003", "0.0001"}


def test_a_rate_that_the_user_gave_is_never_replaced() -> None:
    engine = Engine(lambda t: outcome(t, undertrained=True, loss=0.5 - (t.steps or 0) / 2000))
    result = raced(engine, "probe", "freeze@2", "finetune", lr=0.5)
    assert rates(result) == {"freeze@2": 0.5, "finetune": 0.5}
    assert result.steps("finetune") == 600
    assert {o.rate for o in result.outcomes} == {None, 0.5}


def test_a_rate_that_fails_is_not_chosen_and_stops_nothing() -> None:
    engine = Engine(lambda t: outcome(t, error="the loss is nan" if t.rate == 3e-5 else None, loss=t.rate or 0.1))
    result = raced(engine)
    assert rates(result)["finetune"] == 1e-4
    assert not result.failed


def test_a_strategy_whose_every_rate_fails_is_out_and_the_others_go_on() -> None:
    engine = Engine(lambda t: outcome(t, error="the loss is nan" if t.recipe.name == "finetune" else None))
    result = raced(engine)
    assert result.failed == {"finetune": "the loss is nan"}
    assert {key.split("/")[2] for key in engine.asked if "/finetune/" in key} == {"0"}
    assert len(result.of("probe")) == len(result.of("freeze@2")) == 4


def test_a_strategy_that_fails_on_a_block_stops_there_and_takes_no_part() -> None:
    def answer(trial: Trial) -> Outcome:
        broken = trial.recipe.name == "freeze@2" and trial.block == 1
        return outcome(trial, error="diverged" if broken else None)

    engine = Engine(answer)
    result = raced(engine)
    assert result.failed == {"freeze@2": "diverged"}
    assert sorted({o.block for o in result.of("freeze@2")}) == [0, 1]
    found = {s.name: s for s in standings(plan(*NAMES), result, LABELS)}
    assert found["freeze@2"].eliminated
    assert len(found["probe"].blocks) == 4


def test_the_result_does_not_depend_on_the_order_of_outcomes() -> None:
    def answer(trial: Trial) -> Outcome:
        luck = sum(map(ord, trial.key)) % 5
        return outcome(trial, right=len(trial.validation) - luck, loss=0.2 + luck / 10)

    forwards, backwards = raced(Engine(answer)), raced(Engine(answer, backwards=True))
    assert asdict(forwards) == asdict(backwards)


def test_one_hopeless_strategy_is_dropped_and_its_blocks_are_saved() -> None:
    # 40 rows are few, so the hopeless one gets all of them wrong: right alone on 20 samples against 0 after two blocks
    def answer(trial: Trial) -> Outcome:
        return outcome(trial, right=0 if trial.recipe.name == "scratch" else None)

    engine = Engine(answer)
    events: list[Event] = []
    result = raced(engine, "probe", "finetune", "scratch", events=events)
    assert set(result.eliminated) == {"scratch"}
    assert len(result.of("scratch")) < 4
    assert len(result.of("probe")) == len(result.of("finetune")) == 4
    assert [e.data["strategy"] for e in events if e.kind == "eliminated"] == ["scratch"]
    assert "scratch is 100.0 points behind" in result.eliminated["scratch"]


def test_the_standing_is_told_as_it_counts() -> None:
    def answer(trial: Trial) -> Outcome:
        right = {"scratch": 0, "probe": 9}.get(trial.recipe.name)
        return outcome(trial, right=right, undertrained=True)

    events: list[Event] = []
    made = plan("probe", "finetune", "scratch", max_steps=150)
    result = run_race(made, Engine(answer).run, labels=LABELS, margin=0.01, emit=events.append)
    told = [e.data for e in events if e.kind == "standing"]
    assert json.loads(json.dumps(told)) == told
    last = told[-1]
    assert last["dropped"] == ["scratch"]
    for found in standings(made, result, LABELS):
        accuracy = last["strategies"][found.name]["accuracy"]
        assert accuracy == [*(b.score for b in found.blocks), *[None] * (4 - len(found.blocks))]
        assert last["strategies"][found.name]["rate"] == result.rate(found.name)
        assert found.accuracy == pytest.approx(found.score)
    assert told[0]["strategies"]["finetune"]["accuracy"][1:] == [None] * 3  # after the first block


def test_after_the_last_block_nobody_is_dropped_any_more() -> None:
    engine = Engine(lambda t: outcome(t, right=0 if t.recipe.name == "scratch" else None))
    assert not raced(engine, "probe", "scratch", count=1).eliminated


def test_a_strategy_alone_is_tuned_by_two_folds_and_runs_no_block() -> None:
    engine = cut_short({3e-5: 0.4, 1e-4: 0.4, 3e-4: 0.6})
    result = raced(engine, "finetune", alone=True, max_steps=150)
    assert rates(result) == {"finetune": 3e-5}
    assert {o.purpose for o in result.outcomes} == {"tune"}
    assert sorted(o.block for o in result.outcomes) == [0, 0, 0, 1, 1]
    assert result.steps("finetune") == 150


def test_a_single_block_does_not_judge_what_it_scores() -> None:
    engine = Engine(
        lambda t: outcome(t, loss=0.2 if t.purpose == "tune" and t.rate == 1e-4 else 0.3, undertrained=True)
    )
    result = raced(engine, "probe", "finetune", count=1, max_steps=150)
    assert sorted(o.block for o in result.of("finetune", "tune")) == [0, 0, 0, 1]
    assert [o.rate for o in result.of("finetune")] == [1e-4]


def test_a_given_rate_is_used_on_every_block() -> None:
    result = raced(Engine(outcome), lr=0.5)
    assert rates(result) == {"freeze@2": 0.5, "finetune": 0.5}
    assert {o.rate for o in result.outcomes} == {None, 0.5}


def test_with_given_epochs_steps_are_the_median_of_the_blocks() -> None:
    steps = {0: 100, 1: 500, 2: 130, 3: 170}
    engine = Engine(lambda t: replace(outcome(t), steps=steps[t.block]))
    assert raced(engine, epochs=3).steps("finetune") == 150
    assert RaceResult().steps("finetune") is None


def test_costs_of_standings_count_the_steps_really_taken() -> None:
    engine = Engine(lambda t: replace(outcome(t), steps=200))
    made = plan(*NAMES, epochs=3)
    result = run_race(made, engine.run, labels=LABELS, margin=0.01, emit=silent)
    found = {s.name: s for s in standings(made, result, LABELS)}
    assert found["finetune"].cost == made.use_cost(made.row("finetune").recipe, 200)
    assert found["baseline"].is_baseline
    assert block_sizes(made) == (30.0, 10.0)


def test_standings_know_which_rows_were_right() -> None:
    engine = Engine(lambda t: outcome(t, right=7))
    found = standings(plan("probe"), raced(engine, "probe"), LABELS)
    assert [b.score for b in found[0].blocks] == pytest.approx([0.7] * 4)
    assert found[0].correct.sum() == 28


def test_what_cannot_be_tuned_gets_the_middle_rate() -> None:
    made = replace(plan("probe", count=1), inner=())
    made = make_plan(made, [make_recipe("finetune", made.scale.stages)], lr=None)
    result = run_race(made, Engine(outcome).run, labels=LABELS, margin=0.01, emit=silent)
    assert rates(result) == {"finetune": 1e-4}
