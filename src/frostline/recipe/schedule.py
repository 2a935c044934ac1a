"""Lengths and learning-rate schedules.

Every training in steps has a length that is known before it begins: `--epochs N`, or one of LENGTHS. The rate warms up
and falls along a cosine to zero over exactly that length, so what is judged, what runs on the blocks and what is handed
over follow one schedule. What is handed over is the mean of the weights over the last third of it. Sources: warm-up
and cosine, Loshchilov & Hutter 2017; averaging, Izmailov et al. 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LENGTHS = (75, 150, 300, 600)  # steps; a longer one is tried while the training loss still falls at the end
MIN_STEPS, FIRST_STEPS, _, MAX_STEPS = LENGTHS  # of early readings, and of the first candidates
EARLY_SHARE = 2 / 3  # of a training that its phases before the last take together at most
AVERAGED_FROM = 2 / 3  # of a training, from where on its weights are averaged
UNDERTRAINED = 0.05  # relative fall over the last quarter that marks a trial as cut short
UNDERTRAINED_NATS = 0.02  # ... if it is also at least this many nats
FITTED = 0.1  # share of the loss of guessing, below which the training samples count as fitted


@dataclass(frozen=True, slots=True)
class Length:
    """A known number of optimiser steps."""

    steps: int

    @property
    def warmup(self) -> int:
        return max(1, min(50, self.steps // 10))

    def factor(self, step: int) -> float:
        """Factor on the rate at a step counted from 0."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup + 1) / (self.steps - self.warmup + 1)))

    def is_averaged(self, step: int) -> bool:
        """True for the steps, from 0, whose weights count in the average that is handed over."""
        return step >= math.floor(AVERAGED_FROM * self.steps)


def next_length(steps: int, most: int) -> int | None:
    """The next longer one of LENGTHS that is at most `most` steps; None where there is none."""
    return next((length for length in LENGTHS if steps < length <= most), None)


def early_steps(phases: int, per_epoch: int, total: int) -> int:
    """Steps of each of several stepped phases but the last: one epoch (Howard & Ruder 2018, gradual unfreezing), and
    of `total` steps no more than EARLY_SHARE in all."""
    if phases < 2:
        return 0
    return max(1, min(per_epoch, math.floor(EARLY_SHARE * total) // (phases - 1)))


def still_improving(losses: Sequence[float], guessing: float) -> bool:
    """The mean of the last quarter of a curve lies well below that of the quarter before it, and isn't yet below FITTED
    of the loss of `guessing`."""
    quarter = len(losses) // 4
    if quarter < 1:
        return False
    last = math.fsum(losses[-quarter:]) / quarter
    before = math.fsum(losses[-2 * quarter : -quarter]) / quarter
    return last > FITTED * guessing and before - last > max(UNDERTRAINED * before, UNDERTRAINED_NATS)


MIXES: tuple[float, ...] = tuple(i / 10 for i in range(11))

INNER_FRACTION = 0.15  # of a block's training rows, on which an interpolated strategy chooses its mix

READING_STEPS = 10  # a loss curve has a reading at least this many steps apart


def reading_interval(per_epoch: int) -> int:
    """Steps between two readings of a loss curve: an epoch, but short enough for ten in the longest training."""
    return max(READING_STEPS, min(per_epoch, MAX_STEPS // 10))
