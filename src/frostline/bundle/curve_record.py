"""curve.json: the record of `frostline curve` as typed models, and how it is read. docs/curve.md explains the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from frostline.base.errors import BundleError
from frostline.base.files import read_regular
from frostline.bundle.schema import AuditRecord, DataRecord, StageRecord
from frostline.bundle.typed import Interval, Record, VolatileFloat, VolatileText

CURVE_SCHEMA = 1
CURVE_FILE = "curve.json"
CURVE_PAGE = "curve.html"

ArmWord = Literal["base", "BnB", "BnB+", "AnB", "AnB+"]
GapWord = Literal["co-adaptation", "specificity", "loss", "gain", "transfer", "freezing"]


class CurveModelRecord(Record):
    """The network; `weights_sha256` is None where bases were trained from random weights."""

    spec: str
    weights_sha256: str | None
    parameters: int
    stages: list[StageRecord]


class LastKRecord(Record):
    """Accuracies are means over `count` readings, `spacing` steps apart, the last after the last step."""

    count: int
    spacing: int


class RateTriedRecord(Record):
    """How base trainings at one rate did on the inner part."""

    rate: float
    accuracy: float
    log_loss: float
    failed: int


class CurveSettingsRecord(Record):
    """How every training of the run was done; `given` are the settings as the user gave them."""

    rate: float
    rate_rule: str
    rates_tried: list[RateTriedRecord]
    epochs: int | None
    steps: int
    batch_size: int
    last_k: LastKRecord
    seeds: int
    optimiser: str
    schedule: str
    weight_decay: float
    batchnorm: str
    augment: str
    given: dict[str, Any]


class CurveSplitRecord(Record):
    """The halves of the classes, with the samples to learn from and those that judge, by half."""

    A: list[str]
    B: list[str]
    kind: Literal["disjoint", "overlapping", "self-transfer"]
    train: dict[str, int]
    held_out: dict[str, int]


class CurveFoldRecord(Record):
    """A fold of the development data."""

    train: int
    held_out: int


class CurveAccuracyRecord(Record):
    """One training: `split` is the number of the split, or of the fold; all count from 1."""

    split: int
    direction: str | None
    seed: int
    accuracy: float


class CurveRowRecord(Record):
    """One arm at one stage (0: the base); without an accuracy where every training failed."""

    arm: ArmWord
    stage: int
    name: str | None
    accuracies: list[CurveAccuracyRecord]
    mean: float | None
    ci: Interval | None


class CurveGapRecord(Record):
    """A paired difference of two arms at one stage, as a share (0.01 is a point)."""

    name: GapWord
    stage: int
    stage_name: str
    mean: float
    ci: Interval | None
    units: int


class CurveIntervalsRecord(Record):
    """How intervals were computed: over `units` `of` something, and what they don't cover."""

    method: str
    of: Literal["splits", "folds", "samples"]
    units: int
    note: str


class CurveFailureRecord(Record):
    """A training that diverged and is in no mean."""

    arm: ArmWord
    stage: int
    split: int
    direction: str | None
    seed: int
    reason: str


class CurveCostRecord(Record):
    """What the run cost, and how many trainings still improved at their end; seconds are those of the last command."""

    seconds: VolatileFloat
    trainings: int
    undertrained: int
    operations: float
    peak_rss_mb: VolatileFloat


class TransferCurveRecord(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = CURVE_SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    seed: int
    kind: Literal["full", "applied"]
    data: DataRecord
    held_out: str
    model: CurveModelRecord
    settings: CurveSettingsRecord
    splits: list[CurveSplitRecord]
    folds: list[CurveFoldRecord]
    rows: list[CurveRowRecord]
    gaps: list[CurveGapRecord]
    intervals: CurveIntervalsRecord
    sentences: list[str]
    failed: list[CurveFailureRecord]
    audit: AuditRecord
    cost: CurveCostRecord
    machine: dict[str, Any]
    packages: dict[str, str]


def read_curve(run: Path) -> TransferCurveRecord:
    """Read the record of a RUN folder. Raises BundleError where there is none, or it isn't one of this version."""
    path = run / CURVE_FILE
    if not path.is_file():
        raise BundleError(f"{run} holds no {CURVE_FILE}.", "Give a folder that frostline curve wrote.")
    try:
        return TransferCurveRecord.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is not a record of this version: {where}: {first['msg']}.", "Run frostline curve again."
        ) from error
