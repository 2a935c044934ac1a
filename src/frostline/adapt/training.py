"""Trained arms: a fixed number of steps at a fixed rate, from a loss that the arm brings along.

Nothing is tuned, since there is nothing to tune by. Batches and dropout depend on (study seed, purpose, step) alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.adapt.reading import keeping_head_input
from frostline.adapt.world import World
from frostline.base.device import autocast, random_devices
from frostline.base.errors import TrialError
from frostline.base.events import Emit, ProgressEvent, silent
from frostline.base.records import CurvePoint, IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.features.inference import in_order
from frostline.models.depthwise import fast_gradients
from frostline.models.trainable import set_training, trained_parameters
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import Length
from frostline.train.feed import EVALUATION_VIEW, reader
from frostline.train.loop import Job, make_optimiser
from frostline.train.study import Study

BATCH = 32
READING = 10  # steps between two readings of the loss


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmTraining:
    """One training of an arm: its recipe (one phase), rate and steps; `extra`: modules that are trained beside the
    network and thrown away, at `extra_factor` times the rate. `purpose` seeds it."""

    recipe: Recipe
    rate: float
    steps: int
    purpose: str
    extra: Sequence[nn.Module] = ()
    extra_factor: float = 10.0
    before: int = 0  # steps of earlier rounds, of `whole` steps; for the progress
    whole: int | None = None
    constant: bool = False  # the rate isn't lowered towards the end


@dataclass
class Trained:
    """Readings of the loss, and trained tensors that the first step gave no gradient."""

    curve: list[CurvePoint] = field(default_factory=list)
    no_gradient: tuple[str, ...] = ()
    steps: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """What a batch gave: logits (B, C) and features before the head (B, D), with gradients."""

    logits: Tensor
    features: Tensor


def batch_of(rows: IntArray, seed: int, purpose: str, step: int) -> IntArray:
    """Return the rows of a step: every epoch goes through all of them in another order."""
    batches = max(1, len(rows) // BATCH)
    epoch, place = divmod(step, batches)
    order = numpy_generator(seed, "adapt", purpose, epoch).permutation(rows)
    batch: IntArray = np.array_split(order, batches)[place]
    return batch


def pass_batch(study: Study, model: nn.Module, batch: IntArray) -> Passed:
    """Run a batch of a study's samples through the network, as it is set."""
    read = reader(study, model, 0)
    rows = study.positions(batch)
    groups = study.features.groups(rows)
    logits, features = [], []
    with keeping_head_input(study, model) as kept, autocast(study.compute), fast_gradients(study.compute):
        for group in groups:
            logits.append(read.forward(read.feed(rows[group.places], EVALUATION_VIEW)).float())
            features.append(kept.features().float())
    return Passed(logits=in_order(logits, groups), features=in_order(features, groups))


def cross_entropy(study: Study, passed: Passed, labels: IntArray) -> Tensor:
    """Return the mean cross-entropy with labels (B,)."""
    return F.cross_entropy(passed.logits, torch.from_numpy(labels).to(study.compute.device))


def train(
    world: World,
    model: nn.Module,
    plan: ArmTraining,
    loss_of: Callable[[int], Tensor],
    *,
    keep_on: Callable[[int], bool] = lambda _step: True,
    emit: Emit = silent,
) -> Trained:
    """Train the network in place. `loss_of(step)` is the loss of a step; `keep_on(step)` says whether another follows.

    Raises TrialError for a loss of NaN or infinity.
    """
    study = world.target
    phase = plan.recipe.phases[0]
    set_training(model, study.stages, phase.stages, phase.head)
    names = trained_parameters(model, study.stages, phase.stages, phase.head)
    length = Length(plan.steps)
    job = Job(phase=phase, rate=plan.rate, rows=study.development, length=length, block=0)
    optimiser = make_optimiser(study, model, names, job)
    for module in plan.extra:
        optimiser.add_param_group({"params": list(module.parameters()), "lr": plan.rate * plan.extra_factor})
    rates = [group["lr"] for group in optimiser.param_groups]
    done = Trained()
    losses: list[float] = []
    with torch.random.fork_rng(devices=random_devices(study.compute.device)):
        for step in range(plan.steps):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate if plan.constant else rate * length.factor(step)
            torch.manual_seed(derive_seed(world.seed, "adapt-step", plan.purpose, step))
            loss = loss_of(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if step == 0:
                done.no_gradient = _left_without_gradient(model, names)
            optimiser.step()
            losses.append(float(loss.detach()))
            done.steps = step + 1
            if not math.isfinite(losses[-1]):
                raise TrialError(f"The loss is {losses[-1]} at step {step + 1} (rate {plan.rate:g}).")
            _report_loss(done, losses, plan, emit)
            if not keep_on(step):
                break
    model.eval().requires_grad_(False)
    return done


def _left_without_gradient(model: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    parameters = dict(model.named_parameters())
    return tuple(name for name in names if parameters[name].grad is None)


def _report_loss(done: Trained, losses: Sequence[float], plan: ArmTraining, emit: Emit) -> None:
    """Read the mean loss of the last steps, and report progress."""
    if done.steps % READING and done.steps != plan.steps:
        return
    since = done.curve[-1].step if done.curve else 0
    mean = math.fsum(losses[since:]) / (done.steps - since)
    done.curve.append(CurvePoint(step=done.steps, train_loss=mean))
    emit(
        ProgressEvent(
            kind="progress",
            text="training",
            done=float(plan.before + done.steps),
            total=float(plan.whole or plan.steps),
        )
    )
