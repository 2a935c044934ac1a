"""The training loop of all methods: steps, readings of the monitor, and a checkpoint from which the same bits follow.

A checkpoint is one file: the tensors of network, of what is beside it and of the optimiser, and as its metadata the
step, the losses and the curve. Nothing random is kept in it: every draw is seeded by its epoch or step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.device import Compute, random_devices
from frostline.base.errors import TrialError
from frostline.base.events import Emit, Event, ProgressEvent
from frostline.base.records import IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.models.depthwise import fast_gradients
from frostline.models.kinds import is_batchnorm
from frostline.pretrain.body import Body
from frostline.pretrain.monitor import Monitor, Reading, collapse, reading_epochs
from frostline.pretrain.objectives import Batch, Objective
from frostline.recipe.schedule import Length
from frostline.train.checkpoint import (
    SECONDS_BETWEEN,
    moments,
    own_tensors,
    read_checkpoint,
    restore_moments,
    write_checkpoint,
)

CHECKPOINT = "checkpoint.safetensors"
DECAY = 0.01  # of weights; biases and normalisation have none
MOMENTUM = 0.1  # of BatchNorm's statistics
WARNED_FROM = 1 / 3  # of a training: features that lie close together in the first steps may still part


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long and how fast: `epochs` passes over the data, in batches of about `batch_size`, at a rate that warms up
    and falls along a cosine to zero."""

    epochs: int
    rate: float
    batch_size: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint:
    """An epoch (0: before any): its mean loss, and the reading after it, where there is one."""

    epoch: int
    loss: float | None
    reading: Reading | None


