"""The race with a made-up run(): tuning, failures, elimination, and that order doesn't count."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from frostline.base.events import Event, silent
from frostline.base.records import Outcome
from frostline.race.race import RaceResult, block_sizes, run_race, standings
from frostline.recipe.recipe import Trial
from helpers.race_plans import LABELS, Engine, outcome, plan

NAMES = ("baseline", "probe", "freeze@2", "finetune")


def raced(engine: Engine, *names: str, events: list[Event] | None = None, **options: Any) -> RaceResult:
    made = plan(*(names or NAMES), **options)
    emit = silent if events is None else events.append
    return run_race(made, engine.run, labels=LABELS, margin=0.01, emit=emit)


def by_loss(losses: dict[float, float]) -> Engine:
    """Tuning trials get the loss of their rate."""
    return Engine(lambda t: outcome(t, loss=losses[t.rate] if t.purpose == "tune" and t.rate else 0.3))


def test_tuning_takes_the_lowest_log_loss_of_each_strategy() -> None:
    engine = by_loss({3e-5: 0.5, 1e-4: 0.4, 3e-4: 0.6, 1e-3: 0.2})
    result = raced(engine)
    assert result.rates == {"freeze@2": 1e-3, "finetune": 1e-4}
    assert [k for k in engine.asked if k.startswith("block/finetune")] == [
        f"block/finetune/{b}/0.0001" for b in range(4)
    ]


def test_ties_go_to_the_lower_rate() -> None:
    assert raced(by_loss(dict.fromkeys((3e-5, 1e-4, 3e-4, 1e-3), 0.4))).rates == {"freeze@2": 1e-4, "finetune": 3e-5}


def test_a_rate_that_fails_is_not_chosen_and_stops_nothing() -> None:
    engine = Engine(lambda t: outcome(t, error="the loss is nan" if t.rate == 3e-5 else None, loss=t.rate or 0.1))
    result = raced(engine)
    assert result.rates["finetune"] == 1e-4
    assert not result.failed


def test_a_strategy_whose_every_rate_fails_is_out_and_the_others_go_on() -> None:
    engine = Engine(lambda t: outcome(t, error="the loss is nan" if t.recipe.name == "finetune" else None))
    result = raced(engine)
    assert result.failed == {"finetune": "the loss is nan"}
    assert not [k for k in engine.asked if k.startswith("block/finetune")]
    assert len(result.of("probe")) == len(result.of("freeze@2")) == 4


def test_a_strategy_that_fails_on_a_block_stops_there_and_takes_no_part() -> None:
    def answer(trial: Trial) -> Outcome:
        broken = trial.recipe.name == "freeze@2" and trial.purpose == "block" and trial.block == 1
        return outcome(trial, error="diverged" if broken else None)

    engine = Engine(answer)
    result = raced(engine)
    assert result.failed == {"freeze@2": "diverged"}
    assert [o.block for o in result.of("freeze@2")] == [0, 1]
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


def test_after_the_last_block_nobody_is_dropped_any_more() -> None:
    engine = Engine(lambda t: outcome(t, right=0 if t.recipe.name == "scratch" else None))
    assert not raced(engine, "probe", "scratch", count=1).eliminated


def test_a_strategy_alone_is_tuned_and_runs_no_block() -> None:
    engine = by_loss({3e-5: 0.5, 1e-4: 0.4, 3e-4: 0.6})
    result = raced(engine, "finetune", alone=True)
    assert result.rates == {"finetune": 1e-4}
    assert {o.purpose for o in result.outcomes} == {"tune"}
    assert result.steps("finetune") == 120


def test_a_given_rate_is_used_on_every_block() -> None:
    engine = Engine(outcome)
    result = raced(engine, lr=0.5)
    assert result.rates == {"freeze@2": 0.5, "finetune": 0.5}
    assert not [k for k in engine.asked if k.startswith("tune")]


def test_steps_are_the_median_of_the_blocks() -> None:
    steps = {0: 100, 1: 500, 2: 130, 3: 170}
    engine = Engine(lambda t: outcome(t, steps=steps[t.block] if t.purpose == "block" else 100))
    result = raced(engine)
    assert result.steps("finetune") == 150
    assert RaceResult().steps("finetune") is None


def test_costs_of_standings_count_the_steps_really_taken() -> None:
    engine = Engine(lambda t: outcome(t, steps=200))
    made = plan(*NAMES)
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
    import numpy as np

    from frostline.race.plan import make_plan
    from frostline.recipe.selection import make_recipe

    made = plan("probe")
    bare = type(made)(
        skipped={}, blocks=made.blocks, inner=(np.arange(4), np.arange(0)), development=4, scale=made.scale, alone=False
    )
    made = make_plan(bare, [make_recipe("finetune", made.scale.stages)], lr=None)
    result = run_race(made, Engine(outcome).run, labels=LABELS, margin=0.01, emit=silent)
    assert result.rates == {"finetune": 1e-4}
