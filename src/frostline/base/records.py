"""Plain records that several layers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

DataPart = Literal["development", "validation", "sealed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled image (or text): `id` is the path below the data folder with `/`, or the table's row."""

    id: str
    path: Path | None  # None where the image came in memory
    label: int
    part: DataPart
    group: str  # samples of one group (a patient, a video, duplicates) never straddle a split
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataWarning:
    """Something about the data that the user should know; `handled` says what was done about it."""

    kind: str
    count: int
    examples: tuple[str, ...]
    handled: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All samples that take part, in a fixed order; blocks and stores refer to samples by their index in `samples`."""

    path: str
    kind: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    sealed_from: str  # 'test/', 'val/' or '20 % drawn at random', in words
    warnings: tuple[DataWarning, ...] = ()
    _labels: IntArray = field(init=False, repr=False, compare=False)  # every training step reads them

    def __post_init__(self) -> None:
        labels = np.array([s.label for s in self.samples], dtype=np.int64)
        labels.flags.writeable = False
        object.__setattr__(self, "_labels", labels)

    def rows(self, *parts: DataPart) -> IntArray:
        return np.array([i for i, s in enumerate(self.samples) if s.part in parts], dtype=np.int64)

    @property
    def labels(self) -> IntArray:
        """Class of each sample (N,), read-only."""
        return self._labels

    @property
    def development(self) -> IntArray:
        """Indices of the samples that may be learnt from: everything that isn't sealed."""
        return self.rows("development", "validation")

    @property
    def sealed(self) -> IntArray:
        return self.rows("sealed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paired split of the development samples: every strategy is trained and judged on the same two sets."""

    index: int
    repeat: int
    fold: int
    train: IntArray
    validation: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """Maps the outputs of the network's own head to the classes of the data: `groups[c]` are those of class c."""

    source: tuple[str, ...]  # names of all outputs
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCount:
    """What the audit counted: tensors that had to stay and did, and those that trained."""

    frozen_tensors: int = 0
    frozen_unchanged: int = 0
    moving_on_purpose: int = 0
    trained_tensors: int = 0
    trained_changed: int = 0
    no_gradient: tuple[str, ...] = ()

    def __add__(self, other: AuditCount) -> AuditCount:
        return AuditCount(
            frozen_tensors=self.frozen_tensors + other.frozen_tensors,
            frozen_unchanged=self.frozen_unchanged + other.frozen_unchanged,
            moving_on_purpose=self.moving_on_purpose + other.moving_on_purpose,
            trained_tensors=self.trained_tensors + other.trained_tensors,
            trained_changed=self.trained_changed + other.trained_changed,
            no_gradient=tuple(sorted({*self.no_gradient, *other.no_gradient})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One reading of a loss curve, in nats per sample; `validation_loss` where an inner part was evaluated."""

    step: int
    train_loss: float
    validation_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one trial. A failed trial is an outcome too (`error` says why), never a crash."""

    key: str
    strategy: str
    purpose: Literal["tune", "block", "curve", "forecast"]
    block: int
    rate: float | None
    rows: tuple[int, ...]  # indices of the samples that were predicted
    probabilities: tuple[tuple[float, ...], ...]  # one row per predicted sample, one column per class
    accuracy: float
    log_loss: float  # nats per sample
    steps: int
    epochs: float
    undertrained: bool
    l2: float | None  # chosen penalty of a solved head
    seconds: float
    operations: float  # counted floating-point operations of this trial
    curve: tuple[CurvePoint, ...] = ()
    audit: AuditCount = AuditCount()
    mix: float | None = None  # of an interpolated strategy: its place between solved head (0) and end of training (1)
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired difference a - b of a metric, with its interval and corrected p-value."""

    a: str
    b: str
    difference: float
    ci: tuple[float, float]
    p: float
    outcome: Literal["worse", "better", "as-good", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The strategy to use and why, in one plain sentence."""

    strategy: str
    best: str
    reason: str
    runner_up: str | None
    samples_needed: int | None  # labelled samples that would settle verdict against runner-up


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo:
    """One stage of the printed stage map, counted from 1 at the input; the head is not a stage."""

    index: int
    name: str
    parameters: int
    output_shape: tuple[int, ...]  # without the batch axis
    stored_bytes: int  # of one sample's activation at the stage's end, in fp32
    operations: float  # floating-point operations of one sample's forward pass
    cuttable: bool
    why_not: str | None = None
    cut: str | None = None  # module boundary at the stage's end, for the record
    extra: dict[str, Any] = field(default_factory=dict)
