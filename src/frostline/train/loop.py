"""The training loop: one phase of one recipe at one rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.device import autocast, random_devices
from frostline.base.errors import TrialError
from frostline.base.records import CurvePoint, FloatArray, IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.features.inference import in_order
from frostline.models.adapters import Adapters
from frostline.models.depthwise import fast_gradients
from frostline.models.trainable import set_training, trained_parameters
from frostline.recipe.recipe import Phase
from frostline.recipe.schedule import FIRST_STEPS, Length, reading_interval, still_improving
from frostline.train.checkpoint import Checkpoint, moments, own_tensors, restore_moments
from frostline.train.feed import Reader, predict_rows
from frostline.train.study import Study

HOPELESS = 2.0  # times the loss of guessing, above which a training has diverged
LOOKED_AT = FIRST_STEPS // 4  # steps before which that isn't judged


@dataclass(frozen=True, kw_only=True)
class Job:
    """One phase to run. `length` is that of the whole training; `until`: the step of it at which this phase ends, None
    for the last one. `held`: samples that the study's last readings are taken of; then weights aren't averaged."""

    phase: Phase
    rate: float
    rows: IntArray
    length: Length
    block: int  # -1 for the refit
    until: int | None = None
    adapters: Adapters | None = None  # trained in the place of weights that train by 'lora'
    held: IntArray | None = None
    number: int = 0  # of the phase
    checkpoint: Checkpoint | None = None


@dataclass
class LoopState:
    """The state of the loop, and its readings; each phase goes on from where the one before it ended."""

    steps: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    no_gradient: tuple[str, ...] = ()
    undertrained: bool = False
    optimiser: torch.optim.Optimizer | None = None  # of the last phase
    start: Mapping[str, Tensor] = field(default_factory=dict)  # values before training, where a later phase needs them
    readings: list[FloatArray] = field(default_factory=list)  # class probabilities (N, C) of the job's held samples


def run_phase(study: Study, model: nn.Module, read: Reader, job: Job, state: LoopState | None = None) -> LoopState:
    """Train `model` in place, going on from earlier phases. Raises TrialError for a loss of NaN or infinity, and early
    where training has diverged."""
    parts = job.phase.stages
    head = job.phase.head
    set_training(model, study.stages, parts, head)
    names = trained_parameters(model, study.stages, parts, head)
    state = state or LoopState()
    optimiser = make_optimiser(study, model, names, job)
    _take_over_moments(optimiser, state)
    anchors = anchors_of(model, names, job.phase, state.start)
    stepper = Stepper(study, read, job, optimiser, anchors, _class_weights(study, job))
    rates = [group["lr"] for group in optimiser.param_groups]
    last = job.until or job.length.steps
    begun = state.steps
    device = study.compute.device
    reading = reading_interval(study.steps_per_epoch(len(job.rows)))
    guessing = math.log(study.classes)
    average = WeightAverage(optimiser, model)
    looks = _reading_steps(study, job)
    kept = _Kept(job, model, optimiser, average, state)
    kept.restore()
    first = state.steps
    with torch.random.fork_rng(devices=random_devices(device)):
        for epoch, batch in islice(batches(study, job), first, max(first, last)):
            _set_rates(optimiser, rates, job.length.factor(state.steps))
            _seed_step(derive_seed(study.seed, "step", job.block, state.steps), device)
            loss = stepper.step(batch, epoch)
            if job.until is None and not looks and job.length.is_averaged(state.steps):
                average.add()
            if state.steps == begun:
                state.no_gradient = _without_gradient(model, names, job, state.no_gradient)
            state.steps += 1
            state.losses.append(loss)
            if not math.isfinite(loss):
                raise TrialError(f"The loss is {loss} at step {state.steps} (rate {job.rate:g}).", "Give a lower --lr.")
            if state.steps % reading == 0 or state.steps == job.length.steps:
                _read_curve(state)
                _check_hopeful(state, job, HOPELESS * guessing)
            if state.steps in looks:
                _read_held(study, model, read, job, state)
            kept.save()
    average.put()
    if job.until is None:
        state.undertrained = still_improving(state.losses, guessing)
    return state


def _reading_steps(study: Study, job: Job) -> frozenset[int]:
    """Return the steps after which held-out samples are read; none where the training is judged once it has ended."""
    if job.held is None or study.last_readings is None:
        return frozenset()
    return frozenset(study.last_readings.steps(job.length.steps))


def _read_held(study: Study, model: nn.Module, read: Reader, job: Job, state: LoopState) -> None:
    """Add a reading of the held-out samples in inference mode, which changes nothing, and go back to training."""
    assert job.held is not None
    model.eval()
    state.readings.append(predict_rows(study, read, study.positions(job.held)))
    set_training(model, study.stages, job.phase.stages, job.phase.head)


@dataclass(frozen=True)
class _Kept:
    """What a phase keeps in the training's checkpoint, where there is one."""

    job: Job
    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: WeightAverage
    state: LoopState

    def save(self) -> None:
        """Write a checkpoint, if one is due."""
        checkpoint = self.job.checkpoint
        if checkpoint is None or not checkpoint.due():
            return
        tensors = {f"network.{name}": tensor for name, tensor in self._tensors().items()}
        tensors |= moments(self.optimiser)
        tensors |= {f"average.{place}": tensor for place, tensor in enumerate(self.average.mean)}
        tensors |= {f"reading.{place}": torch.from_numpy(r) for place, r in enumerate(self.state.readings)}
        note = {
            "phase": self.job.number,
            "averaged": self.average.count,
            "steps": self.state.steps,
            "curve": [asdict(point) for point in self.state.curve],
            "losses": self.state.losses,
            "no_gradient": self.state.no_gradient,
        }
        checkpoint.save(tensors, note)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one of this phase."""
        found = self.job.checkpoint.find() if self.job.checkpoint else None
        if found is None or found[1]["phase"] != self.job.number:
            return
        tensors, note = found
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(tensors[f"network.{name}"])
        restore_moments(self.optimiser, tensors)
        if note["averaged"]:
            self.average.mean = [
                torch.empty_like(tensor).copy_(tensors[f"average.{place}"])
                for place, tensor in enumerate(self.average.tensors)
            ]
        self.average.count = note["averaged"]
        self.state.steps = note["steps"]
        self.state.curve = [CurvePoint(**point) for point in note["curve"]]
        self.state.losses = list(note["losses"])
        self.state.no_gradient = tuple(note["no_gradient"])
        readings = sum(name.startswith("reading.") for name in tensors)
        self.state.readings = [tensors[f"reading.{place}"].numpy() for place in range(readings)]

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that training may change."""
        tensors = own_tensors(self.model)
        if self.job.adapters is not None:
            for name in self.job.adapters.factors:
                up, down = self.job.adapters.parameters_of(name)
                tensors |= {f"{name}, up": up, f"{name}, down": down}
        return tensors


