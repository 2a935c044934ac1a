from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frostline.race.eliminate import (
    beyond_doubt,
    luck_of_runs,
    rows_decided,
    standard_luck,
)
from frostline.race.verdict import decide
from helpers.race_studies import draw, rights, standings

NAMES = ["baseline", "probe", "finetune", "freeze@2", "freeze@3", "scratch"]
FOLDS: dict[str, Any] = {"n_train": 200, "n_test": 50, "margin": 0.01, "looks": 4}


def race(correct: np.ndarray, *, per_block: int, blocks: int = 5) -> dict[str, int]:
    """Who is dropped after how many blocks, asked after every block but the last."""
    gone: dict[str, int] = {}
    for seen in range(1, blocks):
        group = standings(correct[:, : seen * per_block], per_block=per_block, eliminated=gone)
        dropped = beyond_doubt(group, looks=blocks - 1, n_train=(blocks - 1) * per_block, n_test=per_block, margin=0.01)
        gone |= dict.fromkeys(dropped, seen)
    return gone


def test_a_hopeless_strategy_goes_with_a_reason():
    group = standings(rights(30, 47, 46, 48, 46, 15, per_block=50, blocks=2), per_block=50, names=NAMES)
    dropped = beyond_doubt(group, **FOLDS)
    assert list(dropped) == ["scratch"]
    assert dropped["scratch"] == (
        "scratch is 66.0 points behind freeze@2 after 2 blocks (right alone on 0 samples "
        "against 66), more than luck explains."
    )


def test_anchors_and_baseline_stay_however_bad():
    group = standings(rights(5, 5, 5, 48, 46, 47, per_block=50, blocks=3), per_block=50, names=NAMES)
    assert beyond_doubt(group, **FOLDS) == {}


def test_the_baseline_drops_nobody():
    group = standings(rights(50, 20, 20, 21, 20, 20, per_block=50, blocks=3), per_block=50, names=NAMES)
    assert beyond_doubt(group, **FOLDS) == {}


def test_nothing_is_dropped_when_there_is_nothing_left_to_save():
    group = standings(rights(30, 47, 46, 48, 46, 15, per_block=50, blocks=1), per_block=50, names=NAMES)
    assert beyond_doubt(group, **(FOLDS | {"looks": 0})) == {}


def test_strategies_that_miss_a_block_are_left_alone():
    group = standings(rights(30, 47, 46, 48, 46, 15, per_block=50, blocks=2), per_block=50, names=NAMES)
    group[-1] = replace(group[-1], blocks=group[-1].blocks[:1])
    assert beyond_doubt(group, **FOLDS) == {}


def test_after_one_block_none_goes_since_a_run_may_have_failed():
    group = standings(rights(900, 900, 900, 780, 900, 100, per_block=1000, blocks=1), per_block=1000, names=NAMES)
    assert beyond_doubt(group, n_train=4000, n_test=1000, margin=0.01, looks=4) == {}


def test_a_sure_but_modest_loss_is_left_open():
    """10 points on 2,000 samples are no luck of the samples, but may be luck of the training sets."""
    group = standings(rights(900, 900, 900, 800, 900, 500, per_block=1000, blocks=2), per_block=1000, names=NAMES)
    assert list(beyond_doubt(group, n_train=4000, n_test=1000, margin=0.01, looks=4)) == ["scratch"]


def test_a_loss_within_three_margins_is_left_open():
    group = standings(rights(940, 940, 940, 600, 940, 940, per_block=1000, blocks=4), per_block=1000, names=NAMES)
    assert beyond_doubt(group, n_train=4000, n_test=1000, margin=0.2, looks=4) == {}


def test_a_strategy_that_fails_only_in_one_block_is_left_open():
    correct = rights(45, 45, 45, 45, 45, 45, per_block=50, blocks=3)
    correct[5, :50] = 0  # one run went wrong: 30 points behind in the mean, for a reason that more blocks will tell
    assert beyond_doubt(standings(correct, per_block=50, names=NAMES), **FOLDS) == {}


def test_a_row_predicted_in_several_repeats_counts_once():
    a, b = standings(rights(10, 6, per_block=20, blocks=2), per_block=20)
    again = np.column_stack([a.keys[:, 0], a.keys[:, 1] % 20])
    assert rows_decided(a, b) == (8, 0)
    assert rows_decided(replace(a, keys=again), replace(b, keys=again)) == (4, 0)


def test_luck_of_runs_sets_shrinks_less_than_with_independent_ones():
    one, five = (standings(rights(15, 15, per_block=10_000, blocks=j), per_block=10_000) for j in (1, 5))
    shrunk, whole = (standard_luck(*group, ratio=0.25, of_runs=0.0) for group in (five, one))
    assert shrunk / whole == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 + 1 / 4)), rel=0.01)


def test_luck_of_runs_is_that_of_the_simulation():
    rng = np.random.default_rng(3)
    erratic, steady = (
        np.sqrt(
            np.mean(
                [
                    luck_of_runs(standings(draw(rng, [0.8] * 8, blocks=5, per_block=400, runs=luck), per_block=400))
                    ** 2
                    for _ in range(40)
                ]
            )
        )
        for luck in (0.06, 0.0)
    )
    assert erratic == pytest.approx(np.sqrt(2) * 0.06, rel=0.08)  # a difference of two
    assert steady < 0.01


@pytest.mark.parametrize(("luck", "runs"), [(0.01, 0.08), (0.02, 0.04)])
def test_equal_strategies_with_erratic_runs_are_hardly_ever_dropped(luck, runs):
    """Dropping after one block already, and taking the luck of runs for granted, hit 78 and 18 studies in 100."""
    rng, hit = np.random.default_rng(0), 0
    for _ in range(50):
        correct = draw(rng, [0.85] * 8, blocks=5, per_block=100, luck=luck, runs=runs)
        hit += bool(race(correct, per_block=100))
    assert hit <= 1


@pytest.mark.parametrize(("per_block", "luck"), [(10, 0.025), (50, 0.01)])
def test_equal_strategies_are_dropped_in_less_than_one_study_of_a_hundred(per_block, luck):
    rng = np.random.default_rng(0)
    hit = sum(
        bool(race(draw(rng, [0.85] * 8, blocks=5, per_block=per_block, luck=luck), per_block=per_block))
        for _ in range(200)
    )
    assert hit / 200 < 0.01


def test_dropping_saves_runs_and_leaves_the_verdict_alone():
    rng, saved, changed = np.random.default_rng(1), 0, 0
    for _ in range(25):
        correct = draw(rng, [0.92, 0.92, 0.91, 0.9, 0.82, 0.72, 0.6], blocks=5, per_block=50, luck=0.01)
        gone = race(correct, per_block=50)
        saved += sum(5 - after for after in gone.values())
        verdicts = [
            decide(standings(correct, per_block=50, eliminated=e), n_train=200, n_test=50, margin=0.01).strategy
            for e in ((), gone)
        ]
        changed += verdicts[0] != verdicts[1]
    assert changed == 0
    assert saved / 25 >= 4
