"""The ledger: for every tensor of the final network its origin, what each phase did to it, and how far it moved."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from frostline.base.hashing import hash_tensor
from frostline.models.stages import StageMap
from frostline.recipe.recipe import Part, Phase, Recipe
from frostline.train.audit import promise

CUT_BASE, CUT_HEAD = "base.", "head."  # names in a network that was cut short (models.heads.CutNetwork)


def make_ledger(
    start: nn.Module, final: nn.Module, stages: StageMap, recipe: Recipe, rate: float | None
) -> list[dict[str, Any]]:
    """One row a tensor or buffer, in the network's own order. `distance` is the Euclidean norm of the change."""
    promised = promise(start, stages, recipe)
    before, after = _tensors(start), _tensors(final)
    rows = []
    for name, tensor in after.items():
        stage = _stage_of(name, stages, recipe)
        if stage is None:
            continue  # thrown away
        head = stage > len(stages.stages)
        first = before.get(name)
        solved_head = head and recipe.solver == "solved"
        rows.append({
            "tensor": name,
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "stage": "head" if head else stage,
            "stage_name": "head" if head else _stage_name(stages, stage),
            "origin": recipe.head_origin if head else _origin(recipe, stage),
            "phases": [_phase_note(p, stage, name in promised.trained or solved_head, rate) for p in recipe.phases],
            "moves_on_purpose": name in promised.moving,
            "sha256_before": hash_tensor(first) if first is not None else None,
            "sha256_after": hash_tensor(tensor),
            "distance": _distance(first, tensor),
        })  # fmt: skip
    return rows


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _stage_of(name: str, stages: StageMap, recipe: Recipe) -> int | None:
    """Stage of a tensor (S + 1: the head, 0: never read); None for what a network cut short has thrown away."""
    last = len(stages.stages)
    if not recipe.cut_short:
        return last + 1 if stages.head.owns(name) else _read_in(name, stages)
    if name.startswith(CUT_HEAD):
        return last + 1
    inner = name.removeprefix(CUT_BASE)
    stage = _read_in(inner, stages)
    return None if stages.head.owns(inner) or not 1 <= stage <= recipe.keep else stage


def _read_in(name: str, stages: StageMap) -> int:
    return stages.parameter_stage.get(name, stages.buffer_stage.get(name, 0))


def _stage_name(stages: StageMap, stage: int) -> str:
    return stages.stages[stage - 1].name if stage else "never read"


def _origin(recipe: Recipe, stage: int) -> str:
    return recipe.origins[max(0, stage - 1)]


def _phase_note(phase: Phase, stage: int, trained: bool, rate: float | None) -> dict[str, Any]:
    part = _part(phase, stage)
    solved = phase.solver == "solved"
    return {
        "phase": phase.name,
        "trained": trained,
        "how": (phase.solver if solved else phase.optimiser) if trained else None,
        "rate": None if solved or not trained or rate is None else rate * part.lr_factor,
        "weight_decay": part.weight_decay if trained and not solved else 0.0,
        "batchnorm": part.batchnorm,
    }


def _part(phase: Phase, stage: int) -> Part:
    return phase.stages[stage - 1] if 1 <= stage <= len(phase.stages) else phase.head


def _distance(first: Tensor | None, last: Tensor) -> float | None:
    if first is None or first.shape != last.shape:
        return None
    return float((last.detach().cpu().double() - first.detach().cpu().double()).norm())
