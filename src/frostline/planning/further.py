"""Data beside those of the comparison: of another distribution (`--target`), and of the network's first task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.base.device import default_threads
from frostline.base.errors import DataError
from frostline.base.events import Emit, Event
from frostline.base.records import Dataset
from frostline.data.contract import Contract
from frostline.data.unlabelled import Purpose, Unlabelled, read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.planning.domain import common_labels
from frostline.recipe.settings import Settings

TARGET = Purpose(name="--target", fewest=1, fewest_classes=1)
SOURCE_DATA = Purpose(name="--source-data", fewest=4, fewest_classes=2)
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FurtherData:
    """What `--target` and `--source-data` name, read by the network's own contract; None where they weren't given."""

    target: Unlabelled | None = None
    source_task: Unlabelled | None = None


def read_further(settings: Settings, dataset: Dataset, contract: Contract, emit: Emit) -> FurtherData:
    """Read both, as far as they are given.

    Raises DataError for data that can't be read, and for source data without labels of two classes.
    """
    target = None
    if settings.target is not None:
        target = _read_one(settings, settings.target, contract, TARGET, emit)
        _tell_target(target, dataset, emit)
    source_task = None
    if settings.source_data is not None:
        source_task = _read_one(settings, settings.source_data, contract, SOURCE_DATA, emit)
        if source_task.labels is None or bool((source_task.labels < 0).any()):
            raise DataError(
                f"--source-data {settings.source_data} has samples without a class.",
                "Give class folders, or a table with a column label: accuracy is measured on them.",
            )
    return FurtherData(target=target, source_task=source_task)


def _read_one(settings: Settings, path: Path, contract: Contract, purpose: Purpose, emit: Emit) -> Unlabelled:
    return read_unlabelled(
        list_unlabelled(path, partly=purpose is TARGET),
        contract,
        purpose,
        threads=settings.threads or default_threads(),
        emit=emit,
        chosen_length=True,
    )


def _tell_target(target: Unlabelled, dataset: Dataset, emit: Emit) -> None:
    """Say what was understood of the target's labels, and which samples are copies of the data's."""
    classes, labels = common_labels(target, dataset.classes)
    if labels is None and target.classes:
        names = _named_few(target.classes)
        emit(
            Event(
                kind="note",
                text=f"--target: its folders ({names}) name none of the classes, so it is read without labels.",
            )
        )
    new = classes[len(dataset.classes) :]
    if labels is not None and new:
        emit(Event(kind="warning", text=f"--target has classes that the data don't have: {_named_few(new)}."))
    known = {sample.sha256 for sample in dataset.samples}
    copies = sum(sha256 in known for sha256 in target.hashes)
    if copies:
        emit(Event(kind="warning", text=f"{copies} of {len(target)} samples of --target are in the data as well."))


def _named_few(names: Sequence[str]) -> str:
    shown = list(names[:SHOWN])
    if len(names) > SHOWN:
        shown.append("...")
    return ", ".join(shown)
