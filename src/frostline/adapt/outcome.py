"""From an adapted network to the result of its arm: its readings, the audit and the ledger."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from frostline.adapt.reading import NetworkReading, read_study
from frostline.adapt.recipes import unchanged
from frostline.adapt.world import Adapted, World
from frostline.base.records import CurvePoint, FloatArray
from frostline.recipe.recipe import Recipe
from frostline.stats.proportions import corrected
from frostline.train.audit import ALL_FROZEN, audit, phase_promise, tensor_hashes
from frostline.train.ledger import make_ledger


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkChange:
    """What an arm did to a copy of the network."""

    recipe: Recipe
    model: nn.Module
    steps: int = 0
    rate: float | None = None
    curve: Sequence[CurvePoint] = ()
    no_gradient: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


def copy_of_network(world: World) -> nn.Module:
    """Return a copy of the network that an arm may change."""
    model = copy.deepcopy(world.target.trunk.model)
    return model.eval()


def read_target_and_held(world: World, model: nn.Module) -> tuple[NetworkReading, NetworkReading | None]:
    """Read the target, and the held-out source samples where they are at hand."""
    held = None
    if world.held is not None:
        held = read_study(world.held, model)
    return read_study(world.target, model), held


def changed(world: World, change: NetworkChange) -> Adapted:
    """Return the result of an arm that changed the network. Raises AuditError where a frozen tensor moved."""
    recipe = change.recipe
    study = world.target
    promised = phase_promise(change.model, study.stages, recipe.phases[0])
    counted = audit(study.trunk.hashes, tensor_hashes(change.model), promised, change.no_gradient)
    ledger = make_ledger(study.trunk.model, change.model, study.stages, recipe, change.rate)
    target, held = read_target_and_held(world, change.model)
    return Adapted(
        arm=recipe.name,
        recipe=recipe,
        target=target.probabilities(world.temperature),
        held=held.probabilities(world.temperature) if held else None,
        target_features=target.features,
        held_features=held.features if held else None,
        model=change.model,
        steps=change.steps,
        rate=change.rate,
        curve=tuple(change.curve),
        audit=counted,
        ledger=ledger,
        detail=change.detail,
    )


def as_is(world: World, name: str, prior: FloatArray | None = None, detail: Mapping[str, Any] | None = None) -> Adapted:
    """Return the result of an arm that leaves the network as it is; `prior` (C,) corrects its probabilities."""
    study = world.target
    model = study.trunk.model
    target, held = read_target_and_held(world, model)
    recipe = unchanged(study, name)
    counted = audit(study.trunk.hashes, tensor_hashes(model), ALL_FROZEN)
    probabilities = target.probabilities(world.temperature)
    on_held = held.probabilities(world.temperature) if held else None
    if prior is not None:
        probabilities = corrected(probabilities, prior)
        on_held = None if on_held is None else corrected(on_held, prior)
    return Adapted(
        arm=name,
        recipe=recipe,
        target=probabilities,
        held=on_held,
        target_features=target.features,
        held_features=held.features if held else None,
        prior=prior,
        audit=counted,
        ledger=make_ledger(model, model, study.stages, recipe, None),
        detail=detail or {},
    )
