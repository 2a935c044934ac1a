"""Proves which tensors changed: the hash of every parameter and buffer before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from frostline.base.errors import AuditError
from frostline.base.hashing import hash_tensor
from frostline.base.records import AuditCount
from frostline.cutting.stages import StageMap
from frostline.features.extract import Trunk
from frostline.models.trainable import trained_parameters, updated_buffers
from frostline.recipe.recipe import Phase, Recipe
from frostline.train.start import reinitialised, tensors_by_name

SOLVED_TENSORS = 2  # weight and bias


def tensor_hashes(model: nn.Module) -> dict[str, str]:
    """Return name -> hash of every parameter and buffer; a tensor under two names counts once, under its first."""
    return {name: hash_tensor(tensor) for name, tensor in tensors_by_name(model).items()}


@dataclass(frozen=True)
class Promise:
    """Names of the tensors that a recipe may change; all others are frozen."""

    trained: frozenset[str]
    updated: frozenset[str]  # buffers, such as running statistics under another BatchNorm policy than 'frozen'


ALL_FROZEN = Promise(frozenset(), frozenset())


def promise(model: nn.Module, stages: StageMap, recipe: Recipe) -> Promise:
    """Collect the tensors that the recipe's phases may change in this network."""
    if not recipe.takes_steps:  # a solved head is put in at the end; the network itself is only read
        return ALL_FROZEN
    promises = [phase_promise(model, stages, phase) for phase in recipe.phases]
    trained = frozenset().union(*(p.trained for p in promises))
    updated = frozenset().union(*(p.updated for p in promises))
    return Promise(trained, updated)


def phase_promise(model: nn.Module, stages: StageMap, phase: Phase) -> Promise:
    """Collect the tensors that one phase may change; a weight with an adapter changes when that is merged."""
    trained = trained_parameters(model, stages, phase.stages, phase.head)
    updated = updated_buffers(model, stages, phase.stages, phase.head)
    return Promise(frozenset(trained), frozenset(updated))


def check_base(before: Mapping[str, str], after: Mapping[str, str], adapted: frozenset[str]) -> None:
    """Raise AuditError where, before adapters are merged, a weight itself has changed and not only its adapter."""
    audit({name: before[name] for name in adapted}, after, ALL_FROZEN)


def solved_audit(trunk: Trunk, recipe: Recipe) -> AuditCount:
    """Check that the trunk is as it was before its features were computed: a solved head changes nothing before it."""
    stages = trunk.stages
    place = {**stages.parameter_stage, **stages.buffer_stage}
    kept = {n: h for n, h in trunk.hashes.items() if not stages.head.owns(n) and place.get(n, 0) <= recipe.keep}
    counted = audit(kept, tensor_hashes(trunk.model), ALL_FROZEN)
    return counted + AuditCount(trained_tensors=SOLVED_TENSORS, trained_changed=SOLVED_TENSORS)


def start_hashes(trunk: Trunk, recipe: Recipe, model: nn.Module) -> dict[str, str]:
    """Return the hashes before training: of pre-trained tensors those of the source network, of new ones their own."""
    hashes = tensor_hashes(model)
    if "pretrained" not in recipe.origins:
        return hashes
    drawn = reinitialised(trunk.stages, recipe)
    has_new_head = recipe.head_origin != "pretrained"
    for name, source_hash in trunk.hashes.items():
        replaced = name in drawn or (has_new_head and trunk.stages.head.owns(name))
        if name in hashes and not replaced:
            hashes[name] = source_hash
    return hashes


def audit(
    before: Mapping[str, str], after: Mapping[str, str], promised: Promise, no_gradient: tuple[str, ...] = ()
) -> AuditCount:
    """Compare hashes before and after with the promise. Raises AuditError naming frozen tensors that have changed."""
    changed = {name for name in before if after.get(name) != before[name]}
    frozen = set(before) - promised.trained - promised.updated
    broken = sorted(frozen & changed)
    if broken:
        raise AuditError(f"{len(broken)} tensors that the recipe calls frozen have changed: {', '.join(broken[:5])}.")
    return AuditCount(
        frozen_tensors=len(frozen),
        frozen_unchanged=len(frozen - changed),
        moving_on_purpose=len(promised.updated),
        trained_tensors=len(promised.trained),
        trained_changed=len(promised.trained & changed),
        no_gradient=no_gradient,
    )
