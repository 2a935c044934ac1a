"""The learning curve: which rows it draws, what it runs, and what it reads from the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frostline.base.records import Block, Dataset, Outcome, Sample, Verdict
from frostline.bundle import schema
from frostline.conclude.learning import STEPPED_COST, draw_parts, learning_curve, plan_trials
from frostline.race.candidates import Candidate
from frostline.race.compare import score_interval
from frostline.race.plan import Plan, block_trial
from frostline.race.result import RaceResult
from frostline.race.standing import standing_from
from frostline.recipe.recipe import Trial
from frostline.record.curve import curve_record
from frostline.stats.curves import power_law
from frostline.stats.intervals import wilson
from frostline.stats.paired import corrected_paired, sample_variance
from helpers.race_plans import LABELS, Engine, blocks, outcome, plan

EVEN = tuple(
    Block(
        index=k,
        repeat=0,
        fold=k,
        train=np.array([r for r in range(40) if r // 8 != k]),
        validation=np.arange(8 * k, 8 * k + 8),
    )
    for k in range(5)
)
Answer = Callable[[Trial], Outcome]


def dataset(labels: Any = LABELS, groups: Any = None) -> Dataset:
    names = groups if groups is not None else range(len(labels))
    samples = tuple(
        Sample(id=f"{i}.png", path=None, label=int(label), part="development", group=str(group), sha256=f"{i}")
        for i, (label, group) in enumerate(zip(labels, names, strict=True))
    )
    classes = tuple(f"c{k}" for k in range(max(map(int, labels)) + 1))
    return Dataset(path="made", kind="folders", classes=classes, samples=samples, sealed_from="test/")


def one_block(rows: int, index: int = 0) -> Block:
    return Block(index=index, repeat=0, fold=index, train=np.arange(rows), validation=np.arange(0))


def verdict(strategy: str, best: str | None = None, runner_up: str | None = None) -> Verdict:
    return Verdict(strategy=strategy, best=best or strategy, reason="", runner_up=runner_up, samples_needed=None)


def share_right(shares: dict[int, float]) -> Answer:
    """Trials on so many rows get that share of their validation rows right; the race's own get the share at 0."""
    return lambda t: outcome(
        t, right=round(shares.get(len(t.train) if t.purpose == "curve" else 0, 0.5) * len(t.validation))
    )


def raced(made: Plan, answer: Answer) -> RaceResult:
    result = RaceResult(blocks=len(made.race_blocks()))
    for row in made.rows:
        rate = row.recipe.rates[0] if row.recipe.rates else None
        steps = made.scale.epochs is None and rate is not None
        if rate:
            result.chosen[row.recipe.name] = Candidate(rate, 200 if steps else None)
        result.outcomes += [
            answer(block_trial(row.recipe, b, rate, 200 if steps else None)) for b in made.race_blocks()
        ]
    return result


@dataclass(frozen=True)
class Read:
    """A learning curve and what the record says of it."""

    record: schema.LearningCurveRecord
    outcomes: Sequence[Outcome]


def curve(made: Plan, answer: Answer, chosen: Verdict, *, limited: bool = False) -> tuple[Read | None, Engine]:
    engine = Engine(answer)
    study: Any = SimpleNamespace(dataset=dataset(), seed=0)
    found = learning_curve(study, made, raced(made, answer), chosen, engine.run, limited=limited)
    return (Read(curve_record(found), found.outcomes) if found else None), engine


def test_parts_are_nested_halves_that_keep_the_classes_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], (80, 40, 16))
    (parts,) = [{s: rows[0] for s, rows in draw_parts(dataset(labels), [one_block(136)], seed=3).items()}]
    assert {s: np.bincount(labels[rows]).tolist() for s, rows in parts.items()} == {
        2: [40, 20, 8],
        4: [20, 10, 4],
        8: [10, 5, 2],
    }
    assert set(parts[8]) < set(parts[4]) < set(parts[2]) < set(range(136))


def test_parts_depend_on_seed_and_block_alone() -> None:
    two = [one_block(40), one_block(40, index=1)]
    first, again = (draw_parts(dataset(), two, seed=0)[2] for _ in range(2))
    assert all(np.array_equal(first[k], again[k]) for k in (0, 1))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], draw_parts(dataset(), two, seed=1)[2][0])
    assert np.array_equal(first[1], draw_parts(dataset(), two[1:], seed=0)[2][1])


def test_groups_are_never_torn_apart() -> None:
    labels, groups = np.arange(64) % 2, np.arange(64) // 4
    for rows in draw_parts(dataset(labels, groups), [one_block(64)], seed=0).values():
        inside = np.isin(np.arange(64), rows[0])
        assert all(len(set(inside[groups == g])) == 1 for g in range(16))


