"""Dropping a strategy before all blocks are run, only when its loss is beyond doubt (docs/decisions/0002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from frostline.race.compare import compare, difference_variance
from frostline.race.standing import Standing, best_of, complete
from frostline.stats.paired import mcnemar_exact

# Standard deviation of the difference of two procedures over the draw of one training set: with 5 labels per class
# the accuracy of one was measured to vary by 2.5 points (raw-pixel SVM and logistic regression on digits), so sqrt(2)
# times that for two that share nothing. Larger sets and alike procedures vary less, so this errs towards keeping.
LUCK_OF_ONE_BLOCK = 0.035
STANDARD_ERRORS = 3.0
FEWEST_BLOCKS = 2  # a single training can go wrong, and one block can't tell that from a poor strategy


def beyond_doubt(
    standings: Sequence[Standing], *, looks: int, n_train: float, n_test: float, margin: float, level: float = 0.01
) -> dict[str, str]:
    """Names of the strategies to drop after the blocks so far, each with the reason in one sentence.

    A strategy goes when it loses to the leader in the exact one-sided McNemar test on the rows predicted so far, at
    `level` over all ordered pairs (the leader was chosen by the same data) and all `looks` (times that this is asked
    in one study), and its mean deficit exceeds three margins, what luck explains at that same level (`standard_luck`),
    and three corrected standard errors, which see a strategy that is erratic on these data. None goes after one block.
    By another metric than accuracy it has to be beyond doubt in both, and log loss, which has no points, drops none.
    Anchors, `baseline`, the leader and strategies that miss a block stay. `n_train`, `n_test`: samples per block.
    """
    running = [s for s in complete(standings) if not s.is_baseline]
    if looks < 1 or len(running) < 2 or running[0].metric == "log-loss" or len(running[0].blocks) < FEWEST_BLOCKS:
        return {}
    leader = best_of(running)
    of_runs = luck_of_runs(running)
    raced = sum(not s.is_baseline for s in standings)
    threshold = level / (raced * (raced - 1) * looks)
    quantile = float(ndtri(1 - threshold))
    dropped = {}
    for s in running:
        if s is leader or s.is_anchor:
            continue
        won, lost = rows_decided(leader, s)
        result = compare(leader, s, n_train=n_train, n_test=n_test)
        luck = quantile * standard_luck(leader, s, ratio=n_test / n_train, of_runs=of_runs)
        far = result.mean > max(3 * margin, luck, STANDARD_ERRORS * result.se)
        if far and mcnemar_exact(won, lost, sides="greater") < threshold:
            dropped[s.name] = (
                f"{s.name} is {100 * result.mean:.1f} points behind {leader.name} after {len(s.blocks)} blocks "
                f"(right alone on {lost} samples against {won}), more than luck explains."
            )
    return dropped


def standard_luck(a: Standing, b: Standing, *, ratio: float, of_runs: float) -> float:
    """Standard deviation that luck may give the mean difference a - b, as a share (0.01 is a point).

    In quadrature: luck of the validation samples, from their own differences; of single runs, `of_runs`, which every
    block draws again; of the training sets, LUCK_OF_ONE_BLOCK for one block, shrinking with further blocks only as far
    as their overlap lets it average out: (1/J + ratio) / (1 + ratio) of its variance, with ratio = n_test / n_train.
    Source: own; the overlap after Nadeau & Bengio 2003, equation 9.
    """
    rows = len(np.unique(a.keys[:, 1]))
    blocks = len(a.blocks)
    overlap = (1 / blocks + ratio) / (1 + ratio)
    return math.sqrt(difference_variance(a, b) / rows + LUCK_OF_ONE_BLOCK**2 * overlap + of_runs**2 / blocks)


def luck_of_runs(running: Sequence[Standing]) -> float:
    """Standard deviation, in one block, of the difference of two strategies by the luck of the single run.

    How much more the strategies' differences vary from block to block than their validation samples explain, taken
    over all strategies together, since two blocks of one pair tell next to nothing; 0 where they explain it all.
    `running` hold the same blocks, two or more. Source: own; the mean square of the interaction in a two-way layout.
    """
    scores = np.array([[b.score for b in s.blocks] for s in running])
    strategies, blocks = scores.shape
    left = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    between = 2 * float((left**2).sum()) / ((strategies - 1) * (blocks - 1))
    values = np.stack([s.values - s.values.mean() for s in running])
    of_samples = 2 * float(values.var(axis=0, ddof=1).mean()) * blocks / values.shape[1]
    return math.sqrt(max(0.0, between - of_samples))


def rows_decided(a: Standing, b: Standing) -> tuple[int, int]:
    """Dataset rows that a got right more often than b, and the reverse: a row predicted in several repeats counts once.

    `a` and `b` have to hold the same keys.
    """
    _, row = np.unique(a.keys[:, 1], return_inverse=True)
    balance = np.bincount(row, weights=a.correct - b.correct)
    return int(np.sum(balance > 0)), int(np.sum(balance < 0))
