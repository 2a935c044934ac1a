"""What trains and what stays frozen: training flags and gradients of every module, with the BatchNorm policies.

A trained part moves all its parameters, or those that its `what` names (:mod:`frostline.models.kinds`).

BatchNorm follows its part's policy, whatever else the part does:

| policy     | running statistics | scale and shift |
|------------|--------------------|-----------------|
| frozen     | fixed (inference)  | fixed           |
| statistics | adapt              | fixed           |
| affine     | fixed (inference)  | trained         |
| all        | adapt              | trained         |
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.cutting.stages import StageMap
from frostline.models.kinds import Kinds, kinds_of
from frostline.models.new_heads import CutNetwork
from frostline.recipe.recipe import Part

STATISTICS_MOVE = frozenset({"statistics", "all"})
AFFINE_TRAINED = frozenset({"affine", "all"})


def set_training(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> None:
    """Put the network into the state that a phase asks for; call it again after every `train()`.

    `parts[i]` is what happens to stage i + 1. What is read (called) in several stages is trained only where all of
    them are, so a parameter that a frozen prefix reads too stays frozen; what never runs in inference stays frozen.
    A container is in training mode where any part that runs within it is; but one around a cut that is exact only
    while it stays in inference mode (:attr:`StageMap.stays_in_inference`: it draws at random before the cut) isn't.
    """
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):  # what is left of the network is only read
        model.eval().requires_grad_(False)
        model.head.train(head.trained).requires_grad_(head.trained)
        return
    for name, module in model.named_modules():
        module.training = _trains(name, module, stage_map, by_stage)
    trained = trained_parameters(model, stage_map, parts, head)
    adapted = adapted_parameters(model, stage_map, parts, head)  # an adapter moves in the place of each of these
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained and name not in adapted)


def _trains(name: str, module: nn.Module, stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    stages = _stages_of_modules(name, stage_map)
    if not stages and next(module.parameters(), None) is None:  # such as a dropout that inference leaves out
        stages = _stages_of_modules(name.rpartition(".")[0], stage_map)
    found = _parts_by_stage(stages, by_stage)
    if isinstance(module, _BatchNorm):
        return bool(found) and all(part.batchnorm in STATISTICS_MOVE for part in found)
    if _holds_others(module) and name not in stage_map.repeated:
        return any(part.trained for part in found) and not _has_to_be_quiet(stages, stage_map, by_stage)
    if any(part.what != "all" for part in found) and next(module.buffers(), None) is not None:
        return False  # what it keeps would move, and only parameters are meant to
    return bool(found) and all(part.trained for part in found)


def _holds_others(module: nn.Module) -> bool:
    """Whether it is a container; what only makes a tensor of its own (spectral norm) is none of the others."""
    return any(name != "parametrizations" for name, _ in module.named_children())


def _has_to_be_quiet(stages: Sequence[int], stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    frozen = next((k for k, part in enumerate(by_stage) if not part.frozen), 0)
    return frozen in stage_map.stays_in_inference and stages[0] <= frozen


def _parts_by_stage(stages: Sequence[int], by_stage: Sequence[Part]) -> list[Part]:
    return [by_stage[stage - 1] for stage in stages]


def _stages_of_modules(name: str, stage_map: StageMap) -> tuple[int, ...]:
    if stage_map.head.owns(name):
        return (len(stage_map) + 1,)
    return stage_map.module_stages.get(name, ())


def trained_parameters(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Names of the parameters that this phase trains, each with its stage (S + 1: the head); those that adapters move
    are among them."""
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):
        return {f"head.{name}": len(by_stage) for name, _ in model.head.named_parameters() if head.trained}
    kinds = kinds_of(model)
    trained: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        stages = _parameter_stages(name, stage_map)
        moves = [_is_trained(name, part, kinds) for part in _parts_by_stage(stages, by_stage)]
        if moves and all(moves) and parameter.is_floating_point():
            trained[name] = stages[0]
    return trained


def adapted_parameters(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Those of :func:`trained_parameters` that adapters of low rank move (the parts whose `what` is 'lora')."""
    by_stage = (*parts, head)
    if not any(part.trained and part.what == "lora" for part in by_stage) or isinstance(model, CutNetwork):
        return {}
    matrices = kinds_of(model).matrices
    trained = trained_parameters(model, stage_map, parts, head)
    return {
        name: stage
        for name, stage in trained.items()
        if name in matrices
        and any(p.what == "lora" for p in _parts_by_stage(_parameter_stages(name, stage_map), by_stage))
    }


def _parameter_stages(name: str, stage_map: StageMap) -> tuple[int, ...]:
    if stage_map.head.owns(name):
        return (len(stage_map) + 1,)
    return stage_map.parameter_stages.get(name, ())


def _is_trained(name: str, part: Part, kinds: Kinds) -> bool:
    if name in kinds.batchnorm:
        return part.batchnorm in AFFINE_TRAINED
    if not part.trained or part.what == "all":
        return part.trained
    return name in {"norm": kinds.norm, "bias": kinds.bias, "lora": kinds.matrices}[part.what]


def moving_buffers(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Buffers that this phase moves on purpose, each with its stage: BatchNorm statistics by their policy, and what
    other modules of trained stages keep (InstanceNorm statistics, the vectors of spectral norm, a container's own)."""
    by_stage = (*parts, head)
    moving: dict[str, int] = {}
    if isinstance(model, CutNetwork):
        return moving
    for prefix, module in model.named_modules():
        owner = prefix.partition(".parametrizations")[0]  # what parametrises a tensor goes with the tensor's module
        stages = _stages_of_modules(owner, stage_map)
        if stages and _trains(owner, model.get_submodule(owner), stage_map, by_stage):
            names = [f"{prefix}.{own}" if prefix else own for own, _ in module.named_buffers(recurse=False)]
            moving |= dict.fromkeys(names, stages[0])
    return moving
