from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from frostline.base.errors import TrialError
from frostline.base.records import Outcome
from frostline.race import verdict as rule
from frostline.race.compare import compare, compare_all, score_interval, versus_best
from frostline.race.standing import best_of, complete, standing_from
from frostline.stats.calibration import tempered
from frostline.stats.metrics import log_loss
from helpers.race_studies import draw, rights, standings

FOLDS: dict[str, Any] = {"n_train": 80, "n_test": 20}
BIG: dict[str, Any] = {"n_train": 800, "n_test": 200}


def outcome(strategy="probe", *, block=0, rows=(3, 1), probabilities=((0.9, 0.1), (0.2, 0.8)), **more):
    fields = {
        "key": f"{strategy}-{block}",
        "purpose": "block",
        "rate": None,
        "accuracy": 0.5,
        "log_loss": 0.7,
        "steps": 1,
        "epochs": 1.0,
        "undertrained": False,
        "l2": None,
        "seconds": 1.0,
        "operations": 10.0,
    }
    return Outcome(strategy=strategy, block=block, rows=rows, probabilities=probabilities, **(fields | more))


def test_a_standing_holds_every_row_out_of_fold_in_order():
    labels = np.array([1, 1, 0, 1])
    done = [outcome(block=1, rows=(2, 0)), outcome(block=0), outcome(purpose="tune", block=0)]
    s = standing_from([*done, outcome(block=2, error="out of memory")], labels, trained_parameters=5)
    assert s.keys.tolist() == [[0, 1], [0, 3], [1, 0], [1, 2]]
    assert s.correct.tolist() == [1, 0, 1, 1]  # rows 1 and 3: guessed 1 and 0; rows 0 and 2: guessed 1 and 0
    assert (s.name, s.cost, s.score, s.block_indices) == ("probe", 10.0, 0.5, (0, 1))


@pytest.mark.parametrize(
    "outcomes",
    [[], [outcome("probe"), outcome("finetune")], [outcome(), outcome()]],
    ids=["none", "two-strategies", "one-block-twice"],
)
def test_outcomes_that_are_not_one_strategys_blocks_are_refused(outcomes):
    with pytest.raises(ValueError, match="outcomes"):
        standing_from(outcomes, np.array([1, 1, 0, 1]), trained_parameters=5)


def test_only_strategies_with_every_block_are_complete():
    whole, other, gone = standings(rights(15, 16, 17), per_block=20, eliminated=["s2"])
    partly = replace(other, name="failed", blocks=other.blocks[:3])
    assert [s.name for s in complete([whole, partly, gone])] == ["s0"]


def test_ties_for_the_best_go_to_log_loss_then_cost_then_name():
    a, b, c = standings(rights(16, 16, 16), per_block=20, costs=[3, 2, 2])
    assert best_of([a, b, c]).name == "s1"
    sharper = replace(a, blocks=tuple(replace(x, log_loss=0.01) for x in a.blocks))
    assert best_of([sharper, b, c]).name == "s0"


def test_all_pairs_are_compared_under_holm_and_the_difference_is_the_mean_over_blocks():
    rng = np.random.default_rng(0)
    group = standings(draw(rng, [0.9, 0.88, 0.6, 0.4], blocks=5, per_block=200), per_block=200)
    found = compare_all(group, **BIG, margin=0.01)
    assert [(c.a, c.b) for c in found] == list(combinations(["s0", "s1", "s2", "s3"], 2))
    alone = [compare(a, b, **BIG) for a, b in combinations(group, 2)]
    assert [c.p for c in found] == pytest.approx(multipletests([r.p for r in alone], method="holm")[1])
    for c, r in zip(found, alone, strict=True):
        assert (c.difference, c.ci) == (r.mean, r.ci)
    assert found[0].difference == pytest.approx(group[0].score - group[1].score)
    assert {c.outcome for c in found if {c.a, c.b} != {"s0", "s1"}} == {"better"}


