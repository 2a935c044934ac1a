"""Proof of what moved: the hash of every tensor and buffer before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from frostline.base.errors import AuditError
from frostline.base.hashing import hash_tensor
from frostline.base.records import AuditCount
from frostline.cutting.stages import StageMap
from frostline.features.extract import Trunk
from frostline.models.trainable import moving_buffers, trained_parameters
from frostline.recipe.recipe import Phase, Recipe
from frostline.train.start import reinitialised

SOLVED_TENSORS = 2  # weight and bias


def hash_tensors(model: nn.Module) -> dict[str, str]:
    """Name -> hash of every parameter and buffer; a tensor under two names counts once, under its first."""
    tensors = dict(model.named_parameters())
    tensors |= dict(model.named_buffers())  # type: ignore[arg-type]
    return {name: hash_tensor(tensor) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Promise:
    """What a recipe allows to move, by tensor name; all else is frozen."""

    trained: frozenset[str]
    moving: frozenset[str]  # running statistics that another BatchNorm policy than 'frozen' lets move


NOTHING_MOVES = Promise(frozenset(), frozenset())


def promise(model: nn.Module, stages: StageMap, recipe: Recipe) -> Promise:
    """What the recipe's phases may move in this network."""
    if not recipe.takes_steps:  # a solved head is put in at the end; the network itself is only read
        return NOTHING_MOVES
    parts = [phase_promise(model, stages, phase) for phase in recipe.phases]
    return Promise(frozenset().union(*(p.trained for p in parts)), frozenset().union(*(p.moving for p in parts)))


def phase_promise(model: nn.Module, stages: StageMap, phase: Phase) -> Promise:
    """What one phase may move; of a weight with an adapter the merged one is meant."""
    trained = trained_parameters(model, stages, phase.stages, phase.head)
    moving = moving_buffers(model, stages, phase.stages, phase.head)
    return Promise(frozenset(trained), frozenset(moving))


def check_base(before: Mapping[str, str], after: Mapping[str, str], adapted: frozenset[str]) -> None:
    """Raise AuditError where, before adapters are merged, a weight has moved itself and not only its adapter."""
    audit({name: before[name] for name in adapted}, after, NOTHING_MOVES)


def solved_audit(trunk: Trunk, recipe: Recipe) -> AuditCount:
    """A solved head leaves the trunk as it was before its features were computed; only the new head differs."""
    stages = trunk.stages
    place = {**stages.parameter_stage, **stages.buffer_stage}
    kept = {n: h for n, h in trunk.hashes.items() if not stages.head.owns(n) and place.get(n, 0) <= recipe.keep}
    counted = audit(kept, hash_tensors(trunk.model), NOTHING_MOVES)
    return counted + AuditCount(trained_tensors=SOLVED_TENSORS, trained_changed=SOLVED_TENSORS)


def start_hashes(trunk: Trunk, recipe: Recipe, model: nn.Module) -> dict[str, str]:
    """Hashes before training: of pre-trained tensors those of the source network, of new ones their own."""
    own = hash_tensors(model)
    if "pretrained" not in recipe.origins:
        return own
    kept, drawn = recipe.head_origin == "pretrained", reinitialised(trunk.stages, recipe)
    return own | {
        n: h for n, h in trunk.hashes.items() if n in own and n not in drawn and (kept or not trunk.stages.head.owns(n))
    }


def audit(
    before: Mapping[str, str], after: Mapping[str, str], promised: Promise, no_gradient: tuple[str, ...] = ()
) -> AuditCount:
    """Compare two snapshots with the promise. Raises AuditError naming each frozen tensor that moved."""
    changed = {name for name in before if after.get(name) != before[name]}
    frozen = set(before) - promised.trained - promised.moving
    broken = sorted(frozen & changed)
    if broken:
        raise AuditError(f"{len(broken)} tensors that the recipe calls frozen have moved: {', '.join(broken[:5])}.")
    return AuditCount(
        frozen_tensors=len(frozen),
        frozen_unchanged=len(frozen - changed),
        moving_on_purpose=len(promised.moving),
        trained_tensors=len(promised.trained),
        trained_changed=len(promised.trained & changed),
        no_gradient=no_gradient,
    )
