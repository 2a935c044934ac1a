"""The applied curve: a given network on the user's data, copied up to every stage, frozen or trained, against scratch.

Arms meet on the paired folds of the development samples; the sealed part stays sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from frostline.base.errors import TrialError
from frostline.base.records import Block, DataPart, Dataset
from frostline.base.seeds import derive_seed
from frostline.curve.gaps import Folds
from frostline.curve.measured import ChosenRate, Measured, TriedRate
from frostline.curve.protocol import OTHER, Arm, Unit, arms_of, base_recipe, operations_of
from frostline.curve.training import (
    Bench,
    Given,
    arm_trials,
    ask_for_prefixes,
    chosen_rate,
    prefix_operations,
    rate_trials,
    run_trials,
    study_of,
)
from frostline.data.split import make_blocks
from frostline.models.network import pretrained
from frostline.recipe.settings import Settings
from frostline.train.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPlan:
    """The paired folds, and how many seeds each is run with."""

    blocks: tuple[Block, ...]
    seeds: int


def plan_applied(settings: Settings, dataset: Dataset, seeds: int) -> AppliedPlan:
    """Plan the folds of the development samples, as `frostline fit` draws them."""
    return AppliedPlan(blocks=make_blocks(dataset, count=settings.blocks, seed=settings.seed), seeds=seeds)


def whole_study(given: Given) -> Study:
    """Return the study of all development samples and the given network; folds share its features."""
    return study_of(given, given.dataset, given.samples, pretrained(given.network), given.settings.seed)


def all_arms(given: Given) -> tuple[Arm, ...]:
    """Return the base, which is training from random values, and both arms at every stage."""
    stages = given.stages.stages
    return (Arm(name="base", stage=0, recipe=base_recipe(stages)), *arms_of(stages, OTHER))


def fold_of(given: Given, study: Study, block: Block, seed: int) -> Study:
    """Return the study with one fold held out; everything random is drawn from (study seed, fold, seed)."""
    part_of: dict[int, DataPart] = dict.fromkeys(block.train.tolist(), "development")
    part_of |= dict.fromkeys(block.validation.tolist(), "validation")
    samples = tuple(replace(s, part=part_of.get(row, s.part)) for row, s in enumerate(study.dataset.samples))
    drawn = derive_seed(given.settings.seed, "curve", block.index + 1, seed)
    return replace(study, dataset=replace(study.dataset, samples=samples), seed=drawn)


def choose_scratch_rate(given: Given, plan: AppliedPlan, bench: Bench, lr: float | None) -> ChosenRate:
    """Return the user's rate, or the one at which training from scratch does best on an inner part of what the first
    fold learns from."""
    if lr is not None:
        return ChosenRate(rate=lr)
    study = fold_of(given, whole_study(given), plan.blocks[0], 1)
    tried = {trial.rate or 0.0: [bench.run(study, trial)] for trial in rate_trials(given, study, "fold 1")}
    rows = tuple(TriedRate(rate=rate, outcomes=tuple(found)) for rate, found in tried.items())
    return ChosenRate(rate=chosen_rate(tried), tried=rows)


def run_applied(given: Given, plan: AppliedPlan, bench: Bench, rate: ChosenRate) -> Measured:
    """Train all arms, fold by fold."""
    sizes = [(len(block.train), len(block.validation)) for block in plan.blocks]
    n_train, n_test = np.mean(sizes, axis=0)
    measured = Measured(rate=rate, folds=Folds(n_train=float(n_train), n_test=float(n_test)), sizes=sizes)
    for tried in rate.tried:
        for outcome in tried.outcomes:
            measured.count(outcome)
    arms = all_arms(given)
    study = whole_study(given)
    pairs = [(block, seed) for block in plan.blocks for seed in range(1, plan.seeds + 1)]
    jobs = []
    for block, seed in pairs:
        unit = Unit(split=block.index + 1, direction=None, seed=seed)
        fold = fold_of(given, study, block, seed)
        jobs.append((unit, fold, arm_trials(given, fold, arms, unit, rate.rate)))
    views = ask_for_prefixes(jobs[0][1], [arm.recipe for arm in arms], given.steps)
    bench.prepare(study, views, [trial for _, _, trials in jobs for trial in trials.values()])
    for unit, fold, trials in jobs:
        run_trials(fold, trials, unit, bench, measured)
    if not measured.at("base", 0):
        raise TrialError("Training from scratch failed on every fold.", "Give a lower --lr.")
    return measured


def applied_operations(given: Given, plan: AppliedPlan, *, tuned: bool) -> float:
    """Count the operations of the whole run, for the time left."""
    arms = all_arms(given)
    study = fold_of(given, whole_study(given), plan.blocks[0], 1)
    views = ask_for_prefixes(study, [arm.recipe for arm in arms], given.steps)
    total = prefix_operations(study, views)
    if tuned:
        total += sum(operations_of(study, trial) for trial in rate_trials(given, study, "rate"))
    unit = Unit(split=1, direction=None, seed=1)
    each = sum(operations_of(study, trial) for trial in arm_trials(given, study, arms, unit, 1.0).values())
    return total + each * len(plan.blocks) * plan.seeds
