"""result.json: the record of a run as typed models. Fields marked `volatile` may differ between equal runs.

The JSON schema in docs/schema/result.schema.json is made from these models and tested against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from frostline.bundle.further_schema import SourceTaskRecord, TargetRecord
from frostline.bundle.typed import VOLATILE, Interval, Record, ScoreRecord, VolatileFloat, VolatileText

SCHEMA = 7


class WarningRecord(Record):
    kind: str
    count: int
    examples: list[str]
    handled: str


class DataRecord(Record):
    path: str
    kind: str
    classes: list[str]
    n_development: int
    n_test: int
    sealed: str
    groups: int
    modality: Literal["image", "text"] = "image"
    sha256: str  # of every sample's id, class, part, group and bytes, in order
    warnings: list[WarningRecord]


class StageRecord(Record):
    index: int
    name: str
    parameters: int
    cuttable: bool
    output_shape: list[int]
    operations: float
    why_not: str | None


class ModelRecord(Record):
    spec: str
    weights_sha256: str | None
    parameters: int
    class_map: dict[str, list[str]] | None
    history: list[dict[str, Any]] = Field(default_factory=list)  # what the weights were trained on, oldest first
    stages: list[StageRecord]


class ComparedNetworkRecord(ModelRecord):
    """One of several networks that were compared; strategies that start from it carry its label."""

    code_sha256: str | None = None  # of the user's own code
    label: str  # empty for the network itself, beside one that was trained on own data first


class BlockRecord(Record):
    index: int
    repeat: int
    fold: int
    n_train: int
    n_validation: int


class BlockScoreRecord(Record):
    index: int
    accuracy: float
    log_loss: float


class VersusRecord(Record):
    difference: float
    ci: Interval
    ci_samples: Interval  # narrower: these very models on new samples
    p: float
    outcome: Literal["worse", "better", "as-good", "undecided"]  # only `baseline` can be better than the best


class ForecastScoreRecord(Record):
    """What training was forecast to reach, on the blocks of the comparison."""

    accuracy: float
    accuracy_ci: Interval
    log_loss: float


class StrategyRecord(Record):
    name: str
    source: str = ""  # label of the network that it starts from, where there are several
    term: str
    origin_summary: str
    stages: list[str] = Field(default_factory=list)  # what happens to each stage, and last to the head
    trained_parameters: int
    operations: float
    status: Literal["raced", "eliminated", "forecast", "skipped", "failed"]
    reason: str | None
    rate: float | None
    rates_tried: list[dict[str, float]]
    l2: float | None
    mix: float | None
    epochs: float | None
    steps: int | None
    undertrained: bool
    blocks: list[BlockScoreRecord]
    seconds: VolatileFloat
    accuracy: float | None
    accuracy_ci: Interval | None
    log_loss: float | None
    score: float | None
    score_ci: Interval | None
    versus_best: VersusRecord | None
    test: ScoreRecord | None
    target: ScoreRecord | None = None  # on the labelled samples of --target
    forecast: ForecastScoreRecord | None = None  # before training; beside measured figures, never among them
    below_forecast: bool = False


class PairRecord(Record):
    a: str
    b: str
    difference: float
    ci: Interval
    ci_samples: Interval
    p: float
    outcome: Literal["worse", "better", "as-good", "undecided"]


class VerdictRecord(Record):
    strategy: str
    best: str
    reason: str
    runner_up: str | None
    samples_needed: int | None


class ClassRecord(Record):
    name: str
    n: int
    precision: float
    recall: float
    f1: float


class TestRecord(Record):
    n: int
    accuracy: float
    ci: Interval
    balanced_accuracy: float
    f1_macro: float
    log_loss: float
    ece: float
    per_class: list[ClassRecord]
    confusion: list[list[int]]  # row: true class, column: predicted class


class AuditRecord(Record):
    frozen_tensors: int
    frozen_unchanged: int
    moving_on_purpose: int
    trained_tensors: int
    trained_changed: int
    no_gradient: list[str]


class PhaseRecord(Record):
    name: str
    seconds: VolatileFloat


class CostRecord(Record):
    seconds: VolatileFloat
    phases: list[PhaseRecord]
    prefix_seconds: VolatileFloat
    store_mb: VolatileFloat
    peak_rss_mb: VolatileFloat
    peak_anonymous_mb: VolatileFloat  # of that what isn't backed by files: 0 where the system doesn't say
    max_memory_mb: VolatileFloat = 0.0  # how much of that it might have held: 0 in records of earlier versions
    images_per_second: VolatileFloat


class ForecastRecord(Record):
    """The forecast of a comparison: the samples it read, and parameters whose gradients it could not, with why."""

    rows: int
    seconds: VolatileFloat
    left_out: dict[str, str]
    missing: dict[str, str]
    provisional: str | None  # the verdict that was told before any stage was trained
    ended: int | None = None  # blocks after which the race ended, as more would hardly have changed the verdict


class BudgetRecord(Record):
    seconds: float
    forecast_seconds: VolatileFloat
    left_out: Annotated[list[str], VOLATILE]  # speeds differ between equal runs


class BinRecord(Record):
    """One bin of a reliability diagram: samples whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class ProbabilityRecord(Record):
    n: int
    log_loss: float
    ece: float
    reliability: list[BinRecord]


