"""Continued training on the source with a second loss that makes its features and the target's alike.

Sources: Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation"; Ganin et al. 2016,
"Domain-Adversarial Training of Neural Networks" (DANN).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.recipes import adaptation
from frostline.adapt.training import ArmTraining, batch_of, cross_entropy, pass_batch, train
from frostline.adapt.world import Adapted, World
from frostline.base.device import autocast
from frostline.base.events import Emit
from frostline.base.seeds import derive_seed
from frostline.cutting.guard import forked_seed
from frostline.recipe.recipe import Part

RATE = 1e-4
STEPS = 200
DECAY = 1e-4
WEIGHT = 1.0  # of the second loss
MOST = 100.0  # times that the distance of covariances counts at most: where it begins near 0 it is mere noise
HIDDEN = 256  # widest hidden layer of the discriminator
STEEPNESS = 10.0  # gamma of the reversal's schedule, as in the paper

Second = Callable[[Tensor, Tensor, int], Tensor]  # features of source (B, D) and target (B', D), step -> loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Companion:
    """The second loss, its weight, and what is trained for it alone."""

    loss: Second
    weight: float = WEIGHT
    module: nn.Module | None = None


def run_deep_coral(world: World, emit: Emit, weight: float = WEIGHT) -> Adapted:
    """Train all stages and the head with the distance of covariances as a second loss.

    It is scaled to begin at 1, like a classification loss: the paper wants both to end alike, by a weight set by hand.
    """
    firsts: list[float] = []

    def loss(source: Tensor, target: Tensor, _step: int) -> Tensor:
        distance = coral_distance(source, target)
        firsts.append(float(distance.detach()))
        return distance * min(MOST, 1.0 / max(firsts[0], 1e-12))

    companion = Companion(loss=loss, weight=weight)
    return _train_with(world, "deep-coral", companion, emit)


def run_dann(world: World, emit: Emit, weight: float = WEIGHT) -> Adapted:
    """Train all stages and the head against a discriminator of source and target."""
    study = world.target
    model_seed = derive_seed(world.seed, "adapt-discriminator")
    width = study.stages.head.in_features
    with forked_seed(model_seed):
        judge = nn.Sequential(nn.Linear(width, min(width, HIDDEN)), nn.ReLU(), nn.Linear(min(width, HIDDEN), 1)).to(
            study.compute.device
        )

    def loss(source: Tensor, target: Tensor, step: int) -> Tensor:
        features = reversed_gradient(torch.cat([source, target]), reversal(step / STEPS))
        sides = torch.cat([source.new_zeros(len(source)), target.new_ones(len(target))])
        with autocast(study.compute):
            answers = judge(features).squeeze(1)
        return F.binary_cross_entropy_with_logits(answers.float(), sides)

    return _train_with(world, "dann", Companion(loss=loss, weight=weight, module=judge), emit)


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """Return |C_s - C_t|^2 / (4 D^2), C the covariances of features (B, D) (Sun & Saenko 2016, equation 1)."""
    width = source.shape[1]
    return ((torch.cov(source.T) - torch.cov(target.T)) ** 2).sum() / (4 * width**2)


def reversal(progress: float) -> float:
    """Return by what the reversed gradient is multiplied, from 0 to 1 (Ganin et al. 2016, section 5.2.2)."""
    return 2.0 / (1.0 + math.exp(-STEEPNESS * progress)) - 1.0


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def reversed_gradient(features: Tensor, factor: float) -> Tensor:
    """Return the features as they are; their gradient comes back times -factor."""
    made: Tensor = _Reversed.apply(features, factor)
    return made


def _train_with(world: World, name: str, companion: Companion, emit: Emit) -> Adapted:
    """Train on the source's labels; the target's samples reach the second loss alone."""
    study, source = world.target, world.source
    assert source is not None
    part = Part(trained=True, weight_decay=DECAY)
    recipe = adaptation(study, name, part, part)
    model = copy_of_network(world)
    second: list[float] = []

    def loss_of(step: int) -> Tensor:
        rows = batch_of(source.development, world.seed, "source", step)
        own = pass_batch(source, model, rows)
        loss = cross_entropy(source, own, source.dataset.labels[rows])
        if companion.weight == 0:  # plain continued training
            return loss
        others = batch_of(study.development, world.seed, "target", step)
        extra = companion.loss(own.features, pass_batch(study, model, others).features, step)
        second.append(float(extra.detach()))
        return loss + companion.weight * extra

    extra_modules = [companion.module] if companion.module else []
    plan = ArmTraining(recipe=recipe, rate=RATE, steps=STEPS, purpose="companion", extra=extra_modules)
    done = train(world, model, plan, loss_of, emit=emit)
    detail = {"weight": companion.weight}
    if second:
        detail |= {"second_loss_at_first": second[0], "second_loss_at_last": second[-1]}
    change = NetworkChange(
        recipe=recipe,
        model=model,
        steps=done.steps,
        rate=RATE,
        curve=done.curve,
        no_gradient=done.no_gradient,
        detail=detail,
    )
    return changed(world, change)
