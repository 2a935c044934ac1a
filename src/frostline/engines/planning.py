"""From study and recipes to the plan of the race, within a budget, and the features that all its trials share."""

from __future__ import annotations

from frostline.base.clock import Clock
from frostline.base.records import Block
from frostline.data.split import inner_split
from frostline.engines.afford import Affordable, afford
from frostline.engines.local import Meter
from frostline.race.plan import Plan, Scale, make_plan
from frostline.recipe.settings import Settings
from frostline.train.choose import Chosen
from frostline.train.prepare import all_views, feature_widths, partial_counts, want_features
from frostline.train.study import Study

TUNING_FRACTION = 0.25  # of the first block's training rows, on which rates are judged


def plan_race(settings: Settings, study: Study, blocks: tuple[Block, ...], chosen: Chosen) -> Plan:
    """The trials to run: a function of data and network alone."""
    alone = len(chosen.recipes) == 1 and settings.blocks is None
    inner_of = study.development if alone else blocks[0].train
    scale = Scale(
        stages=study.trunk.stages.stages,
        widths=feature_widths(study.trunk.stages),
        classes=study.classes,
        source_classes=study.trunk.stages.head.out_features,
        batch_size=study.batch_size,
        epochs=study.epochs,
        solved_views=len(study.solved_views()),
        stepped_views=study.views(len(study.development)),
        partial=partial_counts(study.trunk.model, study.trunk.stages, chosen.recipes),
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


def limit(settings: Settings, study: Study, plan: Plan, clock: Clock) -> tuple[Study, Plan, Affordable | None]:
    """Leave out what a budget has no room for (without one nothing), and tell the features what the rest will read."""
    want_features(study, [row.recipe for row in plan.rows])
    if settings.budget is None:
        return study, plan, None
    limits = afford(settings, study, plan, clock)
    want_features(limits.study, [row.recipe for row in limits.plan.rows])
    return limits.study, limits.plan, limits


def compute_features(study: Study, plan: Plan, meter: Meter) -> None:
    """Views and activations that all trials share, each computed once (or found in the store)."""
    views = all_views(study, [row.recipe for row in plan.rows])
    for count, view in enumerate(views, 1):
        before = study.features.prefix_pictures
        study.features.prepare(view)
        fresh = study.features.prefix_pictures > before
        meter.add(plan.shared_operations / len(views), text=f"view {count} of {len(views)}", measured=fresh)
