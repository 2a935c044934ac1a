"""The ledger: for every tensor of the final network its origin, what each phase did to it, and how far it moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from frostline.base.hashing import hash_tensor
from frostline.cutting.stages import StageMap
from frostline.models.adapters import rank_of
from frostline.models.trainable import adapted_parameters
from frostline.recipe.recipe import Part, Phase, Recipe
from frostline.train.audit import phase_promise, promise
from frostline.train.start import reinitialised

CUT_BASE, CUT_HEAD = "base.", "head."  # names in a network that was cut short (models.heads.CutNetwork)


def make_ledger(
    start: nn.Module, final: nn.Module, stages: StageMap, recipe: Recipe, rate: float | None
) -> list[dict[str, Any]]:
    """One row a tensor or buffer, in the network's own order. `distance` is the Euclidean norm of the change."""
    promised = promise(start, stages, recipe)
    phases = [_Moved(start, stages, phase, recipe) for phase in recipe.phases]
    before, after, drawn = _tensors(start), _tensors(final), _drawn(stages, recipe)
    rows = []
    for name, tensor in after.items():
        stage = _stage_of(name, stages, recipe)
        if stage is None:
            continue  # thrown away
        head = stage > len(stages)
        first = before.get(name)
        rows.append(
            {
                "tensor": name,
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "stage": "head" if head else stage,
                "stage_name": "head" if head else _stage_name(stages, stage),
                "origin": recipe.head_origin if head else "reinitialised" if drawn(name) else "pretrained",
                "phases": [moved.note(name, stage, rate) for moved in phases],
                "moves_on_purpose": name in promised.moving,
                "sha256_before": hash_tensor(first) if first is not None else None,
                "sha256_after": hash_tensor(tensor),
                "distance": _distance(first, tensor),
            }
        )
    return rows


def _drawn(stages: StageMap, recipe: Recipe) -> Callable[[str], bool]:
    """Tells which of the network's tensors began as random numbers."""
    if set(recipe.origins) == {"reinitialised"}:
        return lambda _name: True
    names = reinitialised(stages, recipe)
    return lambda name: name in names


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _stage_of(name: str, stages: StageMap, recipe: Recipe) -> int | None:
    """Stage of a tensor (S + 1: the head, 0: never read); None for what a network cut short has thrown away."""
    last = len(stages)
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
    return stages[stage].name if stage else "never read"


class _Moved:
    """What one phase did to each tensor."""

    def __init__(self, model: nn.Module, stages: StageMap, phase: Phase, recipe: Recipe) -> None:
        self.phase, self.adapter = phase, recipe.adapter
        self.trained = phase_promise(model, stages, phase).trained
        adapted = adapted_parameters(model, stages, phase.stages, phase.head)
        self.adapted = {name: p for name, p in model.named_parameters() if name in adapted}

    def note(self, name: str, stage: int, rate: float | None) -> dict[str, Any]:
        """A phase's entry in a tensor's row."""
        part, trained = _part(self.phase, stage), name in self.trained
        solved = self.phase.is_solved
        return {
            "phase": self.phase.name,
            "trained": trained,
            "how": self._how(name) if trained else None,
            "rate": None if solved or not trained or rate is None else rate * part.lr_factor,
            "weight_decay": part.weight_decay if trained and not solved else 0.0,
            "batchnorm": part.batchnorm,
        }

    def _how(self, name: str) -> str:
        if self.phase.is_solved:
            return self.phase.solver
        if self.adapter is None or name not in self.adapted:
            return self.phase.optimiser
        rank = rank_of(self.adapted[name], self.adapter)
        return f"{self.phase.optimiser} on an adapter of rank {rank}, alpha {self.adapter.alpha:g}, then merged"


def _part(phase: Phase, stage: int) -> Part:
    return phase.part(stage)


def _distance(first: Tensor | None, last: Tensor) -> float | None:
    if first is None or first.shape != last.shape:
        return None
    return float((last.detach().cpu().double() - first.detach().cpu().double()).norm())
