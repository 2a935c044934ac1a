"""The two data sets of a diagnosis, listed, drawn from where they are large, and read by one contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from frostline.base.device import default_threads
from frostline.base.errors import DataError
from frostline.base.events import Emit, Event, silent
from frostline.base.records import IntArray
from frostline.base.seeds import numpy_generator
from frostline.data.contract import Contract
from frostline.data.split import draw_fraction
from frostline.data.texts import TextPreprocess
from frostline.data.unlabelled import Purpose, Unlabelled, read_unlabelled
from frostline.data.unlabelled_listing import UnlabelledListing, list_unlabelled
from frostline.recipe.settings import Settings

MOST_SAMPLES = 1000  # of a side; of more, a stratified draw: tests take seconds, and gain little by more
SOURCE = Purpose(name="frostline shift", fewest=1, fewest_classes=2)
TARGET = Purpose(name="frostline shift", fewest=1, fewest_classes=1)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A listing, and how many samples there were before a draw."""

    listing: UnlabelledListing
    found: int


def list_source(data: Any, seed: int, emit: Emit) -> Drawn:
    """List the source; its samples have labels where all of them lie in class folders, or a table says so."""
    return _drawn_side(list_unlabelled(data), "source", seed, emit)


def list_target(data: Any, seed: int, emit: Emit) -> Drawn:
    """List the target; samples may lie in class folders and beside them."""
    return _drawn_side(list_unlabelled(data, partly=True), "target", seed, emit)


def refuse_same(source: Any, target: Any) -> None:
    """Raise DataError where both are one folder or file."""
    paths = [one for one in (source, target) if isinstance(one, Path) and one.exists()]
    if len(paths) == 2 and paths[0].resolve() == paths[1].resolve():
        raise DataError(f"SOURCE and TARGET are both {source}: there is nothing to compare.", "Give two data sets.")


def _drawn_side(listing: UnlabelledListing, side: str, seed: int, emit: Emit) -> Drawn:
    """Draw MOST_SAMPLES from a larger listing, each class in its proportion and groups whole."""
    found = listing.listing
    count = len(found.rows)
    if count <= MOST_SAMPLES:
        return Drawn(listing=listing, found=count)
    names = sorted({label or "" for label in listing.labels})
    labels = np.array([names.index(label or "") for label in listing.labels], dtype=np.int64)
    groups = [row.group or f"\0{row.id}" for row in found.rows]
    keep = np.flatnonzero(drawn_mask(labels, groups, seed, side)).tolist()
    emit(
        Event(
            kind="note",
            text=f"{len(keep):,} of {count:,} {side} samples were drawn, each class in its proportion (--seed {seed}).",
        )
    )
    arrays = found.arrays
    if arrays is not None:
        arrays = replace(arrays, items=[arrays.items[i] for i in keep])
    texts = found.texts
    if texts is not None:
        texts = tuple(texts[i] for i in keep)
    chosen = replace(found, rows=tuple(found.rows[i] for i in keep), arrays=arrays, texts=texts)
    return Drawn(listing=replace(listing, listing=chosen, labels=tuple(listing.labels[i] for i in keep)), found=count)


def drawn_mask(labels: IntArray, groups: Sequence[str], seed: int, side: str) -> np.typing.NDArray[np.bool_]:
    """Return a mask (N,) of about MOST_SAMPLES samples, each class in its proportion and groups whole."""
    generator = numpy_generator(seed, "shift-draw", side)
    return draw_fraction(labels, groups, MOST_SAMPLES / len(labels), keep=0, generator=generator)


def read_target(target: Drawn, contract: Contract, settings: Settings, emit: Emit) -> Unlabelled:
    """Read a target as the network of a run reads it, texts at the run's length."""
    return _read_side(target, contract, TARGET, settings, emit, chosen_length=True)


def read_both(
    source: Drawn, target: Drawn, contract: Contract, settings: Settings, emit: Emit
) -> tuple[Unlabelled, Unlabelled]:
    """Read both sides by one contract; texts at the length that the longer side needs, unless --size says it."""
    chosen = settings.size is not None
    first = _read_side(source, contract, SOURCE, settings, emit, chosen_length=chosen)
    second = _read_side(target, contract, TARGET, settings, emit, chosen_length=chosen)
    if first.contract == second.contract:
        return first, second
    assert isinstance(first.contract, TextPreprocess)
    assert isinstance(second.contract, TextPreprocess)
    longer = max(first.contract, second.contract, key=lambda one: one.length)
    return (
        _read_side(source, longer, SOURCE, settings, silent, chosen_length=True),
        _read_side(target, longer, TARGET, settings, silent, chosen_length=True),
    )


def _read_side(
    side: Drawn, contract: Contract, purpose: Purpose, settings: Settings, emit: Emit, *, chosen_length: bool
) -> Unlabelled:
    return read_unlabelled(
        side.listing,
        contract,
        purpose,
        threads=settings.threads or default_threads(),
        emit=emit,
        chosen_length=chosen_length,
    )
