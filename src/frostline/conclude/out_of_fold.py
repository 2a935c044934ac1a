"""What a strategy predicted out of fold: one row a development sample, averaged over the repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray, Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutOfFold:
    """Probabilities (M, C) of `strategy` for the dataset rows (M,), ascending, with their labels (M,)."""

    strategy: str
    rows: IntArray
    labels: IntArray
    probabilities: FloatArray


def out_of_fold(outcomes: Sequence[Outcome], strategy: str, labels: IntArray) -> OutOfFold | None:
    """From the blocks' outcomes of one strategy; `labels` (N,) are those of the whole dataset. None where it has none.

    A row that several repeats predicted gets the mean of its probabilities.
    """
    done = [o for o in outcomes if o.strategy == strategy and o.purpose == "block" and o.ok]
    if not done:
        return None
    every = np.concatenate([np.asarray(o.rows, dtype=np.int64) for o in done])
    values = np.concatenate([np.asarray(o.probabilities, dtype=np.float64) for o in done])
    rows, place = np.unique(every, return_inverse=True)
    total = np.zeros((len(rows), values.shape[1]))
    np.add.at(total, place, values)
    mean = total / np.bincount(place)[:, None]
    return OutOfFold(strategy=strategy, rows=rows, labels=np.asarray(labels)[rows], probabilities=mean)
