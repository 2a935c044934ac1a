"""The full protocol: bases are trained on both halves of the classes, then every arm at every stage, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from frostline.base.records import Dataset, Outcome
from frostline.base.seeds import derive_seed
from frostline.curve.measured import ChosenRate, Measured, TriedRate
from frostline.curve.protocol import OTHER, OWN, Unit, arms_of, base_recipe, operations_of, other, trial_of
from frostline.curve.splits import ClassSplit, Halves, half_of
from frostline.curve.training import (
    Bench,
    Given,
    arm_trials,
    as_source,
    ask_for_prefixes,
    chosen_rate,
    judged,
    load_base,
    prefix_operations,
    rate_trials,
    run_trials,
    study_of,
)
from frostline.models.network import pretrained
from frostline.train.study import Study

HALVES: tuple[Halves, ...] = ("A", "B")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPlan:
    """The splits, and how many seeds each is run with."""

    splits: tuple[ClassSplit, ...]
    seeds: int


def largest_half(plan: FullPlan, dataset: Dataset) -> int:
    """Count the samples to learn from of the largest half of all splits."""
    halves = [half_of(dataset, split.classes(half))[0] for split in plan.splits for half in HALVES]
    return max(len(half.rows("development")) for half in halves)


def choose_base_rate(given: Given, plan: FullPlan, bench: Bench, lr: float | None) -> ChosenRate:
    """Return the user's rate, or the one at which bases of the first split do best on an inner part of what they learn
    from. The held-out samples play no part."""
    if lr is not None:
        return ChosenRate(rate=lr)
    tried: dict[float, list[Outcome]] = {}
    for half in HALVES:
        study = base_study(given, plan.splits[0], half, 1)
        for trial in rate_trials(given, study, f"split 1, {half}"):
            tried.setdefault(trial.rate or 0.0, []).append(bench.run(study, trial))
    rows = tuple(TriedRate(rate=rate, outcomes=tuple(found)) for rate, found in tried.items())
    return ChosenRate(rate=chosen_rate(tried), tried=rows)


def run_full(given: Given, plan: FullPlan, bench: Bench, rate: ChosenRate) -> Measured:
    """Train all bases and arms, split by split."""
    measured = Measured(rate=rate)
    for tried in rate.tried:
        for outcome in tried.outcomes:
            measured.count(outcome)
    for split in plan.splits:
        for seed in range(1, plan.seeds + 1):
            bases = train_bases(given, split, seed, bench, measured)
            for half in HALVES:
                train_arms(given, Direction(split=split, target=half, seed=seed), bases, bench, measured)
    return measured


def train_bases(given: Given, split: ClassSplit, seed: int, bench: Bench, measured: Measured) -> dict[Halves, Path]:
    """Train the base of each half of a split at one seed, and return where their weights lie."""
    recipe = base_recipe(given.stages.stages)
    bases: dict[Halves, Path] = {}
    for half in HALVES:
        study = base_study(given, split, half, seed)
        name = f"split {split.number}, {half}, seed {seed}, base"
        trial = trial_of(study, recipe, name, rate=measured.rate.rate, steps=given.steps)
        outcome, bases[half] = bench.run_base(study, trial)
        measured.count(outcome)
        unit = Direction(split=split, target=half, seed=seed).unit
        measured.add(("base", 0), unit, outcome, judged(study, outcome))
    return bases


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One of the two ways to transfer within a split, at one seed: to the classes of `target`."""

    split: ClassSplit
    target: Halves
    seed: int

    @property
    def unit(self) -> Unit:
        """The place at which its arms meet."""
        return Unit(split=self.split.number, direction=f"{other(self.target)}->{self.target}", seed=self.seed)


def train_arms(given: Given, way: Direction, bases: Mapping[Halves, Path], bench: Bench, measured: Measured) -> None:
    """Train every arm of one direction from these bases."""
    stages = given.stages.stages
    for source, names in ((way.target, OWN), (other(way.target), OTHER)):
        model = load_base(given, bases[source], len(way.split.classes(source)))
        study = half_study(given, way.split, way.target, way.seed, model)
        arms = arms_of(stages, names)
        trials = arm_trials(given, study, arms, way.unit, measured.rate.rate)
        views = ask_for_prefixes(study, [arm.recipe for arm in arms], given.steps)
        bench.prepare(study, views, trials.values())
        run_trials(study, trials, way.unit, bench, measured)


def base_study(given: Given, split: ClassSplit, half: Halves, seed: int) -> Study:
    """Return the study in which a base is trained: one half's classes, and random values of its own."""
    study = half_study(given, split, half, seed, pretrained(given.network))
    return replace(study, network=as_source(study.network))


def half_study(given: Given, split: ClassSplit, half: Halves, seed: int, model: nn.Module) -> Study:
    """Return the study of one half's classes and the network that weights are copied from.

    Everything random is drawn from (study seed, split, seed), so it is the same in the base and in every arm.
    """
    dataset, kept = half_of(given.dataset, split.classes(half))
    drawn = derive_seed(given.settings.seed, "curve", split.number, seed)
    return study_of(given, dataset, given.samples.select(kept), model, drawn)


def full_operations(given: Given, plan: FullPlan, *, tuned: bool) -> float:
    """Count the operations of the whole run, for the time left."""
    total = 0.0
    for split in plan.splits:
        for half in HALVES:
            study = base_study(given, split, half, 1)
            base = trial_of(study, base_recipe(given.stages.stages), "base", rate=1.0, steps=given.steps)
            each = operations_of(study, base)
            if tuned and split is plan.splits[0]:
                total += sum(operations_of(study, trial) for trial in rate_trials(given, study, "rate"))
            for names in (OWN, OTHER):
                arms = arms_of(given.stages.stages, names)
                views = ask_for_prefixes(study, [arm.recipe for arm in arms], given.steps)
                each += prefix_operations(study, views)
                trials = [trial_of(study, arm.recipe, arm.name, rate=1.0, steps=given.steps) for arm in arms]
                each += sum(operations_of(study, trial) for trial in trials)
            total += plan.seeds * each
    return total
