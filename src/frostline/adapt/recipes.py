"""What an adaptation does to the weights, as recipes: audit, ledger and terms follow from these.

Every arm starts from the trained network with its own head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from frostline.recipe.recipe import Origin, Part, Phase, Recipe, Solver
from frostline.train.study import Study

FROZEN = Part(trained=False)
STATISTICS = Part(trained=False, batchnorm="statistics")
HEAD = Part(trained=True)


def adaptation(
    study: Study, name: str, stages: Sequence[Part] | Part, head: Part = FROZEN, *, solver: Solver = "stepped"
) -> Recipe:
    """Return the recipe of an arm; one part stands for every stage."""
    count = len(study.stages)
    origin: Origin = "pretrained"
    parts = (stages,) * count if isinstance(stages, Part) else tuple(stages)
    return Recipe(
        name=name,
        kind=name,
        origins=(origin,) * count,
        head_origin="pretrained",
        keep=count,
        phases=(Phase(name="adapt", solver=solver, stages=parts, head=head),),
    )


def unchanged(study: Study, name: str) -> Recipe:
    """Return the recipe of an arm that leaves every weight as it is."""
    return adaptation(study, name, FROZEN, solver="untrained")


def head_recipe(study: Study, name: str) -> Recipe:
    """Return the recipe of an arm that solves the head again."""
    return replace(adaptation(study, name, FROZEN, HEAD, solver="solved"), head_origin="new")
