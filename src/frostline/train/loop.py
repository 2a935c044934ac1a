"""The training loop: one phase of one recipe at one rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from frostline.base.device import autocast
from frostline.base.errors import TrialError
from frostline.base.records import CurvePoint, IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.models.norm import set_training, trained_parameters
from frostline.recipe.recipe import Phase
from frostline.stats.metrics import log_loss
from frostline.train.depthwise import fast_gradients
from frostline.train.feed import Reader, predict
from frostline.train.schedule import HOLD, MAX_HOLD, MAX_STEPS, MIN_HOLD, OPEN, Length, Plateau, still_improving
from frostline.train.study import Study

READING_STEPS = 10  # a loss curve has a reading at least this many steps apart


@dataclass(frozen=True, kw_only=True)
class Job:
    """One phase to run. `inner` (rows, judged by log loss) finds the length where `length` is None."""

    phase: Phase
    rate: float
    rows: IntArray
    inner: IntArray
    length: Length | None
    block: int  # -1 for the refit


@dataclass
class Progressed:
    """What the loop found."""

    steps: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    no_gradient: tuple[str, ...] = ()
    undertrained: bool = False


def run_phase(study: Study, model: nn.Module, read: Reader, job: Job) -> Progressed:
    """Train `model` in place. Raises TrialError when the loss stops being a number."""
    parts, head = job.phase.stages, job.phase.head
    set_training(model, study.trunk.stages, parts, head)
    names = trained_parameters(model, study.trunk.stages, parts, head)
    optimiser = make_optimiser(study, model, names, job)
    rates = [group["lr"] for group in optimiser.param_groups]
    done, plateau, length = Progressed(), Plateau(), job.length
    device = study.compute.device
    # once an epoch, but at least ten times before the longest hold is over
    reading = max(READING_STEPS, min(study.steps_per_epoch(len(job.rows)), MAX_HOLD // 10))
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        for epoch, batch in batches(study, job):
            factor = (length or OPEN).factor(done.steps)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            _seed_step(derive_seed(study.seed, "step", job.block, done.steps), device)
            loss = _step(study, read, optimiser, job, batch, epoch)
            if done.steps == 0:
                done.no_gradient = tuple(n for n, p in model.named_parameters() if n in names and p.grad is None)
            done.steps += 1
            done.losses.append(loss)
            if not math.isfinite(loss):
                raise TrialError(f"The loss is {loss} at step {done.steps} (rate {job.rate:g}).", "Give a lower --lr.")
            at_end = length is not None and done.steps == length.steps
            if at_end or done.steps % reading == 0:
                flat = _read_curve(study, model, read, job, done, plateau)
                set_training(model, study.trunk.stages, parts, head)
                if length is None:
                    length = _found(done, flat)
            if length is not None and done.steps >= length.steps:
                break
    done.undertrained = done.undertrained or (job.length is not None and still_improving(done.losses))
    return done


def _seed_step(seed: int, device: str) -> None:
    """Seed the (forked) global generator of the device, which dropout draws from; torch.manual_seed costs far more."""
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)


def _found(done: Progressed, flat: bool) -> Length | None:
    """The length, once the plateau (or the longest hold) is reached; then only the decay is left to run."""
    if done.steps < MIN_HOLD or not (flat or done.steps >= MAX_HOLD):
        return None
    done.undertrained = not flat
    return Length(min(MAX_STEPS, math.ceil(done.steps / HOLD)), HOLD)


def _step(study: Study, read: Reader, optimiser: torch.optim.Optimizer, job: Job, batch: IntArray, epoch: int) -> float:
    inputs = read.feed(study.positions(batch), study.training_view(epoch, len(job.rows)))
    targets = study.targets(batch).to(study.compute.device)
    with autocast(study.compute), fast_gradients(study.compute):
        logits = read.forward(inputs)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=job.phase.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


def _read_curve(study: Study, model: nn.Module, read: Reader, job: Job, done: Progressed, plateau: Plateau) -> bool:
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
    """(epoch, dataset rows) without end. The order depends on seed, block and epoch only: strategies stay paired."""
    size, epoch = study.batch_size, 0
    while True:
        order = numpy_generator(study.seed, "order", job.block, epoch).permutation(job.rows)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            if len(batch) > 1 or len(order) == 1:
                yield epoch, batch
        epoch += 1


def make_optimiser(study: Study, model: nn.Module, names: dict[str, int], job: Job) -> torch.optim.Optimizer:
    """Only tensors that train in this phase; no decay on biases and normalisation (1-D tensors)."""
    parameters = dict(model.named_parameters())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, stage in names.items():
        part = job.phase.stages[stage - 1] if stage <= len(job.phase.stages) else job.phase.head
        decay = part.weight_decay if parameters[name].dim() > 1 else 0.0
        groups.setdefault((job.rate * part.lr_factor, decay), []).append(parameters[name])
    listed = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    if job.phase.optimiser == "sgd":
        return torch.optim.SGD(listed, momentum=0.9)
    fused = study.compute.device.split(":")[0] in ("cpu", "cuda")
    return torch.optim.AdamW(listed, fused=fused)
