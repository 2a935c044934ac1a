"""What is trained and what stays frozen: training flags and gradients of every module, with the BatchNorm policies.

In a trained part all parameters are trained, or those that its `what` names (:mod:`frostline.models.kinds`).

BatchNorm follows its part's policy, whether the part is trained or not:

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

from frostline.cutting.stages import StageMap
from frostline.models.kinds import Kinds, is_batchnorm, kinds_of
from frostline.models.new_heads import CutNetwork
from frostline.recipe.recipe import Part

STATISTICS_ADAPT = frozenset({"statistics", "all"})
AFFINE_TRAINED = frozenset({"affine", "all"})


def set_training(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> None:
    """Put the network into the state that a phase asks for; call it again after every `train()`.

    `parts[i]` is what happens to stage i + 1. What is read (called) in several stages is trained only where all of
    them are, so a parameter that a frozen prefix reads too stays frozen; what never runs in inference stays frozen.
    A container is in training mode where any part that runs within it is; but one around a cut that is exact only
    while it stays in inference mode (:attr:`StageMap.stays_in_inference`: it draws at random before the cut) isn't.
    """
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):  # the base is only read
        model.eval().requires_grad_(False)
        model.head.train(head.trained).requires_grad_(head.trained)
        return
    for name, module in model.named_modules():
        module.training = _is_in_training(name, module, stage_map, by_stage)
    trained = trained_parameters(model, stage_map, parts, head)
    adapted = adapted_parameters(model, stage_map, parts, head)  # an adapter is trained in the place of each
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained and name not in adapted)


def _is_in_training(name: str, module: nn.Module, stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    """Return True where the phase wants the module in training mode."""
    stages = _stages_that_run(name, module, stage_map)
    parts = _parts_by_stage(stages, by_stage)
    if not parts:
        return False
    if is_batchnorm(module):
        return all(part.batchnorm in STATISTICS_ADAPT for part in parts)
    if _is_container(module) and name not in stage_map.repeated:
        return any(part.trained for part in parts) and not _has_to_be_quiet(stages, stage_map, by_stage)
    if _has_buffers(module) and any(part.what != "all" for part in parts):
        return False  # in training mode its buffers would change, and only parameters are meant to
    return all(part.trained for part in parts)


def _stages_that_run(name: str, module: nn.Module, stage_map: StageMap) -> tuple[int, ...]:
    """Return the stages that call a module, or that call its container where inference leaves it out (a dropout)."""
    stages = _stages_of_module(name, stage_map)
    if not stages and next(module.parameters(), None) is None:
        return _stages_of_module(name.rpartition(".")[0], stage_map)
    return stages


def _is_container(module: nn.Module) -> bool:
    """Return True where other modules run within it; one that only computes a tensor (spectral norm) doesn't count."""
    return any(name != "parametrizations" for name, _ in module.named_children())


def _has_buffers(module: nn.Module) -> bool:
    return next(module.buffers(), None) is not None


def _has_to_be_quiet(stages: Sequence[int], stage_map: StageMap, by_stage: Sequence[Part]) -> bool:
    frozen = next((k for k, part in enumerate(by_stage) if not part.frozen), 0)
    return frozen in stage_map.stays_in_inference and stages[0] <= frozen


def _parts_by_stage(stages: Sequence[int], by_stage: Sequence[Part]) -> list[Part]:
    return [by_stage[stage - 1] for stage in stages]


def _stages_of_module(name: str, stage_map: StageMap) -> tuple[int, ...]:
    if stage_map.head.owns(name):
        return (len(stage_map) + 1,)
    return stage_map.module_stages.get(name, ())


def trained_parameters(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Map the parameters that this phase trains to their stages (S + 1: the head), adapted ones included."""
    by_stage = (*parts, head)
    if isinstance(model, CutNetwork):
        return {f"head.{name}": len(by_stage) for name, _ in model.head.named_parameters() if head.trained}
    kinds = kinds_of(model)
    trained: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        stages = _parameter_stages(name, stage_map)
        trained_by_part = [_is_trained(name, part, kinds) for part in _parts_by_stage(stages, by_stage)]
        if stages and all(trained_by_part) and parameter.is_floating_point():
            trained[name] = stages[0]
    return trained


def adapted_parameters(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Select from :func:`trained_parameters` those that low-rank adapters stand in for (parts with `what` 'lora')."""
    by_stage = (*parts, head)
    if not any(part.trained and part.what == "lora" for part in by_stage) or isinstance(model, CutNetwork):
        return {}
    matrices = kinds_of(model).matrices
    adapted: dict[str, int] = {}
    for name, stage in trained_parameters(model, stage_map, parts, head).items():
        own_parts = _parts_by_stage(_parameter_stages(name, stage_map), by_stage)
        if name in matrices and any(part.what == "lora" for part in own_parts):
            adapted[name] = stage
    return adapted


def _parameter_stages(name: str, stage_map: StageMap) -> tuple[int, ...]:
    if stage_map.head.owns(name):
        return (len(stage_map) + 1,)
    return stage_map.parameter_stages.get(name, ())


def _is_trained(name: str, part: Part, kinds: Kinds) -> bool:
    if name in kinds.batchnorm:
        return part.batchnorm in AFFINE_TRAINED
    if not part.trained:
        return False
    if part.what == "all":
        return True
    names = {"norm": kinds.norm, "bias": kinds.bias, "lora": kinds.matrices}
    return name in names[part.what]


def updated_buffers(model: nn.Module, stage_map: StageMap, parts: Sequence[Part], head: Part) -> dict[str, int]:
    """Map the buffers that this phase updates on purpose to their stages.

    They are BatchNorm statistics by their policy, and what other modules of trained stages keep: InstanceNorm
    statistics, the vectors of spectral norm, a container's own.
    """
    updated: dict[str, int] = {}
    if isinstance(model, CutNetwork):
        return updated
    by_stage = (*parts, head)
    for path, module in model.named_modules():
        owner = path.partition(".parametrizations")[0]  # what parametrises a tensor goes with the tensor's module
        stages = _stages_of_module(owner, stage_map)
        if stages and _is_in_training(owner, model.get_submodule(owner), stage_map, by_stage):
            names = [name for name, _ in module.named_buffers(prefix=path, recurse=False)]
            updated |= dict.fromkeys(names, stages[0])
    return updated
