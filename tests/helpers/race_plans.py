"""Plans on a made-up stage map, and a run() that needs no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from frostline.base.records import Block, Outcome, StageInfo
from frostline.race.plan import Plan, Scale, make_plan
from frostline.recipe.recipe import Trial
from frostline.recipe.selection import make_recipe

# one sample through the stages: 100, 200 and 300 operations
STAGES = tuple(
    StageInfo(
        index=i,
        name=f"s{i}",
        parameters=10 * i,
        output_shape=(i, 4, 4),
        stored_bytes=64 * i,
        operations=100.0 * i,
        cuttable=True,
    )
    for i in (1, 2, 3)
)
ROWS = 40
LABELS = np.arange(ROWS) % 2


def blocks(count: int = 4) -> tuple[Block, ...]:
    rows = np.arange(ROWS)
    return tuple(
        Block(index=k, repeat=0, fold=k, train=rows[rows % count != k], validation=rows[rows % count == k])
        for k in range(count)
    )


def plan(
    *names: str, alone: bool = False, epochs: int | None = None, lr: float | None = None, count: int = 4, **scale: Any
) -> Plan:
    """A plan of the named strategies; 40 development rows in 4 blocks, batches of 10."""
    sized = {"batch_size": 10, "solved_views": 6, "stepped_views": epochs or 10, **scale}
    counted = Scale(stages=STAGES, widths=[4, 8, 16], classes=2, source_classes=5, epochs=epochs, **sized)
    inner: tuple[Block, ...] = ()
    if alone or count == 1:
        inner = tuple(replace(b, train=b.train[::2]) for b in blocks(4)[:2])
    empty = Plan(skipped={}, blocks=blocks(count), inner=inner, development=ROWS, alone=alone, scale=counted)
    return make_plan(empty, [make_recipe(name, STAGES) for name in names], lr=lr)


def outcome(
    trial: Trial, *, right: int | None = None, loss: float = 0.5, error: str | None = None, undertrained: bool = False
) -> Outcome:
    """An outcome that got the first `right` of its rows right (all of them by default), each of these at `loss`, which
    is below 0.69."""
    n = len(trial.validation)
    good = n if right is None else right
    own = [math.exp(-loss) if k < good else 0.1 for k in range(n)]
    rows = tuple((p, 1 - p) if LABELS[row] == 0 else (1 - p, p) for p, row in zip(own, trial.validation, strict=True))
    return Outcome(
        key=trial.key,
        strategy=trial.recipe.name,
        purpose=trial.purpose,
        block=trial.block,
        rate=trial.rate,
        rows=trial.validation,
        probabilities=() if error else rows,
        accuracy=0.0 if error else good / n,
        log_loss=27.6 if error else loss,
        steps=0 if error else trial.steps or 120,
        epochs=1.0,
        undertrained=undertrained,
        l2=None,
        seconds=0.0,
        operations=1.0,
        error=error,
    )


class Engine:
    """A run() that answers by a function of the trial and notes what it was asked."""

    def __init__(self, answer: Callable[[Trial], Outcome], *, backwards: bool = False) -> None:
        self.answer, self.backwards = answer, backwards
        self.asked: list[str] = []

    def run(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        self.asked += [t.key for t in trials]
        done = [self.answer(t) for t in trials]
        yield from reversed(done) if self.backwards else done
