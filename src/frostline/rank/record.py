"""rank.json: what was found of every source and depth, as typed models. Accuracies and differences are shares."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from frostline.bundle.schema import PhaseRecord
from frostline.bundle.typed import Interval, Record, VolatileFloat, VolatileText

SCHEMA = 1
FILE = "rank.json"
DEPTH_SCORES = ("knn", "logme", "h_score", "h_score_shrunk", "nleep", "gbc", "transrate")  # fields of a depth

Over = Literal["last depth", "best depth", "depths"]


class MeasureRecord(Record):
    """An accuracy with its 95 % interval."""

    accuracy: float
    ci: Interval


class ForeseenRecord(MeasureRecord):
    """What training with a strategy is forecast to reach."""

    strategy: str


class RankedDepthRecord(Record):
    """One depth of a source: what its pooled features after `stage` say. `forecast`: training all stages after it."""

    stage: int
    name: str
    features: int
    probe: MeasureRecord
    knn: float
    logme: float
    h_score: float
    h_score_shrunk: float
    nleep: float
    gbc: float
    transrate: float
    forecast: ForeseenRecord | None


class RankedSourceRecord(Record):
    """One network to start from. `no_forecast`: strategies that couldn't be forecast, with the reason."""

    label: str
    spec: str
    weights: str | None
    weights_sha256: str | None
    fingerprint: str
    parameters: int
    stages: int
    depths: list[RankedDepthRecord]
    leep: float | None
    finetune: MeasureRecord | None
    no_forecast: dict[str, str]
    seconds: VolatileFloat


class CorrelationRecord(Record):
    """A rank correlation with its bootstrap interval and permutation p; all None where nothing can be said."""

    value: float | None
    ci: Interval | None
    p: float | None


class AgreementRecord(Record):
    """Do the scores `a` and `b` order the candidates alike? `n` candidates: sources, or the depths of `source`."""

    a: str
    b: str
    over: Over
    source: str | None
    n: int
    kendall: CorrelationRecord
    spearman: CorrelationRecord


class MeasuredSourceRecord(Record):
    """What training a source reached out of fold, by strategy; `run` is its folder, below the one of the ranking."""

    label: str
    run: str
    strategies: dict[str, MeasureRecord]
    seconds: VolatileFloat


class MeasuredAgreementRecord(Record):
    """Does a score order the sources as training a strategy does?"""

    score: str
    strategy: str
    over: Over
    n: int
    weighted_kendall: CorrelationRecord
    kendall: CorrelationRecord
    spearman: CorrelationRecord


class MeasuredRecord(Record):
    """What training reached, and how far the scores foretold it; `epochs` is None where lengths were chosen."""

    strategies: list[str]
    epochs: int | None
    sources: list[MeasuredSourceRecord]
    agreement: list[MeasuredAgreementRecord]


class CandidateRecord(MeasureRecord):
    """A source and a depth, by its probe."""

    label: str
    stage: int


class ComparedRecord(CandidateRecord):
    """The best candidate less this one, on the same blocks; `p` is corrected by Holm (rank.advice)."""

    difference: float
    difference_ci: Interval
    p: float


class BestForecastRecord(ForeseenRecord):
    """The highest forecast of all, and the source that it is of."""

    label: str


class RecommendationRecord(Record):
    """`best` by probe; of the other sources at their best depth and of its own other depths those that it can't be told
    apart from (`close`), and those that are `behind`."""

    best: CandidateRecord
    close: list[ComparedRecord]
    behind: list[ComparedRecord]
    forecast: BestForecastRecord | None
    sentence: str
    command: str


class RankDataRecord(Record):
    """What was understood of the data."""

    path: str
    classes: list[str]
    development: int
    scored: int  # of these the scores read so many
    blocks: int
    modality: Literal["image", "text"]
    sealed: str  # left untouched
    sha256: str


class RankCostRecord(Record):
    """Seconds in all, and of each phase."""

    wall_seconds: VolatileFloat
    phases: list[PhaseRecord]


class RankResult(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    seed: int
    settings: dict[str, Any]
    data: RankDataRecord
    sources: list[RankedSourceRecord]
    agreement: list[AgreementRecord]
    measured: MeasuredRecord | None
    recommendation: RecommendationRecord
    cost: RankCostRecord
