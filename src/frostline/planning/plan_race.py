"""From study and recipes to the plan of the race, within a budget, and the features that all its trials share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from frostline.base.clock import Clock
from frostline.base.errors import DataError
from frostline.base.records import Block, StageInfo
from frostline.cutting.stages import StageMap
from frostline.data.split import inner_folds
from frostline.models.adapters import adapter_size
from frostline.models.trainable import adapted_parameters, trained_parameters
from frostline.planning.afford import BudgetedPlan, afford
from frostline.planning.choose import ChosenRecipes
from frostline.race.plan import JUDGES, Plan, Scale, make_plan
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.train.study import Study

INNER_FOLDS = 4  # of the rows to learn from, where no blocks can judge rates and lengths


def plan_race(settings: Settings, study: Study, blocks: tuple[Block, ...], chosen: ChosenRecipes) -> Plan:
    """Plan the trials to run: a function of data and network alone."""
    alone = len(chosen.recipes) == 1 and settings.blocks is None
    scale = scale_of(study, study.recipes_of(study, chosen.recipes))
    others = {label: scale_of(other, study.recipes_of(other, chosen.recipes)) for label, other in study.others.items()}
    empty = Plan(
        skipped=chosen.skipped,
        blocks=blocks,
        inner=inner_judges(study, blocks, alone=alone),
        development=len(study.development),
        scale=scale,
        scales=others,
        alone=alone,
        metric=settings.metric,
    )
    return make_plan(empty, chosen.recipes, lr=settings.lr)


def scale_of(study: Study, recipes: Sequence[Recipe]) -> Scale:
    """Return what the cost of trials with the study's network follows from."""
    return Scale(
        stages=counted_stages(study),
        widths=feature_widths(study.stages),
        classes=study.classes,
        source_classes=study.stages.head.out_features,
        batch_size=study.batch_size,
        epochs=study.epochs,
        solved_views=len(study.solved_views()),
        stepped_views=study.views(len(study.development)),
        partial=partial_counts(study.trunk.model, study.stages, recipes),
        before=study.before,
    )


def inner_judges(study: Study, blocks: Sequence[Block], *, alone: bool) -> tuple[Block, ...]:
    """Return folds of the rows to learn from that judge rates and lengths; none where several blocks do, or where the
    rows can't be split."""
    if len(blocks) >= JUDGES and not alone:
        return ()
    rows = blocks[0].train
    if alone:
        rows = study.development
    try:
        folds = inner_folds(study.dataset, rows, folds=INNER_FOLDS, seed=study.seed, block=0)
    except DataError:  # copies of one image
        return ()
    return tuple(
        Block(index=fold, repeat=0, fold=fold, train=train, validation=held)
        for fold, (train, held) in enumerate(folds[:JUDGES])
        if len(held)
    )


def limit(settings: Settings, study: Study, plan: Plan, clock: Clock) -> tuple[Plan, BudgetedPlan | None]:
    """Leave out the trials that don't fit the budget (without one: none), and tell the features what the rest reads."""
    want_features(study, [row.recipe for row in plan.rows])
    if settings.budget is None:
        return plan, None
    limits = afford(settings, study, plan, clock)
    want_features(study, [row.recipe for row in limits.plan.rows])
    return limits.plan, limits


def counted_stages(study: Study) -> tuple[StageInfo, ...]:
    """Return the stages with the operations of a sample of mean length; the map counts them at the longest."""
    share = study.features.source.share
    if share == 1.0:
        return study.stages.stages
    return tuple(replace(stage, operations=share * stage.operations) for stage in study.stages.stages)


def feature_widths(stages: StageMap) -> list[int]:
    """Return the number of pooled features after each stage (0 where the network can't be cut)."""
    widths = [0] * len(stages)
    for index, cut in enumerate(stages.cuts):
        if cut is not None:
            widths[index] = cut.shape[cut.channel_axis]
    return widths


def partial_counts(model: nn.Module, stages: StageMap, recipes: Sequence[Recipe]) -> dict[str, int]:
    """Count the numbers before the head that each recipe trains, of those that train only part of a stage's tensors;
    an adapted weight counts with its adapter's."""
    return {recipe.name: _trained_numbers(model, stages, recipe) for recipe in recipes if recipe.partial}


def _trained_numbers(model: nn.Module, stages: StageMap, recipe: Recipe) -> int:
    trained: dict[str, int] = {}
    adapted: dict[str, int] = {}
    for phase in recipe.stepped:
        trained |= trained_parameters(model, stages, phase.stages, phase.head)
        adapted |= adapted_parameters(model, stages, phase.stages, phase.head)
    tensors = dict(model.named_parameters())
    total = 0
    for name, stage in trained.items():
        if stage > len(stages):  # the head's
            continue
        if recipe.adapter and name in adapted:
            total += adapter_size(tensors[name], recipe.adapter)
        else:
            total += tensors[name].numel()
    return total


def want_features(study: Study, recipes: Sequence[Recipe]) -> None:
    """Tell the features of each source which cuts the recipes will read, so that one pass fills them all."""
    for one in study.every():
        own = study.recipes_of(one, recipes)
        raw = [r.frozen_stages for r in own if r.takes_steps and r.frozen_stages]
        pooled = [r.keep for r in own if r.solves_head]
        solved_views = {0, *one.solved_views()}
        one.features.want(raw=raw, pooled=pooled, views=len(one.stepped_views()), pooled_views=sorted(solved_views))


def all_views(study: Study, recipes: Sequence[Recipe]) -> tuple[int, ...]:
    """Return the evaluation view and every training view that some recipe will read."""
    views = {0}
    if any(r.solves_head for r in recipes):
        views.update(study.solved_views())
    if any(r.takes_steps for r in recipes):
        views.update(study.stepped_views())
    return tuple(sorted(views))