def test_a_size_that_does_not_fit_is_left_out_with_all_smaller_ones() -> None:
    few = np.repeat([0, 1], (30, 4))  # 2 of the second class in a half, 1 in a quarter
    assert list(draw_parts(dataset(few), [one_block(34)], seed=0)) == [2]
    assert draw_parts(dataset([0, 0, 1, 1]), [one_block(4)], seed=0) == {}
    assert draw_parts(dataset([0, 0, 0, 1, 1, 1]), [one_block(6)], seed=0) == {}  # 4 of 6 are no half
    one_group_each = np.arange(40) % 2
    assert draw_parts(dataset(one_group_each, one_group_each), [one_block(40)], seed=0) == {}


def test_a_size_that_one_block_lacks_is_left_out_of_all() -> None:
    short = replace(one_block(40, index=1), train=np.arange(10))
    assert list(draw_parts(dataset(), [one_block(40), short], seed=0)) == [2]


def test_solved_rivals_and_baseline_run_on_all_blocks_and_the_largest_parts_come_first() -> None:
    made = plan("baseline", "probe", "probe@2", "finetune")
    draws = draw_parts(dataset(), blocks(), seed=0)
    trials = plan_trials(made, raced(made, outcome), verdict("probe", "finetune", "probe@2"), draws, stepped=True)
    assert [t.recipe.name for t in trials[:12:4]] == ["probe", "probe@2", "baseline"]
    assert len(trials) == len(draws) * 3 * 4
    assert len({t.key for t in trials}) == len(trials)
    assert [len(t.train) for t in trials] == sorted((len(t.train) for t in trials), reverse=True)
    assert all(t.key.endswith(f"/{len(t.train)}") and t.purpose == "curve" for t in trials)
    for t in trials:
        block = made.blocks[t.block]
        assert set(t.train) < set(block.train.tolist())
        assert t.validation == tuple(block.validation.tolist())


def test_a_stepped_verdict_runs_on_two_blocks_where_that_is_cheap_and_never_under_a_budget() -> None:
    rivals = ("probe", "freeze@2", "finetune", "l2sp", "lp-ft", "scratch")
    draws = draw_parts(dataset(), blocks(), seed=0)
    for names, parts in ((rivals, [15, 15]), (rivals[:2], [])):
        made = plan(*names)
        race = raced(made, outcome)
        # the tuning counts too: two trainings a block
        counted = [
            2 * made.trial_operations(block_trial(made.row(o.strategy).recipe, made.blocks[o.block], o.rate, 200))
            for o in race.outcomes
        ]
        race.outcomes = [replace(o, operations=n) for o, n in zip(race.outcomes, counted, strict=True)]
        trials = plan_trials(made, race, verdict("freeze@2"), draws, stepped=True)
        own = [t for t in trials if t.recipe.name == "freeze@2"]
        assert [len(t.train) for t in own] == parts
        assert [t.block for t in own] == [0, 1][: len(parts)]
        assert all(t.rate == race.rate("freeze@2") and t.steps == 200 for t in own)
        assert sum(made.trial_operations(t) for t in own) <= STEPPED_COST * sum(counted)
        kept = plan_trials(made, race, verdict("freeze@2"), draws, stepped=False)
        assert {t.recipe.name for t in kept} == {"probe"}


def test_points_and_gain_are_those_of_the_blocks() -> None:
    made = plan("probe", "finetune")
    answer = share_right({0: 0.9, 15: 0.8, 7: 0.6})
    found, engine = curve(made, answer, verdict("probe", runner_up="finetune"))
    assert found is not None
    record, by_name = found.record, {c.name: c.points for c in found.record.curves}
    assert [(q.labels, q.blocks, q.accuracy) for q in by_name["probe"]] == [(7, 4, 0.6), (15, 4, 0.8), (30, 4, 0.9)]
    assert [q.labels for q in by_name["finetune"]] == [30]  # stepped rivals show the race's own size only
    assert len(found.outcomes) == len(engine.asked) == 2 * 4

    race = raced(made, answer)
    full = standing_from(race.of("probe"), LABELS, trained_parameters=0)
    assert by_name["probe"][-1].ci == score_interval(full, n_train=30, n_test=10)
    half = np.concatenate(
        [
            np.array(o.probabilities).argmax(1) == LABELS[list(o.rows)]
            for o in found.outcomes
            if len(o.key) and o.key.endswith("/15")
        ]
    )
    floor = sample_variance(full.correct, half.astype(float)) / 10
    wanted = corrected_paired(np.full(4, 0.1), n_train=30, n_test=10, floor=floor, floor_df=3)
    assert record.gain is not None
    assert (record.gain.fewer, record.gain.labels, record.gain.blocks) == (15, 30, 4)
    assert record.gain.difference == pytest.approx(0.1)
    assert record.gain.ci == pytest.approx(wanted.ci)
    assert record.reading == "undecided"
    assert record.sentence.startswith("Doubling the labels from 15 to 30 brought probe 10.0 points")


