"""The ledger: for every tensor of the final network its origin, its part in each phase, and how far it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from frostline.base.hashing import hash_tensor
from frostline.cutting.stages import StageMap
from frostline.models.adapters import rank_of
from frostline.models.trainable import adapted_parameters
from frostline.recipe.recipe import Phase, Recipe
from frostline.train.audit import phase_promise, promise
from frostline.train.start import reinitialised, tensors_by_name

# How names begin in a network that was cut short (models.new_heads.CutNetwork).
CUT_BASE = "base."
CUT_HEAD = "head."


def make_ledger(
    start: nn.Module, final: nn.Module, stages: StageMap, recipe: Recipe, rate: float | None
) -> list[dict[str, Any]]:
    """Return one row per tensor, in the network's own order. `distance` is the Euclidean norm of the change."""
    promised = promise(start, stages, recipe)
    phases = [_PhaseNotes(start, stages, phase, recipe) for phase in recipe.phases]
    origin_of = _origins(stages, recipe)
    before = tensors_by_name(start)
    rows = []
    for name, tensor in tensors_by_name(final).items():
        stage = _stage_of(name, stages, recipe)
        if stage is None:
            continue  # thrown away
        first = before.get(name)
        rows.append(
            {
                "tensor": name,
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                **_place(stages, stage),
                "origin": origin_of(name, stage),
                "phases": [notes.entry(name, stage, rate) for notes in phases],
                "moves_on_purpose": name in promised.updated,
                "sha256_before": None if first is None else hash_tensor(first),
                "sha256_after": hash_tensor(tensor),
                "distance": _distance(first, tensor),
            }
        )
    return rows


def _origins(stages: StageMap, recipe: Recipe) -> Callable[[str, int], str]:
    """Return the function from a tensor's name and stage to the origin of its first values."""
    all_drawn = set(recipe.origins) == {"reinitialised"}
    drawn = reinitialised(stages, recipe)

    def origin_of(name: str, stage: int) -> str:
        if stage > len(stages):
            return recipe.head_origin
        if all_drawn or name in drawn:
            return "reinitialised"
        return "pretrained"

    return origin_of


def _stage_of(name: str, stages: StageMap, recipe: Recipe) -> int | None:
    """Return a tensor's stage (S + 1: the head, 0: never read); None for one that a network cut short doesn't keep."""
    head = len(stages) + 1
    if recipe.cut_short:
        return _stage_in_cut_network(name, stages, recipe.keep)
    if stages.head.owns(name):
        return head
    return _first_reader(name, stages)


def _stage_in_cut_network(name: str, stages: StageMap, keep: int) -> int | None:
    if name.startswith(CUT_HEAD):
        return len(stages) + 1
    inner = name.removeprefix(CUT_BASE)
    stage = _first_reader(inner, stages)
    if stages.head.owns(inner) or not 1 <= stage <= keep:
        return None
    return stage


def _first_reader(name: str, stages: StageMap) -> int:
    return stages.parameter_stage.get(name, stages.buffer_stage.get(name, 0))


def _place(stages: StageMap, stage: int) -> dict[str, Any]:
    if stage > len(stages):
        return {"stage": "head", "stage_name": "head"}
    if stage == 0:
        return {"stage": 0, "stage_name": "never read"}
    return {"stage": stage, "stage_name": stages[stage].name}


class _PhaseNotes:
    """Tells what one phase did to each tensor."""

    def __init__(self, model: nn.Module, stages: StageMap, phase: Phase, recipe: Recipe) -> None:
        self.phase = phase
        self.adapter = recipe.adapter
        self.trained = phase_promise(model, stages, phase).trained
        adapted = adapted_parameters(model, stages, phase.stages, phase.head)
        self.adapted = {name: p for name, p in model.named_parameters() if name in adapted}

    def entry(self, name: str, stage: int, rate: float | None) -> dict[str, Any]:
        """Return the phase's entry in a tensor's row."""
        part = self.phase.part(stage)
        trained = name in self.trained
        entry = {
            "phase": self.phase.name,
            "trained": trained,
            "how": None,
            "rate": None,
            "weight_decay": 0.0,
            "batchnorm": part.batchnorm,
        }
        if trained:
            entry["how"] = self._method(name)
        if trained and not self.phase.is_solved:
            entry["weight_decay"] = part.weight_decay
            if rate is not None:
                entry["rate"] = rate * part.lr_factor
        return entry

    def _method(self, name: str) -> str:
        if self.phase.is_solved:
            return self.phase.solver
        if self.adapter is None or name not in self.adapted:
            return self.phase.optimiser
        rank = rank_of(self.adapted[name], self.adapter)
        return f"{self.phase.optimiser} on an adapter of rank {rank}, alpha {self.adapter.alpha:g}, then merged"


def _distance(first: Tensor | None, last: Tensor) -> float | None:
    if first is None or first.shape != last.shape:
        return None
    return float((last.detach().cpu().double() - first.detach().cpu().double()).norm())
