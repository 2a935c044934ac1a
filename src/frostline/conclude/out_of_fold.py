"""Out-of-fold predictions of a strategy: every one of them, or one per sample, averaged over the repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray, Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Every out-of-fold prediction of a strategy, (M, C) as the networks gave them, with its label and dataset row."""

    probabilities: FloatArray
    labels: IntArray
    rows: IntArray

    @property
    def repeats(self) -> float:
        return len(self.rows) / len(np.unique(self.rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutOfFold:
    """Probabilities (M, C) of `strategy` for the dataset rows (M,), ascending, with their labels (M,)."""

    strategy: str
    rows: IntArray
    labels: IntArray
    probabilities: FloatArray


def held_out(outcomes: Sequence[Outcome], strategy: str, labels: IntArray) -> HeldOut | None:
    """Collect them from the blocks' outcomes; `labels` (N,) are the dataset's. None where the strategy has none."""
    finished = [o for o in outcomes if o.strategy == strategy and o.purpose == "block" and o.ok and o.rows]
    if not finished:
        return None
    rows = np.concatenate([np.asarray(o.rows, dtype=np.int64) for o in finished])
    values = np.concatenate([np.asarray(o.probabilities, dtype=np.float64) for o in finished])
    return HeldOut(probabilities=values, labels=np.asarray(labels)[rows], rows=rows)


def out_of_fold(outcomes: Sequence[Outcome], strategy: str, labels: IntArray) -> OutOfFold | None:
    """As :func:`held_out`, but a row that several repeats predicted gets the mean of its probabilities."""
    every = held_out(outcomes, strategy, labels)
    if every is None:
        return None
    rows, place = np.unique(every.rows, return_inverse=True)
    total = np.zeros((len(rows), every.probabilities.shape[1]))
    np.add.at(total, place, every.probabilities)
    mean = total / np.bincount(place)[:, None]
    return OutOfFold(strategy=strategy, rows=rows, labels=np.asarray(labels)[rows], probabilities=mean)
