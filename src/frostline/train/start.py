"""The network before training: where each stage's weights come from, and what adapters begin with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from frostline.base.device import place
from frostline.base.seeds import derive_seed
from frostline.cutting.stages import StageMap
from frostline.models.adapters import Adapters
from frostline.models.new_heads import CutNetwork, new_head
from frostline.models.trainable import adapted_parameters
from frostline.recipe.recipe import Recipe
from frostline.train.solve import LinearHead
from frostline.train.study import Study


def start_network(study: Study, recipe: Recipe, block: int) -> nn.Module:
    """The network before training: pre-trained or re-initialised stages, and a new zero head.

    What is re-initialised is what the network's source builds from a seed of (study seed, block): the same tensors in
    every strategy.
    """
    seed = derive_seed(study.seed, "initialise", block)
    if set(recipe.origins) == {"reinitialised"}:
        model = study.network.build(seed)
    else:
        model = copy.deepcopy(study.trunk.model)
        if names := reinitialised(study.stages, recipe):
            _copy_tensors(study.network.build(seed), model, names)
    stages, form, drawn = study.stages, study.head_form(recipe), derive_seed(study.seed, "head", block)
    new_head(model, stages.head, study.classes, form, seed=drawn)
    if recipe.cut_short:
        model = CutNetwork(stages.split(model, recipe.keep), study.classes, form, seed=drawn)
    return place(model, study.compute)


def reinitialised(stages: StageMap, recipe: Recipe) -> frozenset[str]:
    """Parameters and buffers that don't keep their pre-trained values; what a kept stage reads too is kept."""
    places = {**stages.parameter_stages, **stages.buffer_stages}
    return frozenset(
        name
        for name, found in places.items()
        if found and not stages.head.owns(name) and all(_is_drawn(recipe, stage) for stage in found)
    )


def _is_drawn(recipe: Recipe, stage: int) -> bool:
    """Stage S + 1 (read within the head) and 0 (never read) keep what they have."""
    return 1 <= stage <= len(recipe.origins) and recipe.origins[stage - 1] == "reinitialised"


def _copy_tensors(source: nn.Module, target: nn.Module, names: frozenset[str]) -> None:
    fresh = {**dict(source.named_parameters()), **dict(source.named_buffers())}
    with torch.no_grad():
        for name, tensor in {**dict(target.named_parameters()), **dict(target.named_buffers())}.items():
            if name in names:
                tensor.copy_(fresh[name])


def start_adapters(study: Study, model: nn.Module, recipe: Recipe, block: int) -> Adapters | None:
    """Adapters of all weights that some phase trains by 'lora'; None where none does."""
    names: dict[str, int] = {}
    for phase in recipe.stepped:
        names |= adapted_parameters(model, study.stages, phase.stages, phase.head)
    if recipe.adapter is None or not names:
        return None
    return Adapters(model, names, recipe.adapter, (study.seed, block))


def put_solution(model: nn.Module, study: Study, head: LinearHead) -> None:
    """Write a solved head into the network's (linear) head, in place."""
    layer = model.head if isinstance(model, CutNetwork) else model.get_submodule(study.stages.head.path)
    with torch.no_grad():
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        weight.copy_(torch.from_numpy(head.weight).reshape(weight.shape))
        bias.copy_(torch.from_numpy(head.bias))
