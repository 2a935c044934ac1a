"""What a run found on data beside those of its comparison: `--target` and `--source-data` (docs/record.md)."""

from __future__ import annotations

from frostline.bundle.typed import Record, ScoreRecord


class RemedyRecord(Record):
    """What may help: an arm of `frostline adapt` (None: something else), why, and who says so."""

    arm: str | None
    action: str
    reason: str
    source: str


class TargetArmRecord(Record):
    """A way of adapting the model to the target, with its accuracy as it was estimated without labels, and as it was
    found once the target's labels were opened."""

    name: str
    term: str
    reason: str | None  # why it didn't run
    estimated_accuracy: float | None
    test: ScoreRecord | None


class TargetRecord(Record):
    """The diagnosis of the shift, the arms and the choice among them; the adapted model lies in `folder`."""

    path: str
    n: int
    labelled: int
    new_classes: list[str]
    missing_classes: list[str]
    situation: str
    level: str | None
    sentences: list[str]
    cannot_see: list[str]
    remedies: list[RemedyRecord]
    arms: list[TargetArmRecord]
    choice: str | None
    reason: str
    folder: str | None


class MemoryRecord(Record):
    """Accuracy on the source task: by the network's first head, put back, and by a new linear head on half of it."""

    strategy: str | None  # None: before any training
    head: ScoreRecord | None
    probe: ScoreRecord | None


class SourceTaskRecord(Record):
    """What the network knew of its first task, and what it knows after each strategy."""

    path: str
    n: int
    classes: list[str]
    before: MemoryRecord
    after: list[MemoryRecord]
    reason: str | None  # why the first head couldn't be read
