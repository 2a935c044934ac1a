"""adapt.json: the record of `frostline adapt` as typed models, and how it is read. docs/adapt.md explains the keys.

Accuracies and differences are shares (0.01 is a point). What is called an estimate was made without target labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from frostline.base.errors import BundleError
from frostline.base.files import read_regular
from frostline.bundle.further_schema import RemedyRecord
from frostline.bundle.schema import AuditRecord, PhaseRecord
from frostline.bundle.typed import VOLATILE, Interval, Record, ScoreRecord, VolatileFloat, VolatileText

ADAPT_SCHEMA = 1
ADAPT_FILE = "adapt.json"
ADAPT_PAGE = "adapt.html"

TargetLabels = Literal["none", "few", "sealed"]


class AdaptTargetRecord(Record):
    """The target: `labelled` samples have a label of the run's classes; `copies` are in the run's own data as well."""

    path: str
    n: int
    modality: Literal["image", "text"]
    target_labels: TargetLabels
    chosen_by_default: bool  # --target-labels wasn't given
    labelled: int
    new_classes: list[str]
    missing_classes: list[str]
    copies: int
    sha256: str  # of every sample's id and content, in order


class AdaptSourceRecord(Record):
    """The run that the network is from, and what of its data is at hand; `reason` says why samples aren't."""

    run: str
    spec: str
    strategy: str
    classes: list[str]
    samples: int
    held_out: int
    out_of_fold: int
    reason: str | None


class DiagnosisRecord(Record):
    """What `frostline shift` would say of the run's data and the target, without the target's labels."""

    situation: str
    level: str | None
    sentences: list[str]
    cannot_see: list[str]
    remedies: list[RemedyRecord]


class EstimatedGainRecord(Record):
    """Estimated accuracy of an arm less that of the network as it is; `changed`: share of answers that differ."""

    difference: float
    ci: Interval
    level: float
    changed: float
    shown: bool


class VotesRecord(Record):
    """The other scorers: those that prefer the arm to the network as it is, and those that don't."""

    prefer: list[str]
    against: list[str]


class AdaptArmRecord(Record):
    """One arm.

    `reason` says why it didn't run; `unsuited` why it couldn't be chosen. `estimated_accuracy` is an estimate;
    `cross_validated` counts labelled target samples; `test` the sealed labels, opened after the choice.
    """

    name: str
    term: str
    reason: str | None
    unsuited: str | None
    scores: dict[str, float]
    estimated_accuracy: float | None
    gain: EstimatedGainRecord | None
    votes: VotesRecord | None
    cross_validated: ScoreRecord | None
    test: ScoreRecord | None
    held_out: ScoreRecord | None  # on the source's own samples that the network didn't learn from
    steps: int
    rate: float | None
    prior: list[float] | None
    detail: dict[str, Any]
    seconds: VolatileFloat


class AdaptChoiceRecord(Record):
    """The arm that was chosen, by `rule`: without labels, by target labels, or because nothing had to be decided."""

    arm: str
    rule: Literal["label-free", "target-labels"]
    reason: str
    shown: list[str]


class OpenedRecord(Record):
    """The sealed target labels: `regret` is the best arm's accuracy less the chosen one's."""

    n: int
    chosen: float
    as_is: float
    best: str
    regret: float


class AdaptCostRecord(Record):
    """Seconds in all, and of each phase."""

    seconds: VolatileFloat
    phases: list[PhaseRecord]
    peak_rss_mb: VolatileFloat


class AdaptResult(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = ADAPT_SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    seed: int
    settings: dict[str, Any]
    target: AdaptTargetRecord
    source: AdaptSourceRecord
    diagnosis: DiagnosisRecord | None
    arms: list[AdaptArmRecord]
    scorers: dict[str, str]  # scorer -> its source
    choice: AdaptChoiceRecord
    opened: OpenedRecord | None
    audit: AuditRecord
    cost: AdaptCostRecord
    history: list[dict[str, Any]]  # of the saved weights, oldest first
    machine: dict[str, Any]
    packages: dict[str, str]
    files: Annotated[dict[str, str], VOLATILE] = Field(default_factory=dict)  # SHA-256 of what was written, by name


def read_adapted(run: Path) -> AdaptResult:
    """Read the record of a RUN folder. Raises BundleError where there is none, or it isn't one of this version."""
    path = run / ADAPT_FILE
    if not path.is_file():
        raise BundleError(f"{run} holds no {ADAPT_FILE}.", "Give a folder that frostline adapt wrote.")
    try:
        return AdaptResult.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is not a record of this version: {where}: {first['msg']}.", "Run frostline adapt again."
        ) from error
