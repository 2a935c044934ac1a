"""From evidence to the record: nothing is recorded that wasn't run, and a pair reads the same both ways round."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from frostline.base.records import Block, Verdict
from frostline.race.compare import versus_best
from frostline.race.plan import Plan, Scale
from frostline.race.result import RaceResult
from frostline.race.standing import BlockScore, Standing
from frostline.record.compose import block_records, plan_event
from frostline.record.evidence import Evidence
from frostline.record.strategies import sample_interval, versus_record
from helpers import race_plans

ROWS = 60


def plan(alone: bool = False) -> Plan:
    rows = np.arange(ROWS)
    blocks = tuple(
        Block(index=k, repeat=k // 2, fold=k % 2, train=rows[rows % 2 != k % 2], validation=rows[rows % 2 == k % 2])
        for k in range(4)
    )
    scale: Any = Scale(
        stages=(), widths=[], classes=2, source_classes=5, batch_size=10, epochs=None, solved_views=1, stepped_views=1
    )
    return Plan(skipped={}, blocks=blocks, inner=(), development=ROWS, scale=scale, alone=alone)


def standing(name: str, right: np.ndarray) -> Standing:
    """`right` (60,): 1 where a row's prediction is right; each row is in two of the four blocks (two repeats)."""
    keys = np.array([(b.index, row) for b in plan().blocks for row in b.validation])
    correct = right[keys[:, 1]].astype(np.float64)
    scores = tuple(
        BlockScore(index=k, score=float(correct[keys[:, 0] == k].mean()), log_loss=0.5, n=ROWS // 2) for k in range(4)
    )
    return Standing(
        name=name,
        cost=1.0,
        trained_parameters=1,
        blocks=scores,
        keys=keys,
        correct=correct,
        values=correct,
        is_baseline=name == "baseline",
    )


def evidence(*standings: Standing, best: str = "probe") -> Evidence:
    verdict = Verdict(strategy=best, best=best, reason="", runner_up=None, samples_needed=None)
    return Evidence(
        plan=plan(),
        labels=np.zeros(0, dtype=np.int64),
        race=RaceResult(),
        standings=standings,
        accuracies=standings,
        verdict=verdict,
        margin=0.01,
        refits={},
        tests={},
        packages={},
    )


def row_pattern(count: int) -> np.ndarray:
    return (np.arange(ROWS) < count).astype(int)


def test_a_baseline_that_beats_the_best_is_recorded_as_better() -> None:
    found = evidence(standing("baseline", row_pattern(ROWS)), standing("probe", row_pattern(6)))
    against = versus_best(found.pairs, "probe")["baseline"]
    assert versus_record(found, against).outcome == "better"


def test_repeats_do_not_make_a_row_count_as_several_samples() -> None:
    found = evidence(standing("probe", row_pattern(45)), standing("finetune", row_pattern(30)))
    low, high = sample_interval(found, "probe", "finetune")
    share = 15 / ROWS  # of independent rows, whatever the number of repeats
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / ROWS), rel=0.1)


@pytest.mark.parametrize("right", [30, 45])
def test_a_pair_reads_the_same_both_ways_round(right: int) -> None:
    found = evidence(standing("probe", row_pattern(45)), standing("finetune", row_pattern(right)))
    low, high = sample_interval(found, "finetune", "probe")
    back = sample_interval(found, "probe", "finetune")
    assert (low, high) == (-back[1], -back[0])
    assert "-0.0" not in {repr(v) for v in (low, high, *back)}


def test_a_strategy_alone_lists_no_blocks() -> None:
    assert len(block_records(plan())) == 4
    assert block_records(plan(alone=True)) == []


def test_the_event_of_a_plan_names_its_strategies_and_the_number_of_blocks() -> None:
    told = plan_event(race_plans.plan("probe", "finetune"))
    assert json.loads(json.dumps(told)) == told
    assert [row["name"] for row in told["rows"]] == ["probe", "finetune"]
    assert told["blocks"] == 4
    assert plan_event(race_plans.plan("finetune", alone=True))["blocks"] == 0
