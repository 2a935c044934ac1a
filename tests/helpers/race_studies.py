"""Made-up studies for the tests of the race: strategies of known accuracy, judged on the same folds."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.special import ndtr

from frostline.race.standing import BlockScore, Standing


def draw(
    rng: np.random.Generator,
    accuracies: Sequence[float] | np.ndarray,
    *,
    blocks: int,
    per_block: int,
    luck: float = 0.0,
    runs: float | None = None,
    alike: float = 0.6,
) -> np.ndarray:
    """0/1 scores (strategies, rows); rows of one block stand together.

    `luck`: standard deviation that the training rows give each strategy's accuracy; `runs` that of each single training
    run, the same by default.
    `alike`: correlation of the strategies' latent scores on a row.
    """
    true, n = np.asarray(accuracies)[:, None], blocks * per_block
    block = np.arange(n) // per_block
    influence = luck * rng.normal(size=(len(true), n)) / np.sqrt(n)
    of_block = np.stack([influence[:, block != j].sum(axis=1) for j in range(blocks)], axis=1)
    of_run = (luck if runs is None else runs) * rng.normal(size=(len(true), blocks))
    shifted = np.clip(true + (of_block + of_run)[:, block], 0.01, 0.995)
    latent = np.sqrt(alike) * rng.normal(size=n) + np.sqrt(1 - alike) * rng.normal(size=(len(true), n))
    return (ndtr(latent) < shifted).astype(float)


def standings(
    correct: np.ndarray,
    *,
    per_block: int,
    costs: Sequence[float] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    eliminated: Collection[str] = (),
) -> list[Standing]:
    """Standings after as many blocks as `correct` (strategies, rows) has; 'baseline' is the baseline."""
    count, n = correct.shape
    names = names or [f"s{k}" for k in range(count)]
    costs = range(1, count + 1) if costs is None else costs
    keys = np.column_stack([np.arange(n) // per_block, np.arange(n)])
    return [
        Standing(
            name=name,
            cost=float(cost),
            trained_parameters=int(cost),
            keys=keys,
            correct=row,
            values=row,
            blocks=tuple(
                BlockScore(index=j, score=float(part.mean()), log_loss=1 - float(part.mean()), n=per_block)
                for j, part in enumerate(row.reshape(-1, per_block))
            ),
            eliminated=name in eliminated,
            is_baseline=name == "baseline",
            is_anchor=name in ("probe", "finetune"),
        )
        for name, cost, row in zip(names, costs, correct, strict=True)
    ]


def rights(*counts: int, per_block: int = 20, blocks: int = 5) -> np.ndarray:
    """Scores by hand: one strategy a count, right on the first `count` rows of every block."""
    return np.stack([np.tile((np.arange(per_block) < c).astype(float), blocks) for c in counts])