def test_equal_predictions_on_many_samples_are_as_good_and_on_few_undecided():
    many = standings(np.repeat(rights(180, per_block=200), 2, axis=0), per_block=200)
    assert compare_all(many, **BIG, margin=0.01)[0].outcome == "as-good"
    few = standings(np.repeat(rights(18), 2, axis=0), per_block=20)
    assert compare_all(few, **FOLDS, margin=0.01)[0].outcome == "undecided"


def test_against_the_best_a_difference_reads_strategy_minus_best():
    rng = np.random.default_rng(1)
    group = standings(draw(rng, [0.5, 0.95, 0.6], blocks=5, per_block=200), per_block=200)
    pairs = compare_all(group, **BIG, margin=0.01)
    turned = versus_best(pairs, "s1")
    assert set(turned) == {"s0", "s2"}
    for name, c in turned.items():
        assert (c.a, c.b, c.outcome) == (name, "s1", "worse")
        assert c.ci[0] < c.difference < c.ci[1] < 0


def test_strategies_judged_on_different_rows_are_not_compared():
    a, b = standings(rights(15, 16), per_block=20)
    with pytest.raises(ValueError, match="same rows"):
        compare(a, replace(b, keys=b.keys + 1), **FOLDS)


def test_one_block_is_compared_by_exact_mcnemar_on_its_samples():
    a, b = standings(rights(60, 50, per_block=80, blocks=1), per_block=80)
    assert compare(a, b, n_train=160, n_test=80).p == pytest.approx(stats.binomtest(0, 10).pvalue)
    low, high = score_interval(a, n_train=160, n_test=80)
    assert (low, high) == pytest.approx((0.645, 0.832), abs=0.001)  # Wilson for 60 of 80


def test_perfect_blocks_keep_an_interval_with_a_width():
    (s,) = standings(rights(20), per_block=20)
    low, high = score_interval(s, **FOLDS)
    assert high == 1
    assert 0.9 < low < 0.985


def test_the_cheapest_within_one_standard_error_and_the_margin_is_chosen():
    correct = np.ones((4, 1000))
    for row, wrong in zip(correct, (400, 58, 52, 50), strict=True):
        row[np.arange(wrong) * 2] = 0  # spread over the first blocks: nested errors, as between alike strategies
        row[:] = row.reshape(200, 5).T.reshape(-1)
    group = standings(correct, per_block=200)
    found = rule.decide(group, **BIG, margin=0.01)
    assert (found.best, found.strategy, found.runner_up) == ("s3", "s2", "s3")
    assert found.reason == (
        "s2 is the cheapest strategy within one standard error and 1 point of the best (s3, 0.950): 0.948 on 5 blocks."
    )
    assert rule.decide(group, **BIG, margin=0.01, prefer="accuracy").strategy == "s3"


def test_a_noisy_small_set_does_not_stretch_the_margin():
    rng = np.random.default_rng(2)
    correct = draw(rng, [0.8, 0.85], blocks=5, per_block=20, alike=0.1)
    correct[0, :] = rng.permuted(np.repeat([1.0, 0.0], [82, 18]))
    correct[1, :] = rng.permuted(np.repeat([1.0, 0.0], [85, 15]))
    cheap, best = standings(correct, per_block=20)
    deficit = compare(best, cheap, **FOLDS)
    assert deficit.mean < deficit.se  # the one-standard-error rule alone would take the cheap one
    assert rule.decide([cheap, best], **FOLDS, margin=0.01).strategy == "s1"


def test_one_sample_less_on_a_small_set_is_within_the_margin():
    a = np.ones(40)
    a[[3, 17]] = 0
    b = np.ones(40)
    b[3] = 0
    found = rule.decide(standings(np.stack([a, b]), per_block=8), n_train=32, n_test=8, margin=0.01)
    assert (found.best, found.strategy) == ("s1", "s0")
    assert "one standard error and one sample of the best" in found.reason


