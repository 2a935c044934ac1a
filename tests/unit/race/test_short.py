"""The short race trains what can still change the verdict, and says of the rest why it doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy.stats import norm

from frostline.base.events import Event, silent
from frostline.base.records import Outcome
from frostline.race.plan import Plan, block_trial
from frostline.race.race import run_race
from frostline.race.result import RaceResult
from frostline.race.short import FORECAST_ERROR, Foresight, Terms, chance_left, chance_to_matter, on_blocks
from frostline.race.standing import Standing, standing_from
from frostline.recipe.recipe import Trial
from helpers.race_plans import LABELS, outcome, plan

NAMES = ("baseline", "probe", "freeze@2", "freeze@1", "finetune", "scratch")


def standing(made: Plan, name: str, right: int, *, cost: float | None = None, loss: float | None = None) -> Standing:
    """A strategy that has `right` of the ten samples of every block right; its log loss is its own."""
    own = 0.5 + NAMES.index(name) / 1000
    outcomes = [
        outcome(block_trial(made.row(name).recipe, b, 1e-4), right=right, loss=loss or own) for b in made.blocks
    ]
    row = made.row(name)
    return standing_from(
        outcomes,
        LABELS,
        cost=row.cost if cost is None else cost,
        trained_parameters=row.trained_parameters,
        is_anchor=name in ("probe", "finetune"),
    )


def foresight(made: Plan, *, choose: bool = True, **right: int) -> Foresight:
    named = {name.replace("_", "@"): count for name, count in right.items()}
    found = {name: standing(made, name, count, cost=0.0 if name == "probe" else None) for name, count in named.items()}
    return Foresight(standings=found, choose=choose)


def race(made: Plan, seen: Foresight, **right: int) -> tuple[RaceResult, list[str], list[Event]]:
    """Run with a fixed number of right answers for each strategy; also the keys of what was run, and the events."""
    named = {name.replace("_", "@"): count for name, count in right.items()}
    keys: list[str] = []
    events: list[Event] = []

    def run(trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            keys.append(trial.key)
            yield outcome(trial, right=min(named.get(trial.recipe.name, 5), len(trial.validation)))

    result = run_race(made, run, labels=LABELS, margin=0.01, emit=events.append, foresight=seen)
    return result, keys, events


def test_what_takes_no_steps_is_run_first_and_a_provisional_verdict_is_told() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=8, freeze_2=8, freeze_1=8, finetune=8)
    result, keys, events = race(made, seen, probe=9, finetune=5)
    first_step = next(i for i, key in enumerate(keys) if key.endswith("steps"))
    assert {key.split("/")[1] for key in keys[:first_step]} == {"baseline", "probe"}
    told = [e for e in events if e.kind == "provisional"]
    assert [e.data["strategy"] for e in told] == ["probe"] == [result.provisional]
    assert "Provisional verdict" in told[0].text
    assert len(keys) == len(set(keys))  # nothing is run twice


def test_a_depth_that_cannot_change_the_verdict_is_not_trained() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=7)
    result, keys, events = race(made, seen, probe=9, freeze_2=8, finetune=7, scratch=0)
    assert set(result.spared) == {"freeze@1", "freeze@2"}
    assert "isn't trained" in result.spared["freeze@1"]
    assert not any("/freeze@" in key for key in keys)
    assert {e.data["strategy"] for e in events if e.kind == "spared"} == {"freeze@1", "freeze@2"}
    assert {o.strategy for o in result.outcomes if o.purpose == "block"} == {"baseline", "probe", "finetune"}


def test_the_favourite_is_trained_before_others_are_judged_where_it_may_win() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=6, freeze_2=9, freeze_1=2, finetune=6)
    result, _, _ = race(made, seen, probe=6, freeze_2=9, finetune=6, scratch=0)
    assert set(result.spared) == {"freeze@1"}
    assert len(result.of("freeze@2")) == len(made.blocks)


def test_a_depth_that_may_win_is_trained() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=2, freeze_2=8, freeze_1=8, finetune=6)
    result, keys, _ = race(made, seen, probe=2, freeze_2=5, freeze_1=9, finetune=8)
    assert not result.spared  # finetune did better than its forecast, freeze@2 worse: freeze@1 may win
    assert sum("block/freeze@1/" in key for key in keys) == len(made.blocks)


def test_named_strategies_are_always_run_in_full() -> None:
    made = plan(*NAMES)
    seen = foresight(made, choose=False, probe=9, freeze_2=8, freeze_1=2, finetune=2)
    result, _, _ = race(made, seen, probe=9, freeze_2=8, freeze_1=8, finetune=8, scratch=8)
    assert not result.spared
    assert all(len(result.of(name)) == len(made.blocks) for name in NAMES)


def test_without_a_forecast_the_outcomes_are_the_same() -> None:
    made = plan(*NAMES)
    seen = foresight(made, choose=False, probe=9, freeze_2=8, freeze_1=8, finetune=8)

    def run(trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            yield outcome(trial, right=8)

    plain = run_race(made, run, labels=LABELS, margin=0.01, emit=silent)
    told = run_race(made, run, labels=LABELS, margin=0.01, emit=silent, foresight=seen)
    assert {o.key for o in plain.outcomes} == {o.key for o in told.outcomes}
    assert plain.chosen == told.chosen


def test_a_losing_arm_stops_once_more_blocks_cannot_change_the_verdict() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=7)
    result, keys, _ = race(made, seen, probe=9, freeze_2=8, finetune=5, scratch=2)
    assert "stopped after 2 blocks" in result.eliminated["finetune"]
    assert {key.split("/")[2] for key in keys if "/finetune/" in key} == {"0", "1"}


def test_the_chance_is_that_of_a_normal_prediction() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=8, freeze_1=8, finetune=8)
    terms = Terms(n_train=30, n_test=10, margin=0.05, blocks=4)
    measured = [standing(made, "probe", 9), standing(made, "finetune", 8)]
    # forecasts are equal sample by sample, so the predictions are the measured 0.9 and 0.8, which disagree by 0.05
    expected = norm.cdf((0.85 - 0.9 - 0.05) / np.hypot(FORECAST_ERROR, 0.05))
    assert chance_to_matter("freeze@1", seen, measured, terms) == pytest.approx(expected)


def test_one_badly_trained_strategy_does_not_speak_for_all_depths() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=7, freeze_2=8, freeze_1=8, finetune=8)
    terms = Terms(n_train=30, n_test=10, margin=0.01, blocks=4)
    measured = [standing(made, "probe", 7), standing(made, "finetune", 5)]
    assert chance_to_matter("freeze@2", seen, measured, terms) > 0.2
    assert seen.favourite == "freeze@2"  # not finetune, which is trained anyway


def test_a_finished_arm_and_one_that_leads_run_on() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=8, finetune=8)
    terms = Terms(n_train=30, n_test=10, margin=0.01, blocks=4)
    leader = standing(made, "finetune", 9)
    probe = standing(made, "probe", 6)
    assert chance_left(leader, seen, [probe, leader], terms) == 1.0
    early = on_blocks(leader, {0, 1})
    assert chance_left(early, seen, [probe, early], terms) == 1.0
    assert chance_left(on_blocks(standing(made, "finetune", 2), {0, 1}), seen, [probe], terms) < 0.01


def test_a_standing_on_some_blocks_keeps_their_rows() -> None:
    made = plan(*NAMES)
    whole = standing(made, "probe", 7)
    part = on_blocks(whole, {1, 3})
    assert part.block_indices == (1, 3)
    assert set(np.unique(part.keys[:, 0])) == {1, 3}
    assert part.score == pytest.approx(0.7)


def test_scratch_is_dropped_on_an_early_reading_or_keeps_its_chance() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=7)

    def run_with(scratch: int) -> tuple[RaceResult, list[str]]:
        result, keys, _ = race(made, seen, probe=9, freeze_2=7, freeze_1=7, finetune=7, scratch=scratch)
        return result, [key for key in keys if "/scratch/" in key]

    dropped, keys = run_with(0)
    assert "early reading" in dropped.eliminated["scratch"]
    assert keys == ["block/scratch/0/0.001/100 steps"]
    assert not dropped.of("scratch")  # untuned, it has no score
    _, keys = run_with(8)
    assert sum("/scratch/0/" in key for key in keys) == 3  # each rate once, the early one included
    assert sum("/scratch/1/" in key for key in keys) == 2
    assert len(keys) == len(set(keys))


def test_a_strategy_far_below_its_forecast_is_looked_at_again() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=9, freeze_1=9, finetune=9)
    _, keys, _ = race(made, seen, probe=9, freeze_2=9, freeze_1=9, finetune=5, scratch=0)
    tried = {key.split("/", 3)[3] for key in keys if "/finetune/0/" in key}
    assert tried == {"3e-05/100 steps", "0.0001/100 steps", "0.0003/100 steps", "1e-05/100 steps"}


def test_the_favourite_is_another_depth_than_the_anchors() -> None:
    made = plan(*NAMES)
    found = {
        "finetune": standing(made, "finetune", 9, loss=0.3),
        "freeze@1": standing(made, "freeze@1", 9, loss=0.3),  # trains what finetune trains
        "freeze@2": standing(made, "freeze@2", 8, loss=0.4),
    }
    assert Foresight(standings=found, choose=True).favourite == "freeze@2"
