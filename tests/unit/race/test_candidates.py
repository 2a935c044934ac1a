"""The choice of rate and length, by losses written down sample by sample."""

from __future__ import annotations

import math

import pytest

from frostline.base.records import Outcome
from frostline.race.candidates import (
    Candidate,
    chosen_on,
    in_question,
    longer,
    next_rate,
    ranked,
    second_look,
    wants_higher,
)
from frostline.race.plan import block_trial
from helpers.race_plans import LABELS, outcome, plan

MADE = plan("finetune")
LOW, MIDDLE, HIGH = Candidate(3e-5, 150), Candidate(1e-4, 150), Candidate(3e-4, 150)


def reading(candidate: Candidate, block: int, losses: list[float], *, undertrained: bool = False) -> Outcome:
    """An outcome whose ten held-out samples have these losses, over and over."""
    trial = block_trial(MADE.rows[0].recipe, MADE.blocks[block], candidate.rate, candidate.steps)
    bare = outcome(trial, undertrained=undertrained)
    own = [math.exp(-losses[i % len(losses)]) for i in range(len(bare.rows))]
    rows = [(p, 1 - p) if LABELS[row] == 0 else (1 - p, p) for row, p in zip(bare.rows, own, strict=True)]
    return Outcome(**{**{f: getattr(bare, f) for f in bare.__dataclass_fields__}, "probabilities": tuple(rows)})


def test_the_lowest_mean_loss_wins_where_it_is_clear() -> None:
    found = {c: {0: reading(c, 0, [loss])} for c, loss in ((LOW, 0.5), (MIDDLE, 0.3), (HIGH, 0.4))}
    assert ranked(found, [0], LABELS) == [MIDDLE, HIGH, LOW]


@pytest.mark.parametrize(("by", "expected"), [(0.04, LOW), (0.06, MIDDLE)])
def test_a_lower_rate_within_half_a_standard_error_is_taken(by: float, expected: Candidate) -> None:
    # the losses differ by `by` plus or minus 0.3 in turn: a standard error of 0.3 / sqrt(10) = 0.095
    found = {LOW: {0: reading(LOW, 0, [1.0 + by + 0.3, 1.0 + by - 0.3])}, MIDDLE: {0: reading(MIDDLE, 0, [1.0])}}
    assert ranked(found, [0], LABELS)[0] == expected


def test_of_one_rate_the_better_length_stands() -> None:
    long = Candidate(1e-4, 300)
    found = {MIDDLE: {0: reading(MIDDLE, 0, [0.9, 0.1])}, long: {0: reading(long, 0, [0.49])}}
    assert ranked(found, [0], LABELS) == [long, MIDDLE]


def test_what_failed_or_misses_a_judge_is_not_ranked() -> None:
    failed = outcome(block_trial(MADE.rows[0].recipe, MADE.blocks[0], 3e-4, 150), error="nan")
    found = {LOW: {0: reading(LOW, 0, [0.5])}, MIDDLE: {0: reading(MIDDLE, 0, [0.4]), 1: reading(MIDDLE, 1, [0.4])}}
    assert ranked({**found, HIGH: {0: failed}}, [0], LABELS) == [MIDDLE, LOW]
    assert ranked({**found, HIGH: {0: failed}}, [0, 1], LABELS) == [MIDDLE]
    assert ranked({HIGH: {0: failed}}, [0], LABELS) == []


def test_a_block_is_scored_by_what_the_other_judge_chose() -> None:
    found = {
        MIDDLE: {0: reading(MIDDLE, 0, [0.4]), 1: reading(MIDDLE, 1, [0.2]), 2: reading(MIDDLE, 2, [0.3])},
        HIGH: {0: reading(HIGH, 0, [0.3]), 1: reading(HIGH, 1, [0.5])},
    }
    assert [chosen_on(found, block, [0, 1], LABELS) for block in (0, 1, 2, 3)] == [MIDDLE, HIGH, MIDDLE, None]


