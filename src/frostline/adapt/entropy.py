"""Entropy minimisation: normalisation layers are trained until the network is surer of its answers on the target.

Source: Wang et al. 2021, "Tent: Fully Test-time Adaptation by Entropy Minimization": scale and shift of normalisation
alone are trained, with the target's statistics. It can end in one answer for all samples, so it stops before that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frostline.adapt.adabn import adapt_statistics, statistics_layers
from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.recipes import adaptation
from frostline.adapt.training import ArmTraining, batch_of, pass_batch, train
from frostline.adapt.world import Adapted, World
from frostline.base.events import Emit
from frostline.models.kinds import kinds_of
from frostline.recipe.recipe import Part

RATE = 1e-3
STEPS = 50
INTERVAL = 10  # steps between two states that can be gone back to
LEAST_VARIETY = 0.5  # of the classes answered with at first, below which the answers collapse
NORM = Part(trained=True, what="norm", batchnorm="all")


def has_norms(world: World) -> bool:
    """Return True where the network has normalisation layers with scale and shift."""
    return bool(kinds_of(world.target.trunk.model).norm)


def run_entropy(world: World, emit: Emit) -> Adapted:
    """Train scale and shift of all normalisation layers by the entropy of the answers."""
    study = world.target
    model = copy_of_network(world)
    recipe = adaptation(study, "entropy", NORM)
    source_statistics = _statistics(model)
    variety: list[float] = []
    safe: list[dict[str, Tensor]] = [_norms(model)]

    def collapses() -> bool:
        return variety[-1] < LEAST_VARIETY * variety[0]

    def loss_of(step: int) -> Tensor:
        logits = pass_batch(study, model, batch_of(study.development, world.seed, "entropy", step)).logits
        variety.append(effective_classes(logits))
        if step % INTERVAL == 0 and not collapses():  # the weights that gave these answers
            safe[0] = _norms(model)
        return entropy(logits)

    def keep_on(_step: int) -> bool:
        return not collapses()

    plan = ArmTraining(recipe=recipe, rate=RATE, steps=STEPS, purpose="entropy", constant=True)
    done = train(world, model, plan, loss_of, keep_on=keep_on, emit=emit)
    collapsed = collapses()
    if collapsed:
        _put(model, safe[0])
    _put(model, source_statistics)
    adapt_statistics(study, model)
    change = NetworkChange(
        recipe=recipe,
        model=model,
        steps=done.steps,
        rate=RATE,
        curve=done.curve,
        no_gradient=done.no_gradient,
        detail={"stopped_before_collapse": collapsed, "classes_at_first": variety[0], "classes_at_last": variety[-1]},
    )
    return changed(world, change)


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy in nats of the answers (B, C)."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def effective_classes(logits: Tensor) -> float:
    """Return how many classes are answered with: the exponential of the entropy of the mean answer."""
    mean = logits.detach().softmax(1).mean(0).double().clamp_min(1e-12)
    return math.exp(float(-(mean * mean.log()).sum()))


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    layers = {id(layer) for layer in statistics_layers(model)}
    return {
        f"{path}.{name}": tensor.clone()
        for path, module in model.named_modules()
        if id(module) in layers
        for name, tensor in module.named_buffers(recurse=False)
    }


def _norms(model: nn.Module) -> dict[str, Tensor]:
    names = kinds_of(model).norm
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if name in names}


def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)
