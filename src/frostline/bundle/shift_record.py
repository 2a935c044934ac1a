"""shift.json: how two data sets differ, as a network sees them. docs/shift.md explains the keys.

Proportions are shares. Larger `score` of a typical sample: more typical of its side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from frostline.base.errors import BundleError
from frostline.base.files import read_regular
from frostline.bundle.further_schema import RemedyRecord
from frostline.bundle.schema import PhaseRecord
from frostline.bundle.typed import Interval, Record, VolatileFloat, VolatileText

SHIFT_SCHEMA = 1
SHIFT_FILE = "shift.json"

SituationName = Literal["none-shown", "covariate", "label", "concept", "new-classes", "mixed", "cannot-tell"]


class SideRecord(Record):
    """One side. `found` samples were there, `n` were compared, `labelled` of these with a class of the source.

    `sha256` is a hash of the ids and contents that were compared; None where a run's samples aren't at hand.
    """

    path: str
    found: int
    n: int
    labelled: int
    sha256: str | None


class ShiftClassesRecord(Record):
    """`source`: its classes; those that the target alone names, and those of the source without a target sample."""

    source: list[str]
    new: list[str]
    missing: list[str]


class EvidenceRecord(Record):
    """One test. `stage` 0 are the plain inputs; None: no stage is meant. `p` is corrected for the tests beside it."""

    name: str
    stage: int | None
    stage_name: str | None
    statistic: float
    p: float
    shown: bool
    detail: dict[str, Any]


class ClassShareRecord(Record):
    """The share of one class in source and target, with the interval of the target's."""

    name: str
    source: float
    target: float
    interval: Interval


class ProportionsRecord(Record):
    """Shares of the source's classes in the target: counted from labels, or estimated without them."""

    method: Literal["bbse", "em", "counted"]
    classes: list[ClassShareRecord]


class TypicalSampleRecord(Record):
    """One of these samples, by its id."""

    id: str
    score: float


class TypicalRecord(Record):
    """The samples that are most typical of either side, and least like the other."""

    source: list[TypicalSampleRecord]
    target: list[TypicalSampleRecord]


class ShiftNetworkRecord(Record):
    """The network that both sides were read by; `run` where it brought its own source."""

    spec: str
    weights_sha256: str | None
    stages: list[str]  # names of all stages, from the input
    compared: list[int]  # of them the depths that were compared; 0: the plain inputs
    probabilities: str  # where they are from
    run: str | None


class ShiftCostRecord(Record):
    """Seconds in all, and of each phase."""

    seconds: VolatileFloat
    phases: list[PhaseRecord]
    peak_rss_mb: VolatileFloat


class ShiftResult(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = SHIFT_SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    situation: SituationName
    level: Literal["input", "feature", "output"] | None
    sentences: list[str]
    cannot_see: list[str]
    remedies: list[RemedyRecord]
    source: SideRecord
    target: SideRecord
    modality: Literal["image", "text"]
    copies: int  # target samples whose content is among the source's too
    network: ShiftNetworkRecord
    evidence: list[EvidenceRecord]
    proportions: list[ProportionsRecord]
    classes: ShiftClassesRecord
    typical: TypicalRecord | None
    notes: list[str]  # what was noticed on the way
    seed: int
    settings: dict[str, Any]
    machine: dict[str, Any]
    packages: dict[str, str]
    cost: ShiftCostRecord


def read_shift(run: Path) -> ShiftResult:
    """Read the record of a RUN folder. Raises BundleError where there is none, or it isn't one of this version."""
    path = run / SHIFT_FILE
    if not path.is_file():
        raise BundleError(f"{run} holds no {SHIFT_FILE}.", "Give a folder that frostline shift wrote.")
    try:
        return ShiftResult.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is not a record of this version: {where}: {first['msg']}.", "Run frostline shift again."
        ) from error
