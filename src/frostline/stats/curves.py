"""Learning curves: what the last doubling of the labels says about more of them, and a power law through the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from frostline.stats.intervals import Interval

Reading = Literal["helps", "little", "undecided"]

LITTLE = 0.02  # a doubling that brings less than 2 points is called little: it is a lot of work
LOWEST, HIGHEST = 0.05, 2.0  # exponents that are looked for
POWER_LAW_POINTS = 4  # one more than it has parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What going from `fewer` to `labels` labels brought a strategy on `blocks` paired blocks: `difference` of
    accuracies (0.01 is a point) with its two-sided 95 % interval `ci`."""

    strategy: str
    fewer: int
    labels: int
    blocks: int
    difference: float
    ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """error(n) = floor + scale n^-exponent, all three at least 0."""

    floor: float
    scale: float
    exponent: float

    def error(self, labels: float) -> float:
        return float(self.floor + self.scale * labels**-self.exponent)


def reading_of(ci: Interval) -> Reading:
    """What a doubling's interval shows: `little` where its upper end is at most LITTLE (even if it is shown to be above
    0), else `helps` where its lower end is above 0, else `undecided`."""
    low, high = ci
    if high <= LITTLE:
        return "little"
    if low > 0:
        return "helps"
    return "undecided"


def gain_sentence(gain: Gain, *, instead: str, projected: float | None = None) -> str:
    """Whether more labels would help, in words.

    `instead`: what else could be tried, where they would not. `projected`: accuracy gained by another doubling as a
    power law guesses it, said only where labels are shown to help.
    """
    low, high = (_points(v) for v in gain.ci)
    double = 1.8 <= gain.labels / gain.fewer <= 2.2
    going = "Going from"
    if double:
        going = "Doubling the labels from"
    text = (
        f"{going} {gain.fewer} to {gain.labels}{'' if double else ' labels'} brought {gain.strategy} "
        f"{_points(gain.difference)} points "
    )
    if gain.blocks > 1:
        text += f"on {gain.blocks} blocks (95 % interval {low} to {high})"
    else:
        text += f"on a single block (95 % interval {low} to {high}, the luck of the training set not covered)"
    reading = reading_of(gain.ci)
    if reading == "helps":
        if projected is None:
            guess = ""
        else:
            guess = f" (a power law through the points guesses {_points(projected)})"
        return f"{text}: more labels help; another doubling may bring about as much or a little less{guess}."
    if reading == "little":
        shown = "not shown to be more than luck"
        if gain.ci[0] > 0:
            shown = "more than luck, but little"
        return (
            f"{text}, {shown}: the curve is flat. More labels of this kind would help little; {instead} would be "
            "the thing to try."
        )
    return f"{text}: whether more labels would help can't be told from so few."


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}"  # no minus before a zero


def power_law(labels: Sequence[float], errors: Sequence[float]) -> PowerLaw | None:
    """The least-squares power law through `errors` (P,) in [0, 1] at `labels` (P,) above 0.

    For every exponent, floor and scale are a linear least-squares problem with bounds at 0, so only the exponent is
    searched for, between LOWEST and HIGHEST. None with fewer than 4 different sizes. A rough guide for one more
    doubling and no further: few points, each with its own luck. Source of the form: Hestness et al. 2017, "Deep
    Learning Scaling is Predictable, Empirically".
    """
    from scipy.optimize import minimize_scalar, nnls

    n, values = np.asarray(labels, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if len(np.unique(n)) < POWER_LAW_POINTS:
        return None
    ratio = n / n.min()  # well conditioned, whatever the size

    def solved(exponent: float) -> tuple[float, float, float]:
        (floor, scale), residual = nnls(np.column_stack([np.ones_like(ratio), ratio**-exponent]), values)
        return float(residual), float(floor), float(scale)

    grid = np.geomspace(LOWEST, HIGHEST, 40)
    at = int(np.argmin([solved(c)[0] for c in grid]))
    around = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    found = minimize_scalar(lambda c: solved(c)[0], bounds=around, method="bounded", options={"xatol": 1e-9})
    exponent = float(found.x)
    _, floor, scale = solved(exponent)
    return PowerLaw(floor=floor, scale=scale * float(n.min()) ** exponent, exponent=exponent)
