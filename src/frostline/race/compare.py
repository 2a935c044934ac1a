"""Paired comparisons of strategies that met the same blocks, with the interval of each score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from frostline.base.records import Comparison
from frostline.base.seeds import numpy_generator
from frostline.race.standing import Standing, complete
from frostline.stats.intervals import Interval, bootstrap_interval, corrected_interval, wilson
from frostline.stats.paired import PairedResult, corrected_paired, holm, paired_losses, paired_samples, sample_variance


def score_interval(standing: Standing, *, n_train: float, n_test: float, level: float = 0.95) -> Interval:
    """Interval of a strategy's expected score, within [0, 1].

    Over blocks it covers the luck of the training set, its variance averaged with that of the samples as in `compare`;
    with a single block it is Wilson's (of other metrics than accuracy a bootstrap) over samples and doesn't.
    Raises ValueError on no block.
    """
    if len(standing.blocks) < 2:
        if standing.metric == "accuracy":
            return wilson(float(standing.correct.sum()), len(standing.correct), level)
        return bootstrap_interval(standing.values, rng=numpy_generator(0, "score", standing.name), level=level)
    scores = np.array([b.score for b in standing.blocks])
    low, high = corrected_interval(
        scores,
        n_train=n_train,
        n_test=n_test,
        level=level,
        floor=_own_variance(standing) / n_test,
        floor_df=len(scores) - 1,
    )
    if standing.metric == "log-loss":
        return (low, min(high, 0.0))
    return (max(low, 0.0), min(high, 1.0))


def _own_variance(standing: Standing) -> float:
    """Of what one sample adds to the score."""
    if standing.metric != "accuracy":
        return float(standing.values.var(ddof=1))
    right = float(standing.correct.sum())
    n = len(standing.correct)
    share = (right + 2) / (n + 4)  # Agresti & Coull 1998: never 0 or 1, so equal blocks keep a width
    return share * (1 - share)


def difference_variance(a: Standing, b: Standing) -> float:
    """Variance of what one sample adds to the difference a - b; of accuracies never 0 (stats.sample_variance)."""
    if a.metric == "accuracy":
        return sample_variance(a.correct, b.correct)
    return float((a.values - b.values).var(ddof=1))


def compare(a: Standing, b: Standing, *, n_train: float, n_test: float, level: float = 0.95) -> PairedResult:
    """Paired difference a - b of two strategies that met the same blocks.

    With several blocks: the corrected resampled t test, its variance averaged with (and never below) the one that the
    samples' own differences give, as docs/decisions/0002 explains. With one block: over samples.
    Raises ValueError when the two were not judged on the same rows.
    """
    if not np.array_equal(a.keys, b.keys) or a.block_indices != b.block_indices:
        raise ValueError(f"{a.name} and {b.name} were not judged on the same rows")
    if len(a.blocks) == 1 and a.metric == "accuracy":
        return paired_samples(a.correct, b.correct, level=level)
    if len(a.blocks) == 1:
        return paired_losses(a.values, b.values, rng=numpy_generator(0, "compare", a.name, b.name), level=level)
    differences = np.array([x.score - y.score for x, y in zip(a.blocks, b.blocks, strict=True)])
    return corrected_paired(
        differences,
        n_train=n_train,
        n_test=n_test,
        level=level,
        floor=difference_variance(a, b) / n_test,
        floor_df=len(differences) - 1,
    )


def compare_all(
    standings: Sequence[Standing], *, n_train: float, n_test: float, margin: float, level: float = 0.05
) -> tuple[Comparison, ...]:
    """All pairs of complete strategies, `baseline` included, their p-values corrected by Holm.

    `worse` or `better`: corrected p below `level`. Else `as-good`: both one-sided 95 % bounds (at level 0.05) within
    the margin, or one sample where that is more. Else `undecided`. The interval of a pair is its own, uncorrected one.
    """
    pairs = list(combinations(complete(standings), 2))
    results = [compare(a, b, n_train=n_train, n_test=n_test, level=1 - level) for a, b in pairs]
    adjusted = holm([r.p for r in results])
    allowed = max(margin, one_sample(standings))
    return tuple(
        Comparison(
            a=a.name,
            b=b.name,
            difference=r.mean,
            ci=r.ci,
            p=float(p),
            outcome=_outcome_of(r, p, margin=allowed, level=level),
        )
        for (a, b), r, p in zip(pairs, results, adjusted, strict=True)
    )


def _outcome_of(
    result: PairedResult, p: float, *, margin: float, level: float
) -> Literal["worse", "better", "as-good", "undecided"]:
    if p < level:
        if result.mean < 0:
            return "worse"
        return "better"
    if result.within(margin, 1 - level):
        return "as-good"
    return "undecided"


def versus_best(comparisons: Sequence[Comparison], best: str) -> dict[str, Comparison]:
    """The pair of each other strategy with `best`, turned so that the difference reads strategy - best."""
    found = {c.a: c for c in comparisons if c.b == best}
    return found | {c.b: _turned(c) for c in comparisons if c.a == best}


def _turned(c: Comparison) -> Comparison:
    opposite: Mapping[str, Literal["worse", "better"]] = {"worse": "better", "better": "worse"}
    return Comparison(
        a=c.b,
        b=c.a,
        difference=-c.difference,
        ci=(-c.ci[1], -c.ci[0]),
        p=c.p,
        outcome=opposite.get(c.outcome, c.outcome),
    )


def one_sample(standings: Sequence[Standing]) -> float:
    """The finest step of a mean score: one sample judged differently in one block (0 where nothing was scored, and for
    log loss, which has no steps)."""
    if any(s.metric == "log-loss" for s in standings):
        return 0.0
    blocks = max((s.blocks for s in standings), key=len, default=())
    return max((1 / (len(blocks) * b.n) for b in blocks), default=0.0)