class CalibrationRecord(Record):
    temperature: float | None
    reason: str
    out_of_fold_before: ProbabilityRecord | None
    out_of_fold_after: ProbabilityRecord | None
    sealed_before: ProbabilityRecord
    sealed_after: ProbabilityRecord


class CoverageRecord(Record):
    n: int
    answered: int
    coverage: float
    accuracy: float | None
    ci: Interval | None


class AbstainRecord(Record):
    wanted_accuracy: float
    threshold: float | None
    reason: str
    out_of_fold: CoverageRecord | None
    sealed: CoverageRecord | None


class CurvePointRecord(Record):
    labels: int
    blocks: int
    accuracy: float
    ci: Interval


class CurveRecord(Record):
    name: str
    points: list[CurvePointRecord]


class GainRecord(Record):
    """What going from `fewer` labels to `labels` brought, paired block by block."""

    strategy: str
    fewer: int
    labels: int
    blocks: int
    difference: float
    ci: Interval


class ProjectionRecord(Record):
    """A guess, of a power law through the points, for twice the labels."""

    labels: int
    accuracy: float


class LearningCurveRecord(Record):
    sentence: str
    reading: Literal["helps", "little", "undecided"] | None
    gain: GainRecord | None
    projection: ProjectionRecord | None
    curves: list[CurveRecord]


class DoubtRecord(Record):
    kind: str
    id: str
    label: str
    suggestion: str | None
    score: float | None
    detail: str


class DoubtsRecord(Record):
    method: str
    counts: dict[str, int]
    examples: list[DoubtRecord]


class SourceRecord(Record):
    what: str
    source: str


class MethodsRecord(Record):
    paragraph: str
    term: str
    also_called: list[str]
    disputed: str
    sources: list[SourceRecord]


class RunResult(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    seed: int
    machine: dict[str, Any]
    packages: dict[str, str]
    settings: dict[str, Any]
    data: DataRecord
    model: ModelRecord  # the network that the verdict starts from
    sources: list[ComparedNetworkRecord] = Field(default_factory=list)  # all, where there are several
    blocks: list[BlockRecord]
    strategies: list[StrategyRecord]
    pairs: list[PairRecord]
    verdict: VerdictRecord
    test: TestRecord
    audit: AuditRecord
    cost: CostRecord
    budget: BudgetRecord | None = None
    concluded: Annotated[list[str] | None, VOLATILE] = None  # what was left to run when the user ended it
    forecast: ForecastRecord | None = None
    calibration: CalibrationRecord | None = None
    abstain: AbstainRecord | None = None
    learning_curve: LearningCurveRecord | None = None
    doubts: DoubtsRecord | None = None
    target: TargetRecord | None = None
    source_task: SourceTaskRecord | None = None
    methods: MethodsRecord | None = None
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of what was written, by name


def without_volatile(result: RunResult) -> dict[str, Any]:
    """The record less all that may differ between equal runs: what replays and tests compare."""
    return dict(_strip(result))


def _strip(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        kept = {}
        for name, info in fields.items():
            extra = info.json_schema_extra
            if not (isinstance(extra, dict) and extra.get("volatile")):
                kept[info.alias or name] = _strip(getattr(value, name))
        return kept
    if isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strip(v) for v in value]
    return value
