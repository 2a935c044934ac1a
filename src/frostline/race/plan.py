"""The plan: which trials a comparison runs, and their counted cost. A function of data and network alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frostline.base.records import Block, IntArray, StageInfo
from frostline.race.cost import (
    EXPECTED_STEPS,
    Workload,
    count_trained,
    forward,
    head_parameters,
    inference_operations,
    moving_operations,
    training_operations,
)
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.schedule import FIRST_STEPS, MAX_STEPS, early_steps
from frostline.stats.contributions import Metric

JUDGES = 2  # splits that judge rates and lengths: one alone decides by luck (docs/decisions/0018)
SHORTLIST = 2  # ways to train a strategy that reach the second judge


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the cost of a trial follows from."""

    stages: Sequence[StageInfo]
    widths: Sequence[int]  # pooled features after each stage
    classes: int
    source_classes: int  # outputs of the network's own head
    batch_size: int
    epochs: int | None
    solved_views: int
    stepped_views: int
    partial: Mapping[str, int] = field(default_factory=dict)  # parameters of recipes that train a part of each stage
    max_steps: int = MAX_STEPS  # the longest length that is tried, without --epochs
    before: float = 0.0  # operations of a training that the source needed first, on the user's own data

    def training_views(self, recipe: Recipe) -> int:
        """Views of each sample that training the recipe reads."""
        if recipe.takes_steps:
            return self.stepped_views
        if recipe.is_solved:
            return self.solved_views
        return 0


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One strategy of the plan."""

    recipe: Recipe
    rates: tuple[float, ...]  # to be tried on the first judge; empty where nothing is tuned
    trials: int
    trained_parameters: int
    operations: float  # of all its trials
    cost: float  # of using it once: one refit and one pass over the development rows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`inner`: folds of training rows that judge rates and lengths where the blocks can't, else empty. `alone`: a
    single strategy skips the race. `scale` is that of the only source, or of the first of several: `scales` has one for
    each label."""

    skipped: Mapping[str, str]
    blocks: tuple[Block, ...]
    inner: tuple[Block, ...]
    development: int
    scale: Scale
    alone: bool
    metric: Metric = "accuracy"
    rows: tuple[PlanRow, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)

    def scale_of(self, recipe: Recipe) -> Scale:
        """Return the scale of the network that a recipe starts from."""
        return self.scales.get(recipe.source, self.scale)

    @property
    def shared_operations(self) -> float:
        """What the strategies of each source share: one forward pass over every (sample, view), to the deepest cut
        asked for."""
        deepest: dict[str, float] = {}
        for recipe in (row.recipe for row in self.rows if row.recipe.learns_from_features):
            scale = self.scale_of(recipe)
            passes = forward(scale.stages, 0, recipe.frozen_stages) * (scale.training_views(recipe) + 1)
            deepest[recipe.source] = max(passes, deepest.get(recipe.source, 0.0))
        return self.development * sum(deepest.values())

    @property
    def operations(self) -> float:
        return self.shared_operations + sum(row.operations for row in self.rows)

    @property
    def doubtful_operations(self) -> float:
        """What a short race will hardly run: all strategies that take steps, but the dearest of them."""
        stepped = [row.operations for row in self.rows if row.recipe.takes_steps]
        return sum(stepped) - max(stepped, default=0.0)

    def row(self, name: str) -> PlanRow:
        return next(row for row in self.rows if row.recipe.name == name)

    def race_blocks(self) -> tuple[Block, ...]:
        if self.alone:
            return ()
        return self.blocks

    @property
    def judges(self) -> tuple[Block, ...]:
        """The splits whose held-out samples judge rates and lengths, JUDGES at most."""
        return (self.inner or self.race_blocks())[:JUDGES]

    def trial_operations(self, trial: Trial) -> float:
        """What a trial adds to the shared features: its training, and one look at its validation rows."""
        recipe = trial.recipe
        scale = self.scale_of(recipe)
        stages = scale.stages
        work = _workload(recipe, scale, len(trial.train), trial.steps)
        looked_at = len(trial.validation) * forward(stages, recipe.frozen_stages, recipe.keep)
        return moving_operations(recipe, stages, work) + looked_at

    def use_cost(self, recipe: Recipe, steps: int | None = None) -> float:
        """Counted operations of training on its own and of inference: one fit, one pass over as many images; and of the
        training that the source needed first."""
        scale = self.scale_of(recipe)
        work = _workload(recipe, scale, self.development, steps)
        inference = self.development * inference_operations(recipe, scale.stages)
        return scale.before + training_operations(recipe, scale.stages, work) + inference


