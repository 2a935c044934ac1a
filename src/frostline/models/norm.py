"""What moves and what doesn't: training flags and gradients of every module, with the BatchNorm policies (DESIGN 2).

BatchNorm follows its part's policy, whatever else the part does:

| policy     | running statistics | scale and shift |
|------------|--------------------|-----------------|
| frozen     | fixed (inference)  | fixed           |
| statistics | adapt              | fixed           |
| affine     | fixed (inference)  | trained         |
| all        | adapt              | trained         |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.models.new_heads import CutNetwork
from frostline.models.stages import StageMap
from frostline.recipe.recipe import Part

STATISTICS_MOVE = frozenset({"statistics", "all"})
AFFINE_TRAINED = frozenset({"affine", "all"})


def set_training(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> None:
    """Put the network into the state that a phase asks for; call it again after every `train()`.

    `parts[i]` is what happens to stage i + 1. What is read (called) in several stages is trained only where all of
    them are, so a parameter that a frozen prefix reads too stays frozen; what never runs in inference stays frozen.
    A container is in training mode where any part that runs within it is; but one around a cut that is exact only
    while it is quiet (:attr:`StageMap.quiet`: it draws at random before the cut) stays in inference mode.
    """
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):  # what is left of the network is only read
        model.eval().requires_grad_(False)
        model.head.train(head.trained).requires_grad_(head.trained)
        return
    for name, module in model.named_modules():
        module.training = _trains(name, module, stage_map, by_stage)
    trained = trained_parameters(model, stage_map, parts, head)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def _trains(name: str, module: nn.Module, stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    stages = _module_stages(name, stage_map)
    if not stages and next(module.parameters(), None) is None:  # such as a dropout that inference leaves out
        stages = _module_stages(name.rpartition(".")[0], stage_map)
    found = _parts(stages, by_stage)
    if isinstance(module, _BatchNorm):
        return bool(found) and all(part.batchnorm in STATISTICS_MOVE for part in found)
    if next(module.children(), None) is not None and name not in stage_map.repeated:
        return any(part.trained for part in found) and not _has_to_be_quiet(stages, stage_map, by_stage)
    return bool(found) and all(part.trained for part in found)


def _has_to_be_quiet(stages: Sequence[int], stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    frozen = next((k for k, part in enumerate(by_stage) if not part.frozen), 0)
    return frozen in stage_map.quiet and stages[0] <= frozen


def _parts(stages: Sequence[int], by_stage: Sequence[Part]) -> list[Part]:
    return [by_stage[stage - 1] for stage in stages]


def _module_stages(name: str, stage_map: StageMap) -> tuple[int, ...]:
    if stage_map.head.owns(name):
        return (len(stage_map.stages) + 1,)
    return stage_map.module_stages.get(name, ())


def _batchnorm_prefixes(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield name, module


def trained_parameters(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Names of the parameters that this phase trains, each with its stage (S + 1: the head)."""
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):
        return {f"head.{name}": len(by_stage) for name, _ in model.head.named_parameters() if head.trained}
    affine = {
        f"{prefix}.{own}" if prefix else own
        for prefix, module in _batchnorm_prefixes(model)
        for own, _ in module.named_parameters(recurse=False)
    }
    trained: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        stages = (len(by_stage),) if stage_map.head.owns(name) else stage_map.parameter_stages.get(name, ())
        found = _parts(stages, by_stage)
        moves = [part.batchnorm in AFFINE_TRAINED if name in affine else part.trained for part in found]
        if moves and all(moves) and parameter.is_floating_point():
            trained[name] = stages[0]
    return trained


def moving_buffers(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Buffers that this phase moves on purpose, each with its stage: BatchNorm statistics by their policy, and what
    other modules of trained stages keep (InstanceNorm statistics, the vectors of spectral norm)."""
    by_stage = (*parts, head)
    moving: dict[str, int] = {}
    if isinstance(model, CutNetwork):
        return moving
    for prefix, module in model.named_modules():
        owner = prefix.partition(".parametrizations")[0]  # what parametrises a tensor goes with the tensor's module
        stages = _module_stages(owner, stage_map)
        if stages and _trains(owner, model.get_submodule(owner), stage_map, by_stage):
            names = [f"{prefix}.{own}" if prefix else own for own, _ in module.named_buffers(recurse=False)]
            moving |= dict.fromkeys(names, stages[0])
    return moving
