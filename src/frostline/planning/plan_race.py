"""From study and recipes to the plan of the race, within a budget, and the features that all its trials share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from frostline.base.clock import Clock
from frostline.base.records import Block
from frostline.cutting.stages import StageMap
from frostline.data.split import inner_split
from frostline.models.adapters import adapter_size
from frostline.models.trainable import adapted_parameters, trained_parameters
from frostline.planning.afford import BudgetedPlan, afford
from frostline.planning.choose import ChosenRecipes
from frostline.race.plan import Plan, Scale, make_plan
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.train.study import Study

TUNING_FRACTION = 0.25  # of the first block's training rows, on which rates are judged


def plan_race(settings: Settings, study: Study, blocks: tuple[Block, ...], chosen: ChosenRecipes) -> Plan:
    """The trials to run: a function of data and network alone."""
    alone = len(chosen.recipes) == 1 and settings.blocks is None
    inner_of = study.development if alone else blocks[0].train
    scale = Scale(
        stages=study.stages.stages,
        widths=feature_widths(study.stages),
        classes=study.classes,
        source_classes=study.stages.head.out_features,
        batch_size=study.batch_size,
        epochs=study.epochs,
        solved_views=len(study.solved_views()),
        stepped_views=study.views(len(study.development)),
        partial=partial_counts(study.trunk.model, study.stages, chosen.recipes),
    )
    inner = inner_split(study.dataset, inner_of, fraction=TUNING_FRACTION, seed=study.seed, block=0)
    empty = Plan(
        skipped=chosen.skipped,
        blocks=blocks,
        inner=inner,
        development=len(study.development),
        scale=scale,
        alone=alone,
        metric=settings.metric,
    )
    return make_plan(empty, chosen.recipes, lr=settings.lr)


def limit(settings: Settings, study: Study, plan: Plan, clock: Clock) -> tuple[Study, Plan, BudgetedPlan | None]:
    """Leave out what a budget has no room for (without one nothing), and tell the features what the rest will read."""
    want_features(study, [row.recipe for row in plan.rows])
    if settings.budget is None:
        return study, plan, None
    limits = afford(settings, study, plan, clock)
    want_features(limits.study, [row.recipe for row in limits.plan.rows])
    return limits.study, limits.plan, limits


def feature_widths(stages: StageMap) -> list[int]:
    """Pooled features after each stage (0 where the network can't be cut)."""
    return [0 if cut is None else cut.shape[cut.channel_axis] for cut in stages.cuts]


def partial_counts(model: nn.Module, stages: StageMap, recipes: Sequence[Recipe]) -> dict[str, int]:
    """Parameters, the head's aside, that recipes train which train only a part of a stage's tensors; of an adapter
    its own."""
    counts: dict[str, int] = {}
    tensors, last = dict(model.named_parameters()), len(stages)
    for recipe in (r for r in recipes if r.partial):
        trained: dict[str, int] = {}
        adapted: dict[str, int] = {}
        for phase in recipe.stepped:
            trained |= trained_parameters(model, stages, phase.stages, phase.head)
            adapted |= adapted_parameters(model, stages, phase.stages, phase.head)
        counts[recipe.name] = sum(
            adapter_size(tensors[n], recipe.adapter) if recipe.adapter and n in adapted else tensors[n].numel()
            for n, stage in trained.items()
            if stage <= last
        )
    return counts


def want_features(study: Study, recipes: Sequence[Recipe]) -> None:
    """Tell the features which cuts the recipes will ask for, so that one pass fills them all."""
    raw = [r.frozen_stages for r in recipes if r.takes_steps and r.frozen_stages]
    pooled = [r.keep for r in recipes if r.solves_head]
    solved_views = {0, *study.solved_views()}
    study.features.want(raw=raw, pooled=pooled, views=len(study.stepped_views()), pooled_views=sorted(solved_views))


def all_views(study: Study, recipes: Sequence[Recipe]) -> tuple[int, ...]:
    """The evaluation view, and every training view that some recipe will read."""
    views = {0}
    views |= set(study.solved_views()) if any(r.solves_head for r in recipes) else set()
    views |= set(study.stepped_views()) if any(r.takes_steps for r in recipes) else set()
    return tuple(sorted(views))