def make_plan(empty: Plan, recipes: Sequence[Recipe], *, lr: float | None) -> Plan:
    """Lay out the trials of `recipes` on a plan without rows; `lr` is a rate the user set, then nothing is tuned."""
    rows = tuple(_plan_row(empty, recipe.with_rates((lr,)) if lr and recipe.rates else recipe) for recipe in recipes)
    return replace(empty, rows=rows)


def _plan_row(plan: Plan, recipe: Recipe) -> PlanRow:
    rates = tuned_rates(plan, recipe)
    trials = _expected_trials(plan, recipe, rates)
    total = sum(plan.trial_operations(t) for t in trials)
    keep = recipe.keep
    scale = plan.scale_of(recipe)
    width = 0
    if keep:
        width = scale.widths[keep - 1]
    head = head_parameters(recipe, width, scale.classes, scale.source_classes)
    moved = count_trained(recipe, scale.stages, head, scale.partial)
    return PlanRow(
        recipe=recipe,
        rates=rates,
        trials=len(trials),
        operations=total,
        cost=plan.use_cost(recipe),
        trained_parameters=moved,
    )


def tuned_rates(plan: Plan, recipe: Recipe) -> tuple[float, ...]:
    """Return the rates to be tried; none where nothing is to be chosen, or nothing judges. A single rate is tried where
    its length is to be chosen."""
    chooses_length = plan.scale.epochs is None and plan.scale.max_steps > FIRST_STEPS
    if len(recipe.rates) < 2 and not chooses_length:
        return ()
    if plan.inner or len(plan.judges) == JUDGES:
        return recipe.rates
    return ()


def _expected_trials(plan: Plan, recipe: Recipe, rates: Sequence[float]) -> list[Trial]:
    """List the trials to expect: all rates on the first judge, SHORTLIST of them on the second, one on each block."""
    one_each = [block_trial(recipe, block, None) for block in plan.race_blocks()]
    if not rates:
        return one_each
    judges = plan.judges
    shortlist = [judges[-1]] * min(SHORTLIST, len(rates))
    tuning = [judges[0]] * len(rates) + shortlist
    if not plan.inner:
        one_each = one_each[JUDGES:]
    return [tune_trial(recipe, judge, None) for judge in tuning] + one_each


def tune_trial(recipe: Recipe, judge: Block, rate: float | None, steps: int | None = None) -> Trial:
    """One way to train a recipe, on one judge."""
    return replace(block_trial(recipe, judge, rate, steps), purpose="tune")


def block_trial(recipe: Recipe, block: Block, rate: float | None, steps: int | None = None) -> Trial:
    """One recipe on one block, at the rate and length that were chosen for it."""
    return Trial(
        recipe=recipe,
        purpose="block",
        block=block.index,
        rate=rate,
        train=_row_numbers(block.train),
        validation=_row_numbers(block.validation),
        steps=steps,
    )


def _row_numbers(rows: IntArray) -> tuple[int, ...]:
    return tuple(int(r) for r in np.asarray(rows))


def _workload(recipe: Recipe, scale: Scale, rows: int, steps: int | None) -> Workload:
    """`steps` count where --epochs doesn't say how many there are."""
    per_epoch = max(1, -(-rows // scale.batch_size))
    if scale.epochs:
        count = scale.epochs * per_epoch
    else:
        count = steps or EXPECTED_STEPS
    if recipe.is_solved:
        views = scale.solved_views
    else:
        views = scale.stepped_views
    early = early_steps(len(recipe.stepped), per_epoch, count)
    return Workload(rows=rows, views=views, steps=count, batch_size=scale.batch_size, early=early)
