"""Builds the network as it is before training: the weights of each stage, the new head, the adapters."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

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
    """Build the network before training: pre-trained or re-initialised stages, and a new zero head.

    Re-initialised tensors are those that the network's source builds from a seed of (study seed, block): the same in
    every strategy.
    """
    seed = derive_seed(study.seed, "initialise", block)
    if set(recipe.origins) == {"reinitialised"}:
        model = study.network.build(seed)
    else:
        model = copy.deepcopy(study.trunk.model)
        names = reinitialised(study.stages, recipe)
        if names:
            _copy_tensors(study.network.build(seed), model, names)
    form = study.head_form(recipe)
    head_seed = derive_seed(study.seed, "head", block)
    new_head(model, study.stages.head, study.classes, form, seed=head_seed)
    if recipe.cut_short:
        model = CutNetwork(study.stages.split(model, recipe.keep), study.classes, form, seed=head_seed)
    return place(model, study.compute)


def reinitialised(stages: StageMap, recipe: Recipe) -> frozenset[str]:
    """Return the parameters and buffers that don't keep their pre-trained values; one that a kept stage reads does."""
    readers = {**stages.parameter_stages, **stages.buffer_stages}
    return frozenset(
        name
        for name, stage_numbers in readers.items()
        if stage_numbers and not stages.head.owns(name) and all(_is_drawn(recipe, stage) for stage in stage_numbers)
    )


def _is_drawn(recipe: Recipe, stage: int) -> bool:
    """True for a re-initialised stage; stage S + 1 (read within the head) and 0 (never read) keep their tensors."""
    return 1 <= stage <= len(recipe.origins) and recipe.origins[stage - 1] == "reinitialised"


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, one under two names under its first."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _copy_tensors(source: nn.Module, target: nn.Module, names: frozenset[str]) -> None:
    fresh = tensors_by_name(source)
    with torch.no_grad():
        for name, tensor in tensors_by_name(target).items():
            if name in names:
                tensor.copy_(fresh[name])


def start_adapters(study: Study, model: nn.Module, recipe: Recipe, block: int) -> Adapters | None:
    """Make the adapters of all weights that some phase trains by 'lora'; None where none does."""
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
        weight = layer.get_parameter("weight")
        bias = layer.get_parameter("bias")
        weight.copy_(torch.from_numpy(head.weight).reshape(weight.shape))
        bias.copy_(torch.from_numpy(head.bias))
