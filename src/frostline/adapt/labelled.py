"""The choice with some target labels: every arm is judged on samples that it didn't learn the labels of, in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frostline.adapt.arms import LABELLED, run_arm
from frostline.adapt.choice import AS_IS, Choice
from frostline.adapt.judge import ArmResult, Found
from frostline.adapt.study import AdaptStudy, ArmMeter, CrossValidated, Kept, barred_arms, run_arms
from frostline.adapt.world import Adapted, World
from frostline.base.errors import DataError
from frostline.base.events import Emit, silent
from frostline.base.records import Block, FloatArray, IntArray, Outcome
from frostline.base.seeds import numpy_generator
from frostline.data.split import assign_folds, number_of_folds
from frostline.race.compare import score_interval
from frostline.race.standing import Standing, standing_from
from frostline.race.verdict import decide
from frostline.stats.metrics import log_loss

MARGIN = 0.01  # accuracy that is given up for a cheaper arm, as in `fit`
FEWEST_CLASSES = 2


def adapt_by_labels(world: World, arms: Sequence[str], *, kept: Kept | None = None, emit: Emit = silent) -> AdaptStudy:
    """Run the arms, judge each on the labelled target samples, and choose.

    Raises DataError where there are no labels that anything can be chosen by.
    """
    blocks = label_folds(world)
    names = [AS_IS, *(name for name in arms if name != AS_IS)]
    barred = barred_arms(world, names[1:], Found(), all_run=True)
    results = run_arms(world, names, barred, kept=kept, emit=emit)
    standings = cross_validate(world, results, blocks, kept=kept, emit=emit)
    choice, scores = choose_by_labels(standings)
    return AdaptStudy(arms=tuple(results), choice=choice, cross_validated=scores)


def label_folds(world: World) -> tuple[Block, ...]:
    """Split the labelled target samples, stratified and grouped; a fold's training rows are those that may be learnt.

    Raises DataError where all are of one class or of one group.
    """
    rows = world.labelled
    assert rows is not None
    dataset = world.target.dataset
    labels = dataset.labels[rows]
    if len(np.unique(labels)) < FEWEST_CLASSES:
        found = "no target sample has a label of the run's classes"
        if len(rows):
            found = f"all {len(rows)} labelled target samples are of one class ({dataset.classes[labels[0]]})"
        raise DataError(
            f"--target-labels few: {found}, but labels of two classes or more are needed to choose by.",
            "Label some more, or choose without labels: --target-labels none.",
        )
    groups = [dataset.samples[row].group for row in rows.tolist()]
    count = number_of_folds(labels, groups)
    assigned = assign_folds(labels, groups, count, generator=numpy_generator(world.seed, "adapt-folds"))
    return tuple(
        Block(index=fold, repeat=0, fold=fold, train=rows[assigned != fold], validation=rows[assigned == fold])
        for fold in range(count)
    )


def cross_validate(
    world: World, results: Sequence[ArmResult], blocks: Sequence[Block], *, kept: Kept | None, emit: Emit
) -> list[Standing]:
    """Return where each arm stands on the folds.

    An arm that reads no target labels is judged as it is; one that does is run again for each fold.
    """
    standings = []
    jobs = [f"{one.arm}, fold {block.index + 1}" for one in results if _learns(one) for block in blocks]
    meter = ArmMeter(emit, jobs)
    for one in results:
        if one.adapted is None:
            continue
        outcomes = []
        for block in blocks:
            adapted = one.adapted
            if _learns(one):
                place = jobs.index(f"{one.arm}, fold {block.index + 1}")
                adapted = _run_fold(world, one.arm, block, kept, meter.of(place))
            outcomes.append(_outcome(world, adapted, one.arm, block))
        cost = 0.0
        if one.arm != AS_IS:
            cost = 1.0 + one.adapted.steps
        standings.append(standing_from(outcomes, world.target.dataset.labels, cost=cost, trained_parameters=0))
    return standings


def _learns(one: ArmResult) -> bool:
    """Whether an arm that ran learns from target labels."""
    return one.adapted is not None and one.arm in LABELLED


def _run_fold(world: World, arm: str, block: Block, kept: Kept | None, emit: Emit) -> Adapted:
    """Run an arm on the labels of a fold's training rows alone."""
    name = f"{arm}/{block.index}"
    found = kept.load(name, world) if kept else None
    if found is None:
        found = run_arm(replace(world, labelled=block.train), arm, emit)
        if kept:
            kept.save(replace(found, arm=name))
    return found


def _outcome(world: World, adapted: Adapted, arm: str, block: Block) -> Outcome:
    study = world.target
    rows = block.validation
    probabilities: FloatArray = adapted.target[study.positions(rows).numpy()]
    labels: IntArray = study.dataset.labels[rows]
    return Outcome(
        key=f"adapt/{arm}/{block.index}",
        strategy=arm,
        purpose="block",
        block=block.index,
        rate=adapted.rate,
        rows=tuple(rows.tolist()),
        probabilities=tuple(map(tuple, probabilities.tolist())),
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        log_loss=log_loss(probabilities, labels),
        steps=adapted.steps,
        epochs=0.0,
        undertrained=False,
        l2=None,
        seconds=adapted.seconds,
        operations=0.0,
    )


def choose_by_labels(standings: Sequence[Standing]) -> tuple[Choice, dict[str, CrossValidated]]:
    """Choose the cheapest arm within one standard error and a point of the best, as `fit` chooses a strategy.

    Cheaper is the arm with fewer steps; the network as it is costs nothing.
    """
    sizes = [block.n for block in standings[0].blocks]
    n_test = float(np.mean(sizes))
    n_train = float(sum(sizes)) - n_test
    verdict = decide(standings, n_train=n_train, n_test=n_test, margin=MARGIN)
    scores = {
        one.name: CrossValidated(accuracy=one.score, ci=score_interval(one, n_train=n_train, n_test=n_test))
        for one in standings
    }
    reason = verdict.reason.replace("strategy", "arm").replace("strategies", "arms")
    reason = f"By {sum(sizes)} labelled target samples: {reason}"
    return Choice(arm=verdict.strategy, reason=reason), scores