class WeightAverage:
    """The running mean of what an optimiser trains, and of the running statistics beside it, over the steps added.

    Values that don't change stay the same to the bit. Source: Izmailov et al. 2018, stochastic weight averaging.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, model: nn.Module) -> None:
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        self.tensors = [t.detach() for t in (*trained, *model.buffers()) if t.is_floating_point()]
        self.mean: list[Tensor] = []
        self.count = 0

    def add(self) -> None:
        """Count the present values in."""
        self.count += 1
        if self.mean:
            torch._foreach_lerp_(self.mean, self.tensors, 1 / self.count)
        else:
            self.mean = [t.clone() for t in self.tensors]

    def put(self) -> None:
        """Put the mean in the place of the present values, where anything was added."""
        if self.mean:
            torch._foreach_copy_(self.tensors, self.mean)


def _check_hopeful(state: LoopState, job: Job, limit: float) -> None:
    """Raise TrialError where the last reading, after LOOKED_AT steps, lies above `limit` nats."""
    loss = state.curve[-1].train_loss
    if state.steps < LOOKED_AT or loss < limit:
        return
    if state.losses[0] > limit:  # a head that isn't new may begin worse than guessing
        return
    raise TrialError(f"The loss is {loss:.3g} after {state.steps} steps (rate {job.rate:g}).", "Give a lower --lr.")


def _set_rates(optimiser: torch.optim.Optimizer, rates: Sequence[float], factor: float) -> None:
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def _take_over_moments(optimiser: torch.optim.Optimizer, state: LoopState) -> None:
    """Keep the moments of parameters that the phase before trained too; the others begin without any."""
    if type(state.optimiser) is type(optimiser):
        moments = state.optimiser.state
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                if parameter in moments:
                    optimiser.state[parameter] = moments[parameter]
    state.optimiser = optimiser


def _without_gradient(model: nn.Module, names: Mapping[str, int], job: Job, known: tuple[str, ...]) -> tuple[str, ...]:
    """Add the trained tensors that the first step of a phase gave no gradient to those known from earlier phases."""
    parameters = dict(model.named_parameters())
    listed = dict.fromkeys(known)
    for name in names:
        if all(leaf.grad is None for leaf in _optimised_leaves(name, parameters, job.adapters)):
            listed[name] = None
    return tuple(listed)


def _optimised_leaves(
    name: str, parameters: Mapping[str, nn.Parameter], adapters: Adapters | None
) -> tuple[nn.Parameter, ...]:
    """Return the parameters that the optimiser changes to train the tensor of that name."""
    if adapters is not None and name in adapters.factors:
        return adapters.parameters_of(name)
    return (parameters[name],)


def _class_weights(study: Study, job: Job) -> Tensor | None:
    weights = study.class_weights(job.rows)
    if weights is None:
        return None
    return torch.from_numpy(weights).float().to(study.compute.device)


def _seed_step(seed: int, device: str) -> None:
    """Seed the (forked) global generators, which dropout draws from; torch.manual_seed takes far longer."""
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)


@dataclass(frozen=True)
class Stepper:
    """Takes one training step at a time."""

    study: Study
    read: Reader
    job: Job
    optimiser: torch.optim.Optimizer
    anchors: Sequence[Anchor]
    class_weights: Tensor | None  # (C,), on the device

    def step(self, batch: IntArray, epoch: int) -> float:
        study = self.study
        rows = study.positions(batch)
        view = study.training_view(epoch, len(self.job.rows))
        groups = study.features.groups(rows)
        inputs = [self.read.feed(rows[group.places], view) for group in groups]
        targets = study.targets(batch).to(study.compute.device)
        with autocast(study.compute), fast_gradients(study.compute):
            parts = [self.read.forward(x) for x in inputs]
        logits = parts[0]
        if len(parts) > 1:  # texts of several lengths: one loss over all, so that their gradients add up
            logits = in_order(parts, groups)
        loss = F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.job.phase.label_smoothing
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        pull_back(self.anchors)
        self.optimiser.step()
        return float(loss.detach())


def _read_curve(state: LoopState) -> None:
    """Add a reading of the training loss: its mean since the one before."""
    since = 0
    if state.curve:
        since = state.curve[-1].step
    train = math.fsum(state.losses[since:]) / (state.steps - since)
    state.curve.append(CurvePoint(step=state.steps, train_loss=train))


def batches(study: Study, job: Job) -> Iterator[tuple[int, IntArray]]:
    """Yield (epoch, indices of samples) without end.

    The order depends on seed, block and epoch only, so strategies stay paired. Samples are spread evenly over an
    epoch's batches: a last batch of a few would spoil BatchNorm's statistics (with 50 samples in batches of 16 it cost
    `scratch` 34 points).
    """
    steps = study.steps_per_epoch(len(job.rows))
    for epoch in count():
        order = numpy_generator(study.seed, "order", job.block, epoch).permutation(job.rows)
        for batch in np.array_split(order, steps):
            yield epoch, batch


def make_optimiser(study: Study, model: nn.Module, names: dict[str, int], job: Job) -> torch.optim.Optimizer:
    """Make the optimiser of the tensors that train in this phase; biases and normalisation (1-D) have no decay."""
    parameters = dict(model.named_parameters())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, stage in names.items():
        part = job.phase.part(stage)
        decay = 0.0
        if parameters[name].dim() > 1:
            decay = part.weight_decay
        leaves = _optimised_leaves(name, parameters, job.adapters)
        groups.setdefault((job.rate * part.lr_factor, decay), []).extend(leaves)
    options = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    if job.phase.optimiser == "sgd":
        return torch.optim.SGD(options, momentum=0.9)
    fused = study.compute.device.split(":")[0] in ("cpu", "cuda")
    return torch.optim.AdamW(options, fused=fused)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A parameter, the values that it is pulled to (None: zero), and how strongly."""

    parameter: nn.Parameter
    start: Tensor | None
    strength: float