def test_further_repeats_count_for_the_full_size_only() -> None:
    made = plan("probe", "probe@2")
    made = replace(made, blocks=tuple(replace(b, repeat=b.index // 2) for b in made.blocks))
    found, *_ = curve(made, share_right({0: 0.9, 15: 0.8}), verdict("probe"))
    assert found is not None
    assert {o.block for o in found.outcomes} == {0, 1}
    assert [q.blocks for q in found.record.curves[0].points] == [2, 2, 4]
    assert found.record.gain is not None
    assert found.record.gain.blocks == 2


def test_four_sizes_are_projected_to_twice_the_labels() -> None:
    made = replace(plan("probe", "freeze@2"), blocks=EVEN)
    found, *_ = curve(made, share_right({0: 0.9, 16: 0.8, 8: 0.7, 4: 0.6}), verdict("probe"))
    assert found is not None
    points = found.record.curves[0].points
    assert [q.labels for q in points] == [4, 8, 16, 32]
    law = power_law([4, 8, 16, 32], [1 - q.accuracy for q in points])
    assert law is not None
    assert found.record.projection is not None
    assert found.record.projection.labels == 64
    assert found.record.projection.accuracy == pytest.approx(1 - law.error(64))
    assert found.record.projection.accuracy > points[-1].accuracy


def trials_of(made: Plan) -> list[Trial]:
    draws = draw_parts(dataset(), made.race_blocks(), seed=0)
    return plan_trials(made, raced(made, outcome), verdict("probe"), draws, stepped=True)


def test_a_single_block_gets_wilsons_interval() -> None:
    made = replace(plan("probe", "finetune"), blocks=blocks()[:1])
    found, *_ = curve(made, share_right({0: 0.9}), verdict("probe"))
    assert found is not None
    assert found.record.curves[0].points[-1].ci == wilson(9, 10)
    assert "on a single block" in found.record.sentence


def test_a_size_that_was_not_finished_everywhere_is_left_out() -> None:
    made = plan("probe", "probe@2")

    def answer(t: Trial) -> Outcome:
        broken = t.purpose == "curve" and t.recipe.name == "probe" and len(t.train) == 15 and t.block == 2
        return outcome(t, error="no" if broken else None)

    found, *_ = curve(made, answer, verdict("probe", runner_up="probe@2"))
    assert found is not None
    assert [q.labels for q in found.record.curves[0].points] == [7, 30]
    assert found.record.gain is not None
    assert found.record.gain.strategy == "probe@2"
    why = "probe was not finished on fewer labels, so the curve of probe@2 is shown instead. "
    assert found.record.sentence.startswith(why)


@pytest.mark.parametrize(
    ("names", "chosen", "limited", "words"),
    [
        (("probe", "freeze@2"), "freeze@2", False, "5 % of the comparison, so the curve of probe is shown instead."),
        (("probe", "freeze@2"), "freeze@2", True, "have no learning curve, so the curve of probe is shown instead."),
        (("freeze@2", "finetune"), "freeze@2", False, "There is no learning curve: no strategy that uses"),
    ],
)
def test_a_verdict_without_a_curve_of_its_own_says_why(
    names: tuple[str, ...], chosen: str, limited: bool, words: str
) -> None:
    found, *_ = curve(plan(*names), outcome, verdict(chosen, runner_up=names[0]), limited=limited)
    assert found is not None
    assert words in found.record.sentence
    assert (found.record.gain is None) == (found.record.reading is None) == ("There is no" in words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("probe", "probe@2"), "another network, or training more of its layers, would be the thing to try."),
        (("probe", "scratch"), "another network, or training more of its layers, would be the thing to try."),
        (("probe", "finetune"), "help little; another network would be the thing to try."),
    ],
)
def test_training_more_layers_is_only_advised_where_it_was_not_tried(
    names: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.stats.curves.LITTLE", 0.5)
    found, *_ = curve(plan(*names), outcome, verdict("probe"))
    assert found is not None
    assert found.record.reading == "little"
    assert words in found.record.sentence


def test_a_strategy_that_ran_alone_has_no_curve() -> None:
    found, engine = curve(plan("probe", alone=True), outcome, verdict("probe"))
    assert found is None
    assert engine.asked == []