def test_a_second_candidate_stays_in_question_within_a_standard_error() -> None:
    near = {LOW: {0: reading(LOW, 0, [1.07 + 0.3, 1.07 - 0.3])}, MIDDLE: {0: reading(MIDDLE, 0, [1.0])}}
    order = ranked(near, [0], LABELS)
    assert in_question(order, near, 0, LABELS) == [MIDDLE, LOW]
    far = {LOW: {0: reading(LOW, 0, [1.2 + 0.3, 1.2 - 0.3])}, MIDDLE: {0: reading(MIDDLE, 0, [1.0])}}
    assert in_question(ranked(far, [0], LABELS), far, 0, LABELS) == [MIDDLE]


@pytest.mark.parametrize(
    ("lower", "middle", "undertrained", "expected"),
    [
        (0.3, 0.4, True, False),  # lower is better: the other side is further off still
        (0.5, 0.4, False, False),  # the middle one has fitted: higher isn't needed
        (0.5, 0.4, True, True),
        (0.4, 0.4, True, True),  # as good isn't better
        (None, 0.4, True, True),  # the lower one failed, which shows no way down
        (0.5, None, True, False),  # the middle one failed, a higher one would all the more
    ],
)
def test_a_higher_rate_is_wanted_where_lower_is_no_better_and_the_middle_was_cut_short(
    lower: float | None, middle: float | None, undertrained: bool, expected: bool
) -> None:
    def found(candidate: Candidate, loss: float | None) -> Outcome:
        trial = block_trial(MADE.rows[0].recipe, MADE.blocks[0], candidate.rate, candidate.steps)
        if loss is None:
            return outcome(trial, error="nan", undertrained=undertrained)
        return outcome(trial, loss=loss, undertrained=undertrained)

    readings = {MIDDLE: {0: found(MIDDLE, middle)}, LOW: {0: found(LOW, lower)}}
    assert wants_higher(readings, [MIDDLE, LOW, HIGH], 0, hurried=True) is expected
    lower_is_better = lower is not None and middle is not None and lower < middle
    assert wants_higher(readings, [MIDDLE, LOW, HIGH], 0, hurried=False) is not lower_is_better


def test_a_higher_rate_waits_for_a_reading_of_the_middle_one_on_the_judge() -> None:
    readings = {MIDDLE: {1: reading(MIDDLE, 1, [0.4], undertrained=True)}}
    assert not wants_higher(readings, [MIDDLE, LOW, HIGH], 0, hurried=True)
    assert wants_higher(
        readings, [MIDDLE, LOW, HIGH], 1, hurried=True
    )  # where the lower one is missing, it wasn't better


def test_what_was_cut_short_is_tried_longer_with_the_next_lower_rate_too() -> None:
    short = reading(HIGH, 0, [0.5], undertrained=True)
    assert longer(HIGH, short, [LOW, MIDDLE, HIGH], 600) == [Candidate(3e-4, 300), Candidate(1e-4, 300)]
    assert longer(LOW, short, [LOW, MIDDLE, HIGH], 600) == [Candidate(3e-5, 300)]
    assert longer(Candidate(3e-4, 300), short, [HIGH], 600) == [Candidate(3e-4, 600)]
    assert longer(HIGH, short, [HIGH], 150) == []
    assert longer(HIGH, reading(HIGH, 0, [0.5]), [HIGH], 600) == []
    assert longer(Candidate(1e-4), short, [Candidate(1e-4)], 600) == []  # --epochs gives the length


def test_a_second_look_goes_beyond_the_edge_or_longer() -> None:
    tried = [LOW, MIDDLE, HIGH]
    assert second_look(LOW, tried, 600) == Candidate(1e-5, 150)
    assert second_look(HIGH, tried, 600) == Candidate(1e-3, 150)
    assert second_look(MIDDLE, tried, 600) == Candidate(1e-4, 300)
    assert second_look(Candidate(1e-4, 600), [*tried, Candidate(1e-4, 600)], 600) is None


def test_rates_go_in_half_decades() -> None:
    assert [next_rate(1e-4, 1), next_rate(3e-4, 1), next_rate(1e-4, -1), next_rate(5e-4, -1)] == [
        3e-4,
        1e-3,
        3e-5,
        1e-4,
    ]
    assert next_rate(0.02, 1) == 0.1
