"""Groups of parameters that every recipe trains together: of the same stages, and of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from frostline.cutting.stages import StageMap
from frostline.models.kinds import Kinds, kinds_of
from frostline.models.trainable import trained_parameters
from frostline.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Groups:
    """`members`: the parameters of each group; `weights`: for each recipe, how fast each of its groups moves."""

    members: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, Mapping[str, float]]


def can_forecast(recipe: Recipe) -> bool:
    """True for a recipe that moves pre-trained weights, all of them kept, under a new head."""
    pretrained = set(recipe.origins) == {"pretrained"} and recipe.head_origin == "new"
    return pretrained and recipe.takes_steps and not recipe.cut_short


def group_parameters(model: nn.Module, stages: StageMap, recipes: Sequence[Recipe]) -> Groups:
    """Group what the recipes train before the head. A recipe of several phases counts by its last one.

    An adapter of low rank (Hu et al. 2022) begins at zero, so its gradient is a random projection of the weight's own:
    the recipe counts as one that trains that weight.
    """
    kinds = kinds_of(model)
    members: dict[str, list[str]] = {}
    weights: dict[str, dict[str, float]] = {}
    for recipe in recipes:
        phase = recipe.phases[-1]
        parts, head = phase.stages, phase.head
        own: dict[str, float] = {}
        for name in trained_parameters(model, stages, parts, head):
            if stages.head.owns(name):
                continue
            readers = stages.parameter_stages[name]
            group = _group_name(name, readers, kinds)
            listed = members.setdefault(group, [])
            if name not in listed:
                listed.append(name)
            own[group] = min(phase.part(stage).lr_factor for stage in readers)
        weights[recipe.name] = own
    ordered = {group: tuple(sorted(members[group])) for group in sorted(members)}
    return Groups(ordered, weights)


def _group_name(name: str, readers: Sequence[int], kinds: Kinds) -> str:
    held = [
        kind
        for kind, names in (
            ("batchnorm", kinds.batchnorm),
            ("norm", kinds.norm),
            ("bias", kinds.bias),
            ("matrix", kinds.matrices),
        )
        if name in names
    ]
    return f"{'+'.join(map(str, readers))} {'+'.join(held) or 'other'}"