def anchors_of(
    model: nn.Module, trained: Mapping[str, int], phase: Phase, start: Mapping[str, Tensor] | None = None
) -> tuple[Anchor, ...]:
    """Return the anchors of the trained parameters (`trained`: name -> stage, S + 1 is the head), if anything pulls.

    `start`: values before training, of those that an earlier phase may have changed.
    """
    if not (phase.pull or phase.head_pull):
        return ()
    parameters = dict(model.named_parameters())
    start = start or {}
    anchors = []
    for name, stage in trained.items():
        parameter = parameters[name]
        if stage > len(phase.stages):
            anchors.append(Anchor(parameter, None, phase.head_pull))
        elif name in start:
            anchors.append(Anchor(parameter, start[name], phase.pull))
        else:
            anchors.append(Anchor(parameter, parameter.detach().clone(), phase.pull))
    return tuple(anchors)


def pull_back(anchors: Sequence[Anchor]) -> None:
    """Add the penalty's gradient to that of the loss."""
    with torch.no_grad():
        for anchor in anchors:
            if anchor.parameter.grad is None:
                continue
            distance: Tensor = anchor.parameter
            if anchor.start is not None:
                distance = anchor.parameter - anchor.start
            anchor.parameter.grad.add_(distance, alpha=anchor.strength)
