"""What the figures of a curve support, in plain sentences: no more than their intervals allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from frostline.curve.gaps import GapName, UnitMean

MARGIN = 0.02  # accuracy; whether a larger loss is excluded is said of every stage
LEAST_LEARNT = 0.1  # of the way from guessing to perfect, that a base has to go


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGap:
    """A gap at one stage."""

    stage: int
    estimate: UnitMean

    @property
    def is_shown(self) -> bool:
        """The interval lies above 0."""
        return self.estimate.ci is not None and self.estimate.ci[0] > 0

    @property
    def is_reversed(self) -> bool:
        """The interval lies below 0."""
        return self.estimate.ci is not None and self.estimate.ci[1] < 0

    @property
    def is_small(self) -> bool:
        """The interval ends below the margin."""
        return self.estimate.ci is not None and self.estimate.ci[1] < MARGIN

    def words(self, *, sign: int = 1) -> str:
        """Write it as `stage 4 by 1.9 points (0.1 to 3.7)`."""
        return f"stage {self.stage} by {points(self.estimate, sign=sign)}"


Gaps = Mapping[GapName, Sequence[StageGap]]


def sentences(kind: Literal["full", "applied"], gaps: Gaps) -> list[str]:
    """Return what can be said of a curve."""
    if any(depth.estimate.ci is None for depths in gaps.values() for depth in depths):
        return [
            "With a single split there are no intervals, so nothing here can be told from luck: use --splits 3 or more."
        ]
    if kind == "applied":
        said = [*_price(gaps.get("freezing", ()), "Freezing copied stages", "against training them on")]
        return [*said, *_gain(gaps.get("gain", ()))]
    return [
        *_price(
            gaps.get("loss", ()), "Freezing stages learnt on other classes", "against training all on these classes"
        ),
        *_cause(gaps.get("co-adaptation", ()), "later stages can't be re-learnt around frozen ones"),
        *_cause(gaps.get("specificity", ()), "frozen features belong to the classes they were learnt on"),
        *_gain(gaps.get("gain", ())),
        *_transfer(gaps.get("transfer", ())),
    ]


def near_guessing(base: float, guessing: float) -> bool:
    """Return True where bases go less than a tenth of the way from guessing to perfect."""
    return base <= guessing + LEAST_LEARNT * (1 - guessing)


def warning_of_guessing(kind: Literal["full", "applied"], base: float, guessing: float) -> str:
    """Say what can't be said where the base only guesses."""
    if kind == "applied":
        return (
            f"From random weights the network reaches {base:.3f} where guessing reaches {guessing:.3f}. The rate was "
            "chosen by that, so it may suit the other arms badly: train for longer (--epochs N), or give --lr."
        )
    return (
        f"The bases reach {base:.3f} where guessing reaches {guessing:.3f}, so nothing can be said of transfer: train "
        "for longer (--epochs N), or at another --lr."
    )


def points(estimate: UnitMean, *, sign: int = 1) -> str:
    """Write a difference in points, with its interval where there is one: `3.1 points (1.0 to 5.2)`."""
    text = f"{100 * sign * estimate.mean + 0.0:.1f} points"
    if estimate.ci is None:
        return text
    low, high = sorted(sign * end for end in estimate.ci)
    return f"{text} ({100 * low + 0.0:.1f} to {100 * high + 0.0:.1f})"


def places(depths: Sequence[StageGap], *, sign: int = 1) -> str:
    """Write every one of them as :meth:`StageGap.words` does."""
    return ", ".join(depth.words(sign=sign) for depth in depths)


def stage_list(depths: Sequence[StageGap]) -> str:
    """Write `stage 3`, `stages 1 to 3` or `stages 1, 3`."""
    numbers = [depth.stage for depth in depths]
    if len(numbers) == 1:
        return f"stage {numbers[0]}"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"stages {numbers[0]} to {numbers[-1]}"
    return f"stages {', '.join(map(str, numbers))}"


def _price(depths: Sequence[StageGap], what: str, against: str) -> Iterator[str]:
    """Say where freezing costs accuracy, where it is better, and where a loss of MARGIN is excluded or isn't."""
    costly = [depth for depth in depths if depth.is_shown]
    better = [depth for depth in depths if depth.is_reversed]
    rest = [depth for depth in depths if not depth.is_shown]
    if costly:
        start = ""
        if rest and rest[-1].stage < costly[0].stage:
            start = f"Up to stage {rest[-1].stage} no loss is shown. "
        yield f"{start}{what} costs accuracy {against} at {places(costly)}."
    elif depths:
        yield f"{what} isn't shown to cost accuracy {against} at any stage."
    if better:
        yield f"It is better at {places(better, sign=-1)}."
    small = [depth for depth in rest if depth.is_small]
    unsure = [depth for depth in rest if not depth.is_small]
    excluded = f"A loss of {100 * MARGIN:.0f} points or more"
    if small:
        yield f"{excluded} is excluded at {stage_list(small)}."
    if unsure:
        worst = max(unsure, key=lambda depth: depth.estimate.ci[1] if depth.estimate.ci else 0.0)
        yield f"{excluded} can't be excluded at {stage_list(unsure)} (worst: {worst.words()})."


def _cause(depths: Sequence[StageGap], what: str) -> Iterator[str]:
    """Say at which stages one of the two causes of a loss is shown."""
    shown = [depth for depth in depths if depth.is_shown]
    if shown:
        yield f"It is shown that {what}: accuracy lost at {places(shown)}."
    elif depths:
        yield f"At no stage is it shown that {what}."


def _gain(depths: Sequence[StageGap]) -> Iterator[str]:
    """Say what starting from copied stages brings when all of them train on."""
    shown = [depth for depth in depths if depth.is_shown]
    harmful = [depth for depth in depths if depth.is_reversed]
    if shown:
        best = max(shown, key=lambda depth: depth.estimate.mean)
        yield f"Copied and trained on, the network beats random weights at {stage_list(shown)}, most at {best.words()}."
    if harmful:
        yield f"Copied and trained on, it falls behind random weights at {places(harmful, sign=-1)}."
    if depths and not shown and not harmful:
        yield "Copied and trained on, no stage is shown to beat random weights or to fall behind them."


def _transfer(depths: Sequence[StageGap]) -> Iterator[str]:
    """Say whether that is owed to the other classes: a copy of the same classes has trained for as long."""
    shown = [depth for depth in depths if depth.is_shown]
    less = [depth for depth in depths if depth.is_reversed]
    if shown:
        yield f"Other classes bring more than the same copy of these classes does at {places(shown)}."
    if less:
        yield f"Other classes bring less than the same copy of these classes does at {places(less, sign=-1)}."
    if depths and not shown and not less:
        yield (
            "At no stage do other classes bring more than a copy of these classes, which was trained for as long: a "
            "gain may be owed to the longer training."
        )
