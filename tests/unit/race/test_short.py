"""The short race trains what can still change the verdict, and says of the rest why it doesn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from frostline.base.events import Event, silent
from frostline.base.records import Outcome
from frostline.race.plan import Plan, block_trial
from frostline.race.race import run_race
from frostline.race.result import RaceResult
from frostline.race.short import (
    AS_LIKELY_AS_NOT,
    CHANCE,
    FORECAST_ERROR,
    Foresight,
    Terms,
    chance_left,
    chance_to_matter,
    on_blocks,
)
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


def race(
    made: Plan, seen: Foresight, *, undertrained: bool = False, **right: int
) -> tuple[RaceResult, list[str], list[Event]]:
    """Run with a fixed number of right answers for each strategy; also the keys of what was run, and the events."""
    named = {name.replace("_", "@"): count for name, count in right.items()}
    keys: list[str] = []
    events: list[Event] = []

    def run(trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            keys.append(trial.key)
            count = min(named.get(trial.recipe.name, 5), len(trial.validation))
            yield outcome(trial, right=count, undertrained=undertrained)

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
    first = next(e for e in events if e.kind == "standing")
    assert events.index(first) < events.index(told[0])
    assert first.data["forecast"] == {"probe": 0.8, "freeze@2": 0.8, "freeze@1": 0.8, "finetune": 0.8}
    assert first.data["strategies"]["probe"]["accuracy"] == [0.9] * 4
    assert len(keys) == len(set(keys))  # nothing is run twice


def test_depths_that_cannot_change_the_verdict_are_not_trained() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=7)
    result, keys, events = race(made, seen, probe=9, freeze_2=8, finetune=7, scratch=0)
    assert set(result.spared) == {"freeze@1", "freeze@2", "finetune"}
    assert "isn't trained" in result.spared["freeze@1"]
    assert not any("/freeze@" in key for key in keys)
    assert {e.data["strategy"] for e in events if e.kind == "spared"} == {"freeze@1", "freeze@2", "finetune"}
    assert {o.strategy for o in result.outcomes if o.purpose == "block"} == {"baseline", "probe"}


def test_where_nothing_would_be_trained_an_early_reading_tests_the_forecast() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=2)

    def run_with(finetune: int) -> tuple[RaceResult, list[str], list[str]]:
        result, keys, events = race(made, seen, probe=9, freeze_2=8, finetune=finetune, scratch=0)
        notes = [e.text for e in events if e.kind == "note" and "test of the forecast" in e.text]
        return result, [key for key in keys if "/finetune/" in key], notes

    result, keys, notes = run_with(3)
    assert keys == ["block/finetune/0/0.0001/75 steps"]
    assert notes == [
        "A test of the forecast: finetune, untuned, reaches 0.300 on the first block, forecast 0.200; "
        "nothing speaks against the forecast."
    ]
    assert "finetune" in result.spared
    assert not result.of("finetune")  # the reading is kept as tuning, and gives no score
    assert len(result.of("finetune", "tune")) == 1
    result, keys, notes = run_with(10)
    assert "finetune" not in result.spared
    assert len(result.of("finetune")) == len(made.blocks)
    assert "trained in full" in notes[0]
    assert len(keys) == len(set(keys))
    tried = {key.split("/", 3)[3] for key in keys if "/finetune/0/" in key}
    assert tried == {"0.0001/75 steps", "0.0001/150 steps", "3e-05/150 steps"}  # the reading is a candidate, too


def test_the_favourite_is_trained_before_others_are_judged_where_it_may_win() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=6, freeze_2=9, freeze_1=2, finetune=6)
    result, keys, _ = race(made, seen, probe=6, freeze_2=9, finetune=6, scratch=0)
    assert set(result.spared) == {"freeze@1", "finetune"}
    assert len(result.of("freeze@2")) == len(made.blocks)
    # freeze@2 trains one stage of three, which is no test of what training all of them would do
    assert [key for key in keys if "/finetune/" in key] == ["block/finetune/0/0.0001/75 steps"]


def test_a_favourite_that_trains_most_stages_tests_the_forecast_itself() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=6, freeze_2=5, freeze_1=9, finetune=6)
    result, keys, _ = race(made, seen, probe=6, freeze_1=9, finetune=6, scratch=0)
    assert len(result.of("freeze@1")) == len(made.blocks)
    assert not any("/finetune/" in key for key in keys)


def test_a_depth_that_may_win_is_trained() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=2, freeze_2=8, freeze_1=8, finetune=6)
    result, keys, _ = race(made, seen, probe=2, freeze_2=5, freeze_1=9, finetune=8)
    assert not result.spared  # freeze@2 did worse than its forecast and speaks for no other depth
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
    seen = foresight(made, probe=8, freeze_2=7, freeze_1=7, finetune=9)
    result, keys, _ = race(made, seen, probe=9, freeze_2=8, finetune=2, scratch=0)
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


def test_predictions_count_by_their_precision() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=8, freeze_1=8, finetune=7)
    terms = Terms(n_train=30, n_test=10, margin=0.05, blocks=4)
    measured = [standing(made, "probe", 9), standing(made, "finetune", 7)]
    # by probe, whose forecast is the same sample by sample, 0.9 with a variance of 0.01^2 = 0.0001; by finetune, which
    # differs in 4 of 40 samples, 0.7 + 0.1 with one of 0.0001 + 0.1 x 0.9 / 40 = 0.00235: weights of 23.5 to 1
    predicted = (23.5 * 0.9 + 0.8) / 24.5
    disagreement = 0.1 * np.sqrt(23.5) / 24.5
    expected = norm.cdf((predicted - 0.9 - 0.05) / np.hypot(FORECAST_ERROR, disagreement))
    assert chance_to_matter("freeze@1", seen, measured, terms) == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.05, 0.15])
def test_a_cheaper_strategy_counts_by_being_as_good_where_that_is_as_likely_as_not(margin: float) -> None:
    made = plan(*NAMES)
    seen = foresight(made, freeze_2=8, finetune=9)
    terms = Terms(n_train=30, n_test=10, margin=margin, blocks=4)
    measured = [standing(made, "probe", 2), standing(made, "finetune", 9)]
    # freeze@2 is predicted at 0.8; its forecast differs from that of finetune in 4 of 40 samples
    spread = np.hypot(FORECAST_ERROR, 0.3 / np.sqrt(40))
    as_good = norm.cdf((0.8 - 0.9 + margin) / spread)
    better = norm.cdf((0.8 - 0.9 - margin) / spread)
    assert (as_good >= AS_LIKELY_AS_NOT) == (margin == 0.15)
    expected = as_good if margin == 0.15 else better
    assert chance_to_matter("freeze@2", seen, measured, terms) == pytest.approx(expected)


def test_one_badly_trained_strategy_does_not_speak_for_all_depths() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=7, freeze_2=8, freeze_1=8, finetune=8)
    terms = Terms(n_train=30, n_test=10, margin=0.01, blocks=4)
    measured = [standing(made, "probe", 7), standing(made, "finetune", 5)]
    assert chance_to_matter("freeze@2", seen, measured, terms) >= CHANCE
    assert seen.favourite == "freeze@2"  # the cheapest of three equal ones


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
    made = plan(*NAMES, max_steps=150)
    seen = foresight(made, probe=9, freeze_2=8, freeze_1=7, finetune=7)

    def run_with(scratch: int) -> tuple[RaceResult, list[str]]:
        result, keys, _ = race(
            made, seen, probe=9, freeze_2=7, freeze_1=7, finetune=7, scratch=scratch, undertrained=True
        )
        return result, [key for key in keys if "/scratch/" in key]

    dropped, keys = run_with(0)
    assert "early reading" in dropped.eliminated["scratch"]
    assert keys == ["block/scratch/0/0.001/75 steps"]
    assert not dropped.of("scratch")  # untuned, it has no score
    _, keys = run_with(8)
    tried = sorted(key.split("/", 3)[3] for key in keys if "/scratch/0/" in key)  # each rate once, beside the early one
    assert tried == ["0.0003/150 steps", "0.001/150 steps", "0.001/75 steps", "0.003/150 steps"]
    assert sum("/scratch/1/" in key for key in keys) == 2
    assert len(keys) == len(set(keys))


def test_a_strategy_far_below_its_forecast_is_looked_at_again() -> None:
    made = plan(*NAMES, max_steps=150)
    seen = foresight(made, probe=8, freeze_2=8, freeze_1=8, finetune=9)

    def tried(*, undertrained: bool) -> set[str]:
        _, keys, _ = race(made, seen, probe=8, freeze_2=8, freeze_1=8, finetune=5, scratch=0, undertrained=undertrained)
        return {key.split("/", 3)[3] for key in keys if "/finetune/0/" in key}

    again = {"3e-05/150 steps", "0.0001/150 steps", "1e-05/150 steps"}  # the last one beyond the edge
    assert tried(undertrained=False) == again
    assert tried(undertrained=True) == {*again, "0.0003/150 steps"}


@pytest.mark.parametrize(
    ("choose", "right", "further"),
    [
        (True, 9, False),  # it has reached its forecast, and the short race needs no more
        (True, 10, False),
        (True, 8, False),  # one sample of the ten is missing
        (True, 7, True),
        (False, 9, True),  # the user asked for it
    ],
)
def test_in_the_short_race_nothing_longer_is_tried_once_the_forecast_is_reached(
    choose: bool, right: int, further: bool
) -> None:
    made = plan(*NAMES)
    seen = foresight(made, choose=choose, probe=8, freeze_2=8, freeze_1=8, finetune=9)
    result, keys, _ = race(made, seen, undertrained=True, probe=8, freeze_2=8, freeze_1=8, finetune=right, scratch=0)
    tried = {key.split("/", 3)[3] for key in keys if "/finetune/0/" in key}
    assert len(result.of("finetune")) > 0
    assert any(key.endswith("/150 steps") for key in tried)
    assert any(key.endswith("/300 steps") for key in tried) is further
    assert not any(key.endswith("/75 steps") for key in tried)  # no early reading of what is trained anyway


def test_the_favourite_is_the_cheapest_of_the_best_forecasts() -> None:
    made = plan(*NAMES)
    found = {
        "probe": standing(made, "probe", 9, cost=0.0),  # takes no steps
        "finetune": standing(made, "finetune", 9),
        "freeze@1": standing(made, "freeze@1", 9),
        "freeze@2": standing(made, "freeze@2", 8),
    }
    assert Foresight(standings=found, choose=True).favourite == "freeze@1"
    assert Foresight(standings={"probe": found["probe"]}, choose=True).favourite is None


def test_a_single_block_never_chooses_the_candidate_it_is_scored_by() -> None:
    made = replace(plan(*NAMES, count=1), blocks=plan(*NAMES).blocks[:1])
    seen = foresight(made, probe=5, freeze_2=2, freeze_1=2, finetune=2)

    def run(trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            on_block = len(trial.validation) == len(made.blocks[0].validation) and trial.key.startswith("block")
            middle = trial.rate == 1e-3
            yield outcome(trial, loss=0.1 if middle == on_block else 0.6)  # folds and block disagree on the best rate

    result = run_race(made, run, labels=LABELS, margin=0.01, emit=silent, foresight=seen)
    (scored,) = result.of("scratch")
    assert scored.rate == result.rate("scratch") != 1e-3


def concluded(made: Plan, seen: Foresight, known: Callable[[str], bool], **right: int) -> RaceResult:
    """Race over the outcomes that an interrupted run left on disk."""
    named = {name.replace("_", "@"): count for name, count in right.items()}

    def run(trials: Sequence[Trial]) -> Iterator[Outcome]:
        for trial in trials:
            if known(trial.key):
                yield outcome(trial, right=min(named.get(trial.recipe.name, 5), len(trial.validation)))

    return run_race(made, run, labels=LABELS, margin=0.01, emit=silent, foresight=seen)


def test_a_strategy_stopped_in_its_first_blocks_does_not_cost_the_others_theirs() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=6, freeze_2=9, freeze_1=2, finetune=6)
    scores = {"probe": 6, "freeze_2": 9, "scratch": 0}
    one = concluded(made, seen, lambda key: "freeze@2" not in key or "/0/" in key, **scores)
    assert one.blocks == len(made.blocks)
    assert len(one.of("probe")) == len(made.blocks)
    assert "the race ended" in one.eliminated["freeze@2"]
    assert set(one.spared) | set(one.eliminated) >= {"freeze@1", "finetune", "freeze@2"}
    two = concluded(made, seen, lambda key: "freeze@2" not in key or "/0/" in key or "/1/" in key, **scores)
    assert two.blocks == 2  # two blocks of all say more than five of those that took no steps
    assert len(two.of("probe")) == len(two.of("freeze@2")) == 2
    assert two.left_out[0] == "2 of 4 planned blocks (not run)"
    assert {"freeze@1", "finetune"} <= set(two.eliminated)


def test_what_waited_is_left_out_where_the_run_was_stopped_before_it_finished() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=2, freeze_2=8, freeze_1=8, finetune=6)
    done = concluded(
        made, seen, lambda key: "freeze@1" not in key and "finetune" not in key, probe=2, freeze_2=5, scratch=0
    )
    assert done.blocks == len(made.blocks)
    assert {"freeze@1", "finetune"} <= set(done.eliminated)
    assert len(done.of("freeze@2")) == len(made.blocks)


def test_a_run_stopped_before_any_stage_was_trained_leaves_what_takes_no_steps() -> None:
    made = plan(*NAMES)
    seen = foresight(made, probe=2, freeze_2=8, freeze_1=8, finetune=6)
    done = concluded(made, seen, lambda key: key.endswith("/-"), probe=2)
    assert {o.strategy for o in done.outcomes} == {"baseline", "probe"}
    assert {"freeze@1", "freeze@2", "finetune", "scratch"} <= set(done.eliminated)


def test_the_race_ends_once_more_blocks_cannot_take_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(*NAMES)
    seen = replace(foresight(made, probe=2, freeze_2=2, freeze_1=9, finetune=2), may_end=True)
    scores: dict[str, Any] = {"probe": 2, "freeze_2": 2, "freeze_1": 10, "finetune": 2, "scratch": 0}
    result, keys, events = race(made, seen, **scores)
    assert result.ended is None  # twenty samples are too few to rest a verdict on
    monkeypatch.setattr("frostline.race.short.ENOUGH", 20)
    result, keys, events = race(made, seen, **scores)
    assert result.ended == result.blocks == 2
    assert {key.split("/")[2] for key in keys if "/freeze@1/" in key} == {"0", "1"}
    assert len(result.of("probe")) == 2  # all are compared on the same blocks
    (told,) = [e for e in events if e.kind == "ended"]
    assert told.text.startswith(
        "The race ends after 2 blocks: the probability that more would take the verdict from fr"
    )
    assert told.data["probability"] < 0.01
    close, _, _ = race(made, seen, **{**scores, "probe": 9})
    assert close.ended is None
    by_user, _, _ = race(made, replace(seen, may_end=False), **scores)
    assert by_user.ended is None