def told(standing, right, wrong, temperature=1.0):
    """With probabilities of two classes: `right` and `wrong` go to the true class of samples that were right and wrong;
    an array for right ones goes over them in turn."""
    correct = standing.correct.astype(bool)
    truth = np.arange(len(correct)) % 2
    true = np.empty(len(correct))
    true[correct] = np.resize(right, int(correct.sum()))
    true[~correct] = wrong
    probabilities = np.where(truth[:, None] == np.arange(2), true[:, None], 1 - true[:, None])
    return replace(standing, probabilities=tempered(probabilities, temperature), labels=truth)


def small_rivals():
    """A cheap strategy that missed two of 40 samples, and a dear one that missed one."""
    correct = np.ones((2, 40))
    correct[0, [3, 17]] = 0
    correct[1, 3] = 0
    return standings(correct, per_block=8)


def test_the_calibrated_loss_is_that_at_the_temperature_with_the_least_log_loss():
    cheap, _ = small_rivals()
    assert cheap.calibrated_loss is None
    s = told(cheap, [0.6, 0.95], 0.2)
    grid = [log_loss(tempered(s.probabilities, t), s.labels) for t in np.geomspace(0.05, 20, 400)]
    assert s.calibrated_loss >= min(grid) - 1e-4
    assert s.calibrated_loss <= log_loss(s.probabilities, s.labels)
    sharpened = told(cheap, [0.6, 0.95], 0.2, temperature=0.2)
    assert sharpened.calibrated_loss == pytest.approx(s.calibrated_loss, abs=1e-3)
    assert log_loss(sharpened.probabilities, s.labels) > sharpened.calibrated_loss + 0.01


def test_log_loss_speaks_where_so_few_samples_say_nothing_of_accuracy():
    cheap, best = small_rivals()
    sizes: dict[str, Any] = {"n_train": 32, "n_test": 8, "margin": 0.01}
    unsure = told(cheap, [0.6, 0.7], 0.05)
    sure = told(best, [0.9, 0.98], 0.4)
    assert unsure.calibrated_loss > sure.calibrated_loss + 0.01
    found = rule.decide([unsure, sure], **sizes)
    assert found.strategy == "s1"
    assert found.reason == (
        "s1 has the best mean accuracy, and what is cheaper and comes within one standard error and one sample of it "
        "has a higher log loss, by more than 0.01 nats: 0.975 on 5 blocks."
    )
    alike = told(cheap, [0.97, 0.99], 0.49)
    assert rule.decide([alike, sure], **sizes).strategy == "s0"
    overconfident = told(cheap, [0.97, 0.99], 0.49, temperature=0.2)  # which its temperature takes back
    assert rule.decide([overconfident, sure], **sizes).strategy == "s0"
    assert rule.decide([unsure, best], **sizes).strategy == "s0"  # nothing to compare without probabilities
    third = replace(told(best, [0.9, 0.98], 0.4), name="s2", cost=9.0)
    found = rule.decide([unsure, replace(sure, cost=1.5), third], **sizes)
    assert found.strategy == "s1"


def test_what_accuracy_shows_to_be_as_good_needs_no_log_loss():
    correct = np.ones((2, 4000))
    correct[:, ::20] = 0
    correct[0, 1] = 0
    cheap, best = standings(correct, per_block=800)
    sizes: dict[str, Any] = {"n_train": 3200, "n_test": 800, "margin": 0.01}
    assert compare(best, cheap, n_train=3200, n_test=800).within(0.01)
    unsure = told(cheap, [0.6, 0.7], 0.05)
    assert unsure.calibrated_loss > told(best, [0.9, 0.98], 0.4).calibrated_loss + 0.01
    assert rule.decide([unsure, told(best, [0.9, 0.98], 0.4)], **sizes).strategy == "s0"


def test_equal_costs_are_parted_by_trained_parameters():
    a, b = standings(np.repeat(rights(18), 2, axis=0), per_block=20, costs=[1, 1])
    found = rule.decide([replace(a, trained_parameters=9), replace(b, trained_parameters=4)], **FOLDS, margin=0.01)
    assert found.strategy == "s1"


