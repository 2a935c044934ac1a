"""The target of an adaptation: its samples, and what may be done with its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.device import default_threads
from frostline.base.errors import BundleError, DataError
from frostline.base.events import Emit, Event
from frostline.base.records import IntArray
from frostline.bundle.adapt_record import TargetLabels
from frostline.bundle.origin import read_samples
from frostline.data.unlabelled import Purpose, Unlabelled, read_unlabelled
from frostline.data.unlabelled_listing import UnlabelledListing
from frostline.planning.domain import common_labels
from frostline.planning.run_source import RunSource

PURPOSE = Purpose(name="frostline adapt", fewest=1, fewest_classes=1)
SHOWN = 3
TARGET_LABELS: tuple[TargetLabels, ...] = ("none", "few", "sealed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The target's samples as the run's network reads them.

    Attributes:
        data: with the labels that it brings.
        mode: what may be done with them; `by_default` where the user didn't say.
        names: the run's classes, then those that only the target names.
        known: number of the run's classes.
        labels: (N,) numbers of `names`, -1 where there is none; None where none of the run's classes is named.
        copies: samples that are in the run's own data as well.
        nothing_to_do: why no arm has to run, as a clause; empty where there is something to do.
    """

    data: Unlabelled
    mode: TargetLabels
    by_default: bool
    names: tuple[str, ...]
    known: int
    labels: IntArray | None
    copies: int
    nothing_to_do: str = ""

    @property
    def visible(self) -> Unlabelled:
        """The data as arms may see them: without labels, unless these may be learnt from."""
        if self.mode == "few":
            return self.data
        return replace(self.data, labels=None, classes=())

    @property
    def scored(self) -> IntArray:
        """Rows whose label is one of the run's classes."""
        if self.labels is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((self.labels >= 0) & (self.labels < self.known))

    @property
    def learnt(self) -> IntArray | None:
        """Rows whose labels may be learnt from."""
        if self.mode != "few":
            return None
        return self.scored

    @property
    def new_classes(self) -> tuple[str, ...]:
        return self.names[self.known :]

    @property
    def missing_classes(self) -> tuple[str, ...]:
        """Classes of the run that no target sample has; empty where labels aren't known."""
        if self.labels is None:
            return ()
        there = set(self.labels.tolist())
        return tuple(name for number, name in enumerate(self.names[: self.known]) if number not in there)


def read_adapt_target(
    listing: UnlabelledListing, source: RunSource, asked: str | None, *, threads: int | None, emit: Emit
) -> Target:
    """Read the target as the run's network reads it, and say what was understood of its labels.

    Raises DataError for a target that can't be read, and where labels are asked for that it doesn't have.
    """
    data = read_unlabelled(
        listing,
        source.network.preprocess,
        PURPOSE,
        threads=threads or default_threads(),
        emit=emit,
        chosen_length=True,
    )
    names, labels = common_labels(data, source.classes)
    if asked in ("few", "sealed") and labels is None:
        raise DataError(_no_labels(data, source.classes, asked), "Choose without labels: --target-labels none.")
    mode: TargetLabels = "none" if labels is None else "sealed"
    for word in TARGET_LABELS:
        if asked == word:
            mode = word
    copies = _copies(data, source)
    target = Target(
        data=data,
        mode=mode,
        by_default=asked is None,
        names=names,
        known=len(source.classes),
        labels=labels,
        copies=copies,
        nothing_to_do=_nothing_to_do(len(data), copies),
    )
    _tell_labels_of(target, emit)
    return target


def _no_labels(data: Unlabelled, classes: Sequence[str], asked: str | None) -> str:
    found = "has no labels"
    if data.classes:
        found = (
            f"names none of the run's classes (it has {_first_names(data.classes)}, the run {_first_names(classes)})"
        )
    return f"--target-labels {asked}: {data.path} {found}."


def _copies(data: Unlabelled, source: RunSource) -> int:
    """Count the target samples that equal one of the run's own; 0 where these aren't known."""
    try:
        own = {note.sha256 for note in read_samples(source.run).values()}
    except BundleError:
        return 0
    return sum(sha256 in own for sha256 in data.hashes)


def _nothing_to_do(count: int, copies: int) -> str:
    if copies == count:
        return f"all {count} target samples are in the run's own data, so there is no shift to adapt to"
    return ""


def _tell_labels_of(target: Target, emit: Emit) -> None:
    data = target.data
    if target.by_default and target.mode == "sealed":
        text = (
            f"--target-labels sealed, since {data.path} names classes of the run: its {len(target.scored)} labels are "
            "opened once, after the choice."
        )
        emit(Event(kind="note", text=text))
    elif target.by_default and data.classes:
        text = f"--target-labels none: {_first_names(data.classes)} in {data.path} are none of the run's classes."
        emit(Event(kind="note", text=text))
    elif target.by_default:
        emit(Event(kind="note", text=f"--target-labels none: {data.path} has no labels."))
    if target.new_classes:
        new = _first_names(target.new_classes)
        text = (
            f"{data.path} has classes that the network doesn't know ({new}): it can't answer with them, and their "
            "samples count in no accuracy."
        )
        emit(Event(kind="warning", text=text))
    if 0 < target.copies < len(data):
        text = f"{target.copies} of {len(data)} target samples are in the run's own data as well."
        emit(Event(kind="warning", text=text))


def _first_names(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:SHOWN]]
    if len(names) > SHOWN:
        shown.append("...")
    return ", ".join(shown)