@dataclass
class State:
    """Where a training stands. `losses` are those of the epoch that is under way."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[EpochPoint] = field(default_factory=list)
    seconds: float = 0.0
    told: str | None = None  # what was warned of


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One training. It lives as long as :meth:`run`."""

    body: Body
    objective: Objective
    monitor: Monitor
    training: Training
    samples: int
    compute: Compute
    folder: Path  # of the checkpoint
    key: str  # of all that decides what a checkpoint goes on with
    emit: Emit
    from_random: bool = False  # the weights were drawn, so BatchNorm's statistics mean nothing at first

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch: batches of at most the batch size, but none of a single sample."""
        return max(1, min(-(-self.samples // self.training.batch_size), self.samples // 2))

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.per_epoch * self.training.epochs

    def run(self) -> State:
        """Train the network in place, going on from a checkpoint where there is one. Raises TrialError for a loss that
        is no number."""
        optimiser = self._optimiser()
        state = self._restore(optimiser) or State()
        begun = time.perf_counter() - state.seconds
        if not state.curve:
            self._read(state, 0)
        saved = time.perf_counter()
        rates = [group["lr"] for group in optimiser.param_groups]
        length = Length(self.steps)
        first = state.step
        started = time.perf_counter()
        self._set_training()
        with torch.random.fork_rng(devices=random_devices(self.compute.device)):
            for batch in self._batches(state.step):
                for group, rate in zip(optimiser.param_groups, rates, strict=True):
                    group["lr"] = rate * length.factor(state.step)
                self._take_step(optimiser, batch, state)
                ended = state.step % self.per_epoch == 0
                if ended:
                    self._end_epoch(state)
                self._tell(state, first, started)
                if ended or time.perf_counter() - saved > SECONDS_BETWEEN:
                    state.seconds = time.perf_counter() - begun
                    self._save(optimiser, state)
                    saved = time.perf_counter()
        self.body.model.eval()
        return state

    def _optimiser(self) -> torch.optim.Optimizer:
        """AdamW over all that is trained: the network without its head, and what is beside it."""
        head = self.body.stages.head
        groups: dict[float, list[nn.Parameter]] = {DECAY: [], 0.0: []}
        seen = set[int]()
        named = [(n, p) for n, p in self.body.model.named_parameters() if not head.owns(n)]
        for _, parameter in (*named, *self.objective.beside.named_parameters()):
            if not parameter.is_floating_point() or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            parameter.requires_grad_(True)
            groups[DECAY if parameter.dim() > 1 else 0.0].append(parameter)
        options = [
            {"params": found, "lr": self.training.rate, "weight_decay": decay}
            for decay, found in groups.items()
            if found
        ]
        fused = self.compute.device.split(":")[0] in ("cpu", "cuda")
        return torch.optim.AdamW(options, fused=fused)

    def _batches(self, first: int) -> Iterator[Batch]:
        """Yield the batches from a step on; an epoch's samples are spread evenly over them."""
        for epoch in range(first // self.per_epoch, self.training.epochs):
            order = numpy_generator(self.training.seed, "order", "pretrain", epoch).permutation(self.samples)
            for place, rows in enumerate(np.array_split(order, self.per_epoch)):
                step = epoch * self.per_epoch + place
                if step >= first:
                    yield Batch(rows=_as_rows(rows), epoch=epoch, step=step)

    def _take_step(self, optimiser: torch.optim.Optimizer, batch: Batch, state: State) -> None:
        self._weigh_statistics(batch.step)
        seed = derive_seed(self.training.seed, "step", "pretrain", batch.step)
        torch.default_generator.manual_seed(seed)
        if self.compute.device.startswith("cuda"):
            torch.cuda.manual_seed(seed)
        with fast_gradients(self.compute):
            loss = self.objective.loss(batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        state.step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrialError(
                f"The loss is {value} at step {state.step} (rate {self.training.rate:g}).", "Give a lower --lr."
            )
        state.losses.append(value)

    def _weigh_statistics(self, step: int) -> None:
        """Let BatchNorm's running statistics begin with those of the first batch, where the weights began at random:
        the values that they are built with mean nothing, and would still count after dozens of steps."""
        if not self.from_random:
            return
        for module in self.body.model.modules():
            if is_batchnorm(module) and getattr(module, "momentum", None) is not None:
                setattr(module, "momentum", max(MOMENTUM, 1 / (step + 1)))  # noqa: B010  # no type knows it

    def _set_training(self) -> None:
        self.body.model.train()
        self.objective.beside.train()

    def _end_epoch(self, state: State) -> None:
        self._read(state, state.step // self.per_epoch)
        self._set_training()

    def _read(self, state: State, epoch: int) -> None:
        """Add a point to the curve, and warn once where the features have degenerated."""
        reading = None
        if epoch in reading_epochs(self.training.epochs):
            reading = self.monitor.read(self.body, self.objective.spread)
        loss = None
        if state.losses:
            loss = math.fsum(state.losses) / len(state.losses)
        state.losses = []
        state.curve.append(EpochPoint(epoch=epoch, loss=loss, reading=reading))
        if reading is None:
            return
        self.emit(Event(kind="reading", text=point_in_words(state.curve[-1]), data=point_record(state.curve[-1])))
        found = collapse(curve_readings(state.curve))
        if found and not state.told and epoch >= WARNED_FROM * self.training.epochs:
            self.emit(Event(kind="warning", text=f"After epoch {epoch} {found}."))
            state.told = found

    def _tell(self, state: State, first: int, started: float) -> None:
        done = state.step - first
        left = (self.steps - state.step) * (time.perf_counter() - started) / done
        epoch = (state.step - 1) // self.per_epoch + 1
        text = f"epoch {epoch} of {self.training.epochs}"
        if state.losses:
            text += f", loss {state.losses[-1]:.4g}"
        self.emit(
            ProgressEvent(
                kind="progress", text=text, done=float(state.step), total=float(self.steps), seconds_left=left
            )
        )

    def _parts(self) -> dict[str, nn.Module]:
        return {"network": self.body.model, "beside": self.objective.beside}

    def _save(self, optimiser: torch.optim.Optimizer, state: State) -> None:
        tensors: dict[str, Tensor] = {}
        for part, module in self._parts().items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in own_tensors(module).items()}
        tensors |= moments(optimiser)
        write_checkpoint(self.folder / CHECKPOINT, tensors, {**asdict(state), "key": self.key})

    def _restore(self, optimiser: torch.optim.Optimizer) -> State | None:
        """Fill network, what is beside it and the optimiser from the checkpoint; None where there is none to use."""
        found = read_checkpoint(self.folder / CHECKPOINT)
        if found is None or found[1].get("key") != self.key:
            return None
        tensors, note = found
        with torch.no_grad():
            for part, module in self._parts().items():
                for name, tensor in own_tensors(module).items():
                    tensor.copy_(tensors[f"{part}.{name}"])
        restore_moments(optimiser, tensors)
        state = state_from(note)
        epoch = state.step // self.per_epoch
        self.emit(Event(kind="resumed", text=f"going on after epoch {epoch}, step {state.step} of {self.steps}"))
        return state


def _as_rows(values: Any) -> IntArray:
    return np.asarray(values, dtype=np.int64)


def state_from(note: Mapping[str, Any]) -> State:
    """The state that a checkpoint's note describes."""
    curve = [
        EpochPoint(
            epoch=point["epoch"],
            loss=point["loss"],
            reading=None if point["reading"] is None else Reading(**point["reading"]),
        )
        for point in note["curve"]
    ]
    return State(
        step=note["step"], losses=list(note["losses"]), curve=curve, seconds=note["seconds"], told=note["told"]
    )


def curve_readings(curve: list[EpochPoint]) -> list[Reading]:
    """The readings along a curve, the one at the start first."""
    return [point.reading for point in curve if point.reading is not None]


def point_record(point: EpochPoint) -> dict[str, Any]:
    """A point of the curve as it is recorded."""
    reading = point.reading
    return {
        "epoch": point.epoch,
        "loss": point.loss,
        "effective_rank": None if reading is None else reading.effective_rank,
        "std": None if reading is None else reading.std,
        "knn_accuracy": None if reading is None else reading.knn_accuracy,
        "projection_std": None if reading is None else reading.projection_std,
    }


def point_in_words(point: EpochPoint) -> str:
    """`epoch 10: loss 3.21, effective rank 14.2, spread 0.53, k-NN accuracy 0.81`."""
    words = ["start" if point.epoch == 0 else f"epoch {point.epoch}"]
    if point.loss is not None:
        words.append(f"loss {point.loss:.4g}")
    if point.reading is not None:
        words.append(f"effective rank {point.reading.effective_rank:.3g}")
        words.append(f"spread {point.reading.std:.3g}")
        if point.reading.projection_std is not None:
            words.append(f"of projections {point.reading.projection_std:.3g}")
        if point.reading.knn_accuracy is not None:
            words.append(f"k-NN accuracy {point.reading.knn_accuracy:.3f}")
    return f"{words[0]}: {', '.join(words[1:])}"