def test_the_baseline_is_never_the_verdict_but_its_win_is_said_loudly():
    group = standings(rights(19, 15, 12), per_block=20, names=["baseline", "probe", "scratch"])
    found = rule.decide(group, **FOLDS, margin=0.01)
    assert (found.strategy, found.best, found.runner_up) == ("probe", "probe", "scratch")
    assert found.reason.endswith("BUT baseline, which uses no network at all, DOES BETTER with 0.950.")
    calm = standings(rights(14, 15, 12), per_block=20, names=["baseline", "probe", "scratch"])
    assert "baseline" not in rule.decide(calm, **FOLDS, margin=0.01).reason


def test_with_one_block_the_reason_says_what_is_not_covered():
    group = standings(rights(50, 60, per_block=77, blocks=1), per_block=77)
    reason = rule.decide(group, n_train=167, n_test=77, margin=0.01).reason
    assert "on the 77 samples of a single block, so the luck of the training set is not covered" in reason


@pytest.mark.parametrize("blocks", [1, 5])
def test_a_strategy_alone_is_the_verdict(blocks):
    group = standings(rights(18, 19, blocks=blocks), per_block=20, names=["probe", "finetune"], eliminated=["finetune"])
    found = rule.decide(group, **FOLDS, margin=0.01)
    assert (found.strategy, found.runner_up, found.samples_needed) == ("probe", None, None)
    assert found.reason.startswith("probe is the only strategy that finished every block: accuracy 0.900")


def test_no_strategy_with_every_block_is_the_users_to_know():
    with pytest.raises(TrialError, match="no verdict"):
        rule.decide(standings(rights(18), per_block=20, names=["baseline"]), **FOLDS, margin=0.01)


@pytest.mark.parametrize(("accuracies", "blocks"), [([0.9, 0.88], 5), ([0.9, 0.9], 5), ([0.9, 0.8], 1)])
def test_an_open_question_needs_more_samples_than_there_were(accuracies, blocks):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        group = standings(draw(rng, accuracies, blocks=blocks, per_block=30), per_block=30)
        found = rule.decide(group, n_train=120, n_test=30, margin=0.01)
        shown = compare_all(group, n_train=120, n_test=30, margin=0.01)[0].outcome != "undecided"
        assert (found.samples_needed is None) == shown
        assert shown or found.samples_needed > 30 * blocks


def test_a_shown_difference_needs_no_more_samples():
    group = standings(draw(np.random.default_rng(3), [0.95, 0.4], blocks=5, per_block=200), per_block=200)
    assert rule.decide(group, **BIG, margin=0.01).samples_needed is None


def test_the_verdict_costs_little_accuracy_and_saves_cost():
    """The simulation behind the rule (8 strategies, 100 samples): regret against the truly best one, in shares."""
    rng = np.random.default_rng(4)
    regret: dict[str, list[float]] = {"cheapest": [], "accuracy": []}
    ranks: dict[str, list[float]] = {"cheapest": [], "accuracy": []}
    for _ in range(120):
        true = np.clip(0.9 - np.abs(rng.normal(0, 0.03, 8)), 0.3, 0.99)
        group = standings(draw(rng, true, blocks=5, per_block=20), per_block=20, costs=rng.permutation(8))
        for prefer in ("cheapest", "accuracy"):
            k = int(rule.decide(group, **FOLDS, margin=0.01, prefer=prefer).strategy[1:])
            regret[prefer].append(true.max() - true[k])
            ranks[prefer].append(group[k].cost)
    assert np.mean(regret["cheapest"]) <= 0.01
    assert np.mean(regret["cheapest"]) <= np.mean(regret["accuracy"]) + 0.0015
    assert np.mean(ranks["cheapest"]) < np.mean(ranks["accuracy"]) - 0.5
