"""From study and recipes to the plan of the race, within a budget, and the features that all its trials share."""

from __future__ import annotations

from frostline.base.clock import Clock
from frostline.base.records import Block
from frostline.data.split import inner_split
from frostline.planning.afford import BudgetedPlan, afford
from frostline.planning.choose import ChosenRecipes
from frostline.planning.prepare import feature_widths, partial_counts, want_features
from frostline.race.plan import Plan, Scale, make_plan
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
