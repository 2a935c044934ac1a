"""pretrain.json: the record of a network that learnt without labels. Fields marked `volatile` may differ between equal
runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from frostline.base.errors import BundleError
from frostline.base.files import read_regular
from frostline.bundle.runfolder import PRETRAINED, WORK
from frostline.bundle.typed import VOLATILE, Record, VolatileFloat, VolatileText

SCHEMA = 1


class UnlabelledRecord(Record):
    """The data: `n` samples were learnt from, `sealed` were left out. Labels, if any, served the monitor alone."""

    path: str
    n: int
    sealed: int
    modality: str
    sha256: str  # of every sample's id and content, in order
    labels_for_monitor: bool


class SourceNetworkRecord(Record):
    """The network that was trained; `weights` names the weights that it started from."""

    spec: str
    parameters: int
    weights: str
    weights_sha256: str | None  # None: random
    history: list[dict[str, Any]]  # of the weights that it started from


class ReadingRecord(Record):
    """An epoch (0: before any): its mean loss, and what the monitor read after it."""

    epoch: int
    loss: float | None
    effective_rank: float | None
    std: float | None  # spread of normalised features: 0 all alike, 1 even in all directions
    knn_accuracy: float | None
    projection_std: float | None  # spread of what simclr and vicreg compare views by


class PretrainCostRecord(Record):
    """Seconds of training, counted operations, and memory."""

    seconds: VolatileFloat
    operations: float
    peak_rss_mb: VolatileFloat


class PretrainResult(Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    version: str
    created: VolatileText
    command: VolatileText
    method: str
    seed: int
    machine: dict[str, Any]
    packages: dict[str, str]
    settings: dict[str, Any]
    data: UnlabelledRecord
    model: SourceNetworkRecord
    training: dict[str, Any]  # epochs, steps, rate, batch_size and the method's own arguments, as they were used
    curve: list[ReadingRecord]
    collapsed: bool
    collapse: str | None  # how the features degenerated
    cost: PretrainCostRecord
    history: list[dict[str, Any]]  # of the saved weights, oldest first
    files: Annotated[dict[str, str], VOLATILE] = Field(default_factory=dict)  # SHA-256 of what was written, by name


def read_pretrained(run: Path) -> PretrainResult | None:
    """The record of a network that learnt without labels; None where the folder holds another kind of run.

    Raises BundleError for an interrupted one, and for a record of another form.
    """
    path = run / PRETRAINED
    if not path.is_file():
        return None
    if (run / WORK).exists():
        raise BundleError(f"{run} was not finished.", "Go on with the same frostline pretrain command and --resume.")
    try:
        return PretrainResult.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is not a record of this version: {where}: {first['msg']}.",
            "Run frostline pretrain again with this version.",
        ) from error
