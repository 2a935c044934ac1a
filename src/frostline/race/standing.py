"""What every strategy scored on the same paired blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from frostline.base.records import FloatArray, IntArray, Outcome
from frostline.stats.calibration import fit_temperature, tempered
from frostline.stats.contributions import Metric, contributions
from frostline.stats.metrics import log_loss

ROUNDING = 1e-9  # scores are ratios of small counts: differences below this are equal scores


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScore:
    """What a strategy scored on one block: `score` in the units of the metric, more is better; `log_loss` in nats;
    `n` samples."""

    index: int
    score: float
    log_loss: float
    n: int


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: `calibrated_loss` is worked out once
class Standing:
    """Where one strategy stands after the blocks so far.

    `cost`: counted operations of inference and training. `keys` (M, 2): block and dataset row of every prediction out
    of fold, in ascending order; `correct` (M,): 1 where it was right, else 0; `values` (M,): what each adds to the
    score of its block, whose mean over the block is that score. `probabilities` (M, C) and `labels` (M,) are those of
    the predictions, as far as they were kept.
    """

    name: str
    cost: float
    trained_parameters: int
    blocks: tuple[BlockScore, ...]
    keys: IntArray
    correct: FloatArray
    values: FloatArray
    metric: Metric = "accuracy"
    eliminated: bool = False
    is_baseline: bool = False
    is_anchor: bool = False  # never dropped
    probabilities: FloatArray | None = None
    labels: IntArray | None = None

    @cached_property
    def calibrated_loss(self) -> float | None:
        """Mean log loss at the temperature that fits these predictions best; None where no probabilities were kept.

        A model is handed over with such a temperature, so overconfidence alone doesn't count against a strategy.
        """
        if self.probabilities is None or self.labels is None:
            return None
        temperature = fit_temperature(self.probabilities, self.labels, spread=None)
        return log_loss(tempered(self.probabilities, temperature), self.labels)

    @property
    def score(self) -> float:
        return float(np.mean([b.score for b in self.blocks]))

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the blocks, whatever the metric is."""
        return float(np.mean([self.correct[self.keys[:, 0] == index].mean() for index in self.block_indices]))

    @property
    def log_loss(self) -> float:
        return float(np.mean([b.log_loss for b in self.blocks]))

    @property
    def block_indices(self) -> tuple[int, ...]:
        return tuple(b.index for b in self.blocks)


def standing_from(
    outcomes: Sequence[Outcome],
    labels: IntArray,
    *,
    cost: float | None = None,
    trained_parameters: int,
    metric: Metric = "accuracy",
    eliminated: bool = False,
    is_baseline: bool = False,
    is_anchor: bool = False,
    purpose: Literal["block", "forecast"] = "block",
) -> Standing:
    """The standing of one strategy from its outcomes of one purpose; others and failed ones are left out.

    `labels` (N,) are those of the whole dataset, which `Outcome.rows` index. `cost` defaults to the mean counted
    operations of these trials. Raises ValueError on outcomes of several strategies or none, or two of one block.
    """
    names = {o.strategy for o in outcomes}
    if len(names) != 1:
        raise ValueError(f"expected the outcomes of one strategy, found {sorted(names) or 'none'}")
    done = sorted((o for o in outcomes if o.purpose == purpose and o.ok), key=lambda o: o.block)
    if len({o.block for o in done}) < len(done):
        raise ValueError(f"{names} has several outcomes of one block")
    judged = [_judged(o, labels, metric) for o in done]
    return Standing(
        name=names.pop(),
        cost=float(np.mean([o.operations for o in done])) if cost is None and done else cost or 0.0,
        trained_parameters=trained_parameters,
        blocks=tuple(_block_score(o, j.values, metric) for o, j in zip(done, judged, strict=True)),
        keys=np.concatenate([np.empty((0, 2), dtype=np.int64), *(j.keys for j in judged)]),
        correct=np.concatenate([np.empty(0), *(j.correct for j in judged)]),
        values=np.concatenate([np.empty(0), *(j.values for j in judged)]),
        metric=metric,
        eliminated=eliminated,
        is_baseline=is_baseline,
        is_anchor=is_anchor,
        probabilities=np.concatenate([j.probabilities for j in judged]) if judged else None,
        labels=np.concatenate([j.labels for j in judged]) if judged else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """The predictions of one block, in ascending order of their rows; the arrays are those of a Standing."""

    keys: IntArray
    correct: FloatArray
    values: FloatArray
    probabilities: FloatArray
    labels: IntArray


def _judged(outcome: Outcome, labels: IntArray, metric: Metric) -> _Judged:
    rows = np.array(outcome.rows)
    order = np.argsort(rows)
    probabilities = np.array(outcome.probabilities)[order]
    truth = np.asarray(labels)[rows[order]]
    right = probabilities.argmax(axis=1) == truth
    return _Judged(
        keys=np.column_stack([np.full(len(rows), outcome.block), rows[order]]),
        correct=right.astype(np.float64),
        values=contributions(metric, probabilities, truth),
        probabilities=probabilities,
        labels=truth,
    )


def _block_score(outcome: Outcome, values: FloatArray, metric: Metric) -> BlockScore:
    if metric == "accuracy":
        score = outcome.accuracy
    else:
        score = float(values.mean())
    return BlockScore(index=outcome.block, score=score, log_loss=outcome.log_loss, n=len(outcome.rows))


def complete(standings: Sequence[Standing]) -> list[Standing]:
    """Those that were not eliminated and have a score on every block that any strategy has one on."""
    blocks = {index for s in standings for index in s.block_indices}
    return [s for s in standings if blocks and not s.eliminated and set(s.block_indices) == blocks]


def best_of(standings: Sequence[Standing]) -> Standing:
    """Highest mean score; ties go to the lower log loss, then the cheaper, then the name. ValueError on none."""
    top = max(s.score for s in standings)
    return min((s for s in standings if s.score >= top - ROUNDING), key=lambda s: (s.log_loss, s.cost, s.name))
