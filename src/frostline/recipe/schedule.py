"""Lengths and learning-rate schedules.

With `--epochs N` the rate warms up and falls along a cosine to zero over exactly N epochs. Where the length is found
(100 to 500 steps) it is held after the warm-up until the loss on an inner validation part stops falling, and then
falls along a cosine over the last third: the schedule is then a function of the final length alone, so the refit can
repeat it. Source: warm-up and cosine, Loshchilov & Hutter 2017; hold then decay, Hägele et al. 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_STEPS, MAX_STEPS = 100, 500
HOLD = 2 / 3  # share of a found length that is spent before the decay
PATIENCE = 3  # readings without improvement that make a plateau
IMPROVEMENT = 0.01  # relative fall of the loss that counts as improvement
UNDERTRAINED = 0.05  # relative fall over the last quarter that marks a trial as cut short
UNDERTRAINED_NATS = 0.02  # ... if it is also at least this many nats


@dataclass(frozen=True, slots=True)
class Length:
    """A known length: `hold` is the share of the steps before the decay begins (0: plain cosine)."""

    steps: int
    hold: float = 0.0

    @property
    def warmup(self) -> int:
        # a found length isn't known when the warm-up runs, so that one is fixed
        if self.hold:
            return MIN_STEPS // 10
        return max(1, min(50, self.steps // 10))

    def factor(self, step: int) -> float:
        """Factor on the rate at a step counted from 0."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        start = max(self.warmup, math.floor(self.hold * self.steps))
        if step < start:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - start + 1) / (self.steps - start + 1)))


OPEN = Length(MAX_STEPS, HOLD)  # stands in until the length is found: warm-up, then hold
MIN_HOLD = math.ceil(HOLD * MIN_STEPS)


def max_hold(steps: int) -> int:
    """The last step at which the rate is held, of at most `steps`."""
    return math.floor(HOLD * steps)


def early_steps(phases: int, per_epoch: int, total: int) -> int:
    """Steps of each of several stepped phases but the last: one epoch (Howard & Ruder 2018, gradual unfreezing), and
    of `total` steps (the shortest length, where it is to be found) no more than the share before the decay in all."""
    if phases < 2:
        return 0
    return max(1, min(per_epoch, math.floor(HOLD * total) // (phases - 1)))


@dataclass(slots=True)
class Plateau:
    """Tells when a falling loss has stopped falling."""

    best: float = math.inf
    bad: int = 0

    def reached(self, loss: float) -> bool:
        if loss < self.best * (1 - IMPROVEMENT):
            self.best = loss
            self.bad = 0
        else:
            self.bad += 1
        return self.bad >= PATIENCE


def still_improving(losses: Sequence[float]) -> bool:
    """The mean of the last quarter of a curve lies well below that of the quarter before it."""
    quarter = len(losses) // 4
    if quarter < 1:
        return False
    last = math.fsum(losses[-quarter:]) / quarter
    before = math.fsum(losses[-2 * quarter : -quarter]) / quarter
    return before - last > max(UNDERTRAINED * before, UNDERTRAINED_NATS)


MIXES: tuple[float, ...] = tuple(i / 10 for i in range(11))

INNER_FRACTION = 0.15  # of a block's training rows, looked at only to find the length

READING_STEPS = 10  # a loss curve has a reading at least this many steps apart


def reading_interval(per_epoch: int, most: int) -> int:
    """Steps between two readings of a loss curve: an epoch, but short enough that ten fit before the longest hold of
    `most` steps is over."""
    return max(READING_STEPS, min(per_epoch, max_hold(most) // 10))
