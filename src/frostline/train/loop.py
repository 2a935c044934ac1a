"""The training loop: one phase of one recipe at one rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.device import autocast
from frostline.base.errors import TrialError
from frostline.base.records import CurvePoint, IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.models.adapters import Adapters
from frostline.models.trainable import set_training, trained_parameters
from frostline.recipe.recipe import Phase
from frostline.recipe.schedule import (
    HOLD,
    MIN_HOLD,
    OPEN,
    Length,
    Plateau,
    max_hold,
    reading_interval,
    still_improving,
)
from frostline.stats.metrics import log_loss
from frostline.train.depthwise import fast_gradients
from frostline.train.feed import Reader, predict
from frostline.train.study import Study


@dataclass(frozen=True, kw_only=True)
class Job:
    """One phase to run. `inner` (rows, judged by log loss) finds the length where `length` is None.

    `until`: the step of the whole training at which it ends, None for the last phase.
    """

    phase: Phase
    rate: float
    rows: IntArray
    inner: IntArray
    length: Length | None
    block: int  # -1 for the refit
    until: int | None = None
    adapters: Adapters | None = None  # what moves in the place of weights that train by 'lora'


@dataclass
class Progress:
    """What the loop found; one phase goes on from where the one before it ended."""

    steps: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    no_gradient: tuple[str, ...] = ()
    undertrained: bool = False
    optimiser: torch.optim.Optimizer | None = None  # of the last phase
    start: Mapping[str, Tensor] = field(default_factory=dict)  # values before training, where a later phase needs them


def run_phase(study: Study, model: nn.Module, read: Reader, job: Job, done: Progress | None = None) -> Progress:
    """Train `model` in place; `done` is what earlier phases did. Raises TrialError when the loss is no number."""
    parts, head = job.phase.stages, job.phase.head
    set_training(model, study.stages, parts, head)
    names = trained_parameters(model, study.stages, parts, head)
    done = done or Progress()
    optimiser = make_optimiser(study, model, names, job)
    _take_over(optimiser, done)
    anchors = anchors_of(model, names, job.phase, done.start)
    stepper = Stepper(study, read, job, optimiser, anchors, _class_weights(study, job))
    rates = [group["lr"] for group in optimiser.param_groups]
    plateau, length, first = Plateau(), job.length, done.steps
    device = study.compute.device
    reading = reading_interval(study.steps_per_epoch(len(job.rows)), study.max_steps)
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        for epoch, batch in islice(batches(study, job), first, None):
            if _over(job, length, done.steps):
                break
            factor = (length or OPEN).factor(done.steps)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            _seed_step(derive_seed(study.seed, "step", job.block, done.steps), device)
            loss = stepper.step(batch, epoch)
            if done.steps == first:
                done.no_gradient = _without_gradient(model, names, job, done.no_gradient)
            done.steps += 1
            done.losses.append(loss)
            if not math.isfinite(loss):
                raise TrialError(f"The loss is {loss} at step {done.steps} (rate {job.rate:g}).", "Give a lower --lr.")
            at_end = length is not None and done.steps == length.steps
            if at_end or done.steps % reading == 0:
                flat = _read_curve(study, model, read, job, done, plateau)
                set_training(model, study.stages, parts, head)
                if length is None and job.until is None:
                    length = _found(done, flat, study.max_steps)
    if job.until is None:
        done.undertrained = done.undertrained or (job.length is not None and still_improving(done.losses))
    return done


def _over(job: Job, length: Length | None, steps: int) -> bool:
    """The phase has come to its end, or the whole training has."""
    ends = (job.until, None if length is None else length.steps)
    return any(end is not None and steps >= end for end in ends)


def _take_over(optimiser: torch.optim.Optimizer, done: Progress) -> None:
    """What trained in the phase before keeps its moments; what is new to training begins without any."""
    if type(done.optimiser) is type(optimiser):
        known = done.optimiser.state
        for parameter in (p for group in optimiser.param_groups for p in group["params"] if p in known):
            optimiser.state[parameter] = known[parameter]
    done.optimiser = optimiser


def _without_gradient(model: nn.Module, names: Mapping[str, int], job: Job, known: tuple[str, ...]) -> tuple[str, ...]:
    """Trained tensors that the first step of a phase gave no gradient, after those known from earlier phases."""
    parameters = dict(model.named_parameters())
    found = (n for n in names if all(p.grad is None for p in _leaves(n, parameters, job.adapters)))
    return tuple(dict.fromkeys((*known, *found)))


def _leaves(name: str, parameters: Mapping[str, nn.Parameter], adapters: Adapters | None) -> tuple[nn.Parameter, ...]:
    """What the optimiser moves to move the tensor of that name."""
    adapted = adapters is not None and name in adapters.factors
    return adapters.parameters_of(name) if adapters is not None and adapted else (parameters[name],)


def _class_weights(study: Study, job: Job) -> Tensor | None:
    weights = study.class_weights(job.rows)
    return None if weights is None else torch.from_numpy(weights).float().to(study.compute.device)


def _seed_step(seed: int, device: str) -> None:
    """Seed the (forked) global generator of the device, which dropout draws from; torch.manual_seed costs far more."""
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)


def _found(done: Progress, flat: bool, most: int) -> Length | None:
    """The length, once the plateau (or the longest hold) is reached; then only the decay is left to run."""
    if done.steps < MIN_HOLD or not (flat or done.steps >= max_hold(most)):
        return None
    done.undertrained = not flat
    return Length(min(most, math.ceil(done.steps / HOLD)), HOLD)


@dataclass(frozen=True)
class Stepper:
    """All that one step needs."""

    study: Study
    read: Reader
    job: Job
    optimiser: torch.optim.Optimizer
    anchors: Sequence[Anchor]
    class_weights: Tensor | None  # (C,), on the device

    def step(self, batch: IntArray, epoch: int) -> float:
        study, device = self.study, self.study.compute.device
        inputs = self.read.feed(study.positions(batch), study.training_view(epoch, len(self.job.rows)))
        targets = study.targets(batch).to(device)
        with autocast(study.compute), fast_gradients(study.compute):
            logits = self.read.forward(inputs)
        loss = F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.job.phase.label_smoothing
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        pull_back(self.anchors)
        self.optimiser.step()
        return float(loss.detach())


def _read_curve(study: Study, model: nn.Module, read: Reader, job: Job, done: Progress, plateau: Plateau) -> bool:
    """Add a reading; True once the inner loss has stopped falling."""
    since = done.curve[-1].step if done.curve else 0
    train = math.fsum(done.losses[since:]) / (done.steps - since)
    inner = None
    if len(job.inner):
        model.eval()
        inner = log_loss(predict(study, read, study.positions(job.inner)), study.dataset.labels[job.inner])
    done.curve.append(CurvePoint(step=done.steps, train_loss=train, validation_loss=inner))
    return plateau.reached(train if inner is None else inner)


def batches(study: Study, job: Job) -> Iterator[tuple[int, IntArray]]:
    """(epoch, dataset rows) without end. The order depends on seed, block and epoch only: strategies stay paired.

    Rows are spread evenly over an epoch's batches: a last batch of a few samples would spoil BatchNorm's statistics
    (with 50 rows in batches of 16 it cost `scratch` 34 points).
    """
    count, epoch = study.steps_per_epoch(len(job.rows)), 0
    while True:
        order = numpy_generator(study.seed, "order", job.block, epoch).permutation(job.rows)
        for batch in np.array_split(order, count):
            yield epoch, batch
        epoch += 1


def make_optimiser(study: Study, model: nn.Module, names: dict[str, int], job: Job) -> torch.optim.Optimizer:
    """Only tensors that train in this phase; no decay on biases and normalisation (1-D tensors)."""
    parameters = dict(model.named_parameters())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, stage in names.items():
        part = job.phase.part(stage)
        decay = part.weight_decay if parameters[name].dim() > 1 else 0.0
        leaves = _leaves(name, parameters, job.adapters)
        groups.setdefault((job.rate * part.lr_factor, decay), []).extend(leaves)
    listed = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    if job.phase.optimiser == "sgd":
        return torch.optim.SGD(listed, momentum=0.9)
    fused = study.compute.device.split(":")[0] in ("cpu", "cuda")
    return torch.optim.AdamW(listed, fused=fused)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A parameter, where it is pulled to (None: to zero), and how strongly."""

    parameter: nn.Parameter
    start: Tensor | None
    strength: float


def anchors_of(
    model: nn.Module, trained: Mapping[str, int], phase: Phase, start: Mapping[str, Tensor] | None = None
) -> tuple[Anchor, ...]:
    """Anchors of the trained parameters (`trained`: name -> stage, S + 1 is the head); none where nothing pulls.

    `start`: values before training, of those that an earlier phase may have moved.
    """
    if not (phase.pull or phase.head_pull):
        return ()
    parameters, last = dict(model.named_parameters()), len(phase.stages)
    known = start or {}
    return tuple(
        Anchor(parameters[name], known[name] if name in known else parameters[name].detach().clone(), phase.pull)
        if stage <= last
        else Anchor(parameters[name], None, phase.head_pull)
        for name, stage in trained.items()
    )


def pull_back(anchors: Sequence[Anchor]) -> None:
    """Add the penalty's gradient to that of the loss."""
    with torch.no_grad():
        for anchor in anchors:
            if anchor.parameter.grad is not None:
                away = anchor.parameter if anchor.start is None else anchor.parameter - anchor.start
                anchor.parameter.grad.add_(away, alpha=anchor.strength)
