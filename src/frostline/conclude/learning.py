"""Learning curve: the verdict and its rivals trained again on a half, a quarter and an eighth of each block's labels.

Solved strategies and the baseline are trained on all blocks of the first repeat, from features that exist already. Of
the stepped ones only the verdict is, on two blocks, and only where that is cheap by counted operations. The full size
is the race's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.records import Block, Dataset, IntArray, Outcome, Verdict
from frostline.base.seeds import numpy_generator
from frostline.data.split import draw_fraction
from frostline.race.compare import compare, score_interval
from frostline.race.course import RunTrials
from frostline.race.plan import Plan
from frostline.race.result import RaceResult, block_sizes
from frostline.race.standing import Standing, standing_from
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import Recipe, Trial
from frostline.stats.curves import Gain
from frostline.train.study import Study

SHARES = (2, 4, 8)  # parts of a block's training rows: 1/2, 1/4, 1/8
LEAST_PER_CLASS = 2  # rows of each class in every part
SIZE_TOLERANCE = 0.25  # a part that misses its size by more (large groups) is left out, and with it all smaller ones
STEPPED_BLOCKS = 2
STEPPED_SHARES = (2, 4)
STEPPED_COST = 0.05  # of the counted operations that the race took

Draws = Mapping[int, Mapping[int, IntArray]]  # share -> block -> dataset rows


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The curves of `names`, the verdict first. Their trials are never part of the race.

    `limited`: a budget left stepped strategies out.
    """

    curves: Curves
    names: tuple[str, ...]
    verdict: Verdict
    limited: bool

    @property
    def outcomes(self) -> Sequence[Outcome]:
        return self.curves.outcomes


def learning_curve(
    study: Study, plan: Plan, race: RaceResult, verdict: Verdict, run: RunTrials, *, limited: bool
) -> LearningCurve | None:
    """Run what is missing and read the curves; None for a strategy that ran alone, without blocks.

    A budget leaves stepped strategies out, and ends the curves where time runs short. Sizes that a strategy did not
    finish on every block asked for are left out.
    """
    if not plan.race_blocks():
        return None
    draws = draw_parts(study.dataset, first_repeat(plan), seed=study.seed)
    trials = plan_trials(plan, race, verdict, draws, stepped=not limited)
    outcomes = tuple(run(trials))
    curves = Curves(
        plan=plan, race=race, draws=draws, labels=study.dataset.labels, trials=tuple(trials), outcomes=outcomes
    )
    names = tuple(compared_names(plan, race, verdict))
    return LearningCurve(curves=curves, names=names, verdict=verdict, limited=limited)


def first_repeat(plan: Plan) -> tuple[Block, ...]:
    """Return the blocks that curves are drawn on: one repeat, as further ones cost more than they add."""
    return tuple(b for b in plan.race_blocks() if b.repeat == 0)


def draw_parts(dataset: Dataset, blocks: Sequence[Block], *, seed: int) -> Draws:
    """Halve each block's training rows again and again: the parts are nested, stratified, and hold whole groups.

    They depend on the seed and the block alone, so all strategies meet the same. A share is there only where every
    block has it with LEAST_PER_CLASS rows of each class.
    """
    parts = {block.index: _halved(dataset, block, seed) for block in blocks}
    complete = min(map(len, parts.values()))
    return {share: {block: rows[at] for block, rows in parts.items()} for at, share in enumerate(SHARES[:complete])}


def _halved(dataset: Dataset, block: Block, seed: int) -> list[IntArray]:
    generator = numpy_generator(seed, "curve", block.index)
    rows = np.sort(block.train)
    parts: list[IntArray] = []
    for share in SHARES:
        groups = [dataset.samples[i].group for i in rows.tolist()]
        rows = rows[draw_fraction(dataset.labels[rows], groups, 0.5, keep=0, generator=generator)]
        counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
        off_size = abs(len(rows) * share / len(block.train) - 1)
        if counts.min() < LEAST_PER_CLASS or off_size > SIZE_TOLERANCE:
            break
        parts.append(rows)
    return parts


def compared_names(plan: Plan, race: RaceResult, verdict: Verdict) -> list[str]:
    """Return the names of verdict, best, runner-up, probe and baseline, as far as they finished every block."""
    recipes = [row.recipe for row in plan.rows]
    probes = [r.name for r in recipes if r.trains_head_only and is_anchor(r)]
    baselines = [r.name for r in recipes if not r.needs_network]
    wanted = (verdict.strategy, verdict.best, verdict.runner_up, *probes, *baselines)
    blocks = len(plan.race_blocks())
    finished = {r.name for r in recipes if sum(o.ok for o in race.of(r.name)) == blocks}
    return [name for name in dict.fromkeys(wanted) if name in finished]


def plan_trials(plan: Plan, race: RaceResult, verdict: Verdict, draws: Draws, *, stepped: bool) -> list[Trial]:
    """List the trials to run, largest parts first, since whether labels help is read from these."""
    blocks = first_repeat(plan)
    recipes = [plan.row(name).recipe for name in compared_names(plan, race, verdict)]
    quick = [recipe for recipe in recipes if recipe.is_solved or not recipe.needs_network]
    trials = [
        _trial(recipe, block, None, rows[block.index])
        for rows in draws.values()
        for recipe in quick
        for block in blocks
    ]
    chosen = plan.row(verdict.strategy).recipe
    if stepped and chosen.takes_steps:
        trials += _stepped_trials(plan, chosen, race, draws)
    return trials


def _stepped_trials(plan: Plan, recipe: Recipe, race: RaceResult, draws: Draws) -> list[Trial]:
    """List the trials of a stepped strategy, until they would cost more than STEPPED_COST allows; it is trained as in
    the race, for as many steps."""
    rate = race.rate(recipe.name)
    steps = None
    if plan.scale.epochs is None:
        steps = race.steps(recipe.name)
    blocks = first_repeat(plan)[:STEPPED_BLOCKS]
    remaining = STEPPED_COST * sum(outcome.operations for outcome in race.outcomes)
    trials: list[Trial] = []
    for share in STEPPED_SHARES:
        if share not in draws:
            break
        more = [replace(_trial(recipe, block, rate, draws[share][block.index]), steps=steps) for block in blocks]
        remaining -= sum(plan.trial_operations(t) for t in more)
        if remaining < 0:
            break
        trials += more
    return trials


def _trial(recipe: Recipe, block: Block, rate: float | None, rows: IntArray) -> Trial:
    return Trial(
        recipe=recipe,
        purpose="curve",
        block=block.index,
        rate=rate,
        train=tuple(map(int, rows)),
        validation=tuple(map(int, block.validation)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePoint:
    """Accuracy of a strategy trained on `labels` samples, mean over its blocks."""

    labels: int
    blocks: int
    accuracy: float
    ci: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Everything that the curves are read from."""

    plan: Plan
    race: RaceResult
    draws: Draws
    labels: IntArray
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]

    def size(self, share: int) -> float:
        """Return the number of training rows per block at this share, mean over the blocks."""
        blocks = first_repeat(self.plan)
        if share == 1:
            return float(np.mean([len(block.train) for block in blocks]))
        return float(np.mean([len(self.draws[share][block.index]) for block in blocks]))

    def at(self, name: str, share: int, blocks: Sequence[int] | None = None) -> Standing | None:
        """Return the strategy's score at this share on the blocks that were planned; None where one is missing."""
        if share == 1:
            return self._standing([o for o in self.race.of(name) if blocks is None or o.block in blocks])
        planned = [t.key for t in self.trials if t.recipe.name == name and self._share(t) == share]
        finished = [o for o in self.outcomes if o.key in planned and o.ok]
        if not planned or len(finished) < len(planned):
            return None
        return self._standing(finished)

    def _share(self, trial: Trial) -> int:
        sizes = {share: len(rows[trial.block]) for share, rows in self.draws.items()}
        return next(share for share, size in sizes.items() if size == len(trial.train))

    def _standing(self, outcomes: Sequence[Outcome]) -> Standing:
        return standing_from([replace(o, purpose="block") for o in outcomes], self.labels, trained_parameters=0)

    def points(self, name: str) -> list[SizePoint]:
        """List points from few labels to many, with the interval of the mean over blocks (of one block: Wilson's).

        The correction at every size is that of the whole blocks: it allows for what their training sets share, and
        smaller parts share less (docs/learning-curve.md has the check).
        """
        n_train, n_test = block_sizes(self.plan)
        points = []
        for share in (*sorted(self.draws, reverse=True), 1):
            standing = self.at(name, share)
            if standing is None:
                continue
            ci = score_interval(standing, n_train=n_train, n_test=n_test)
            labels = round(self.size(share))
            points.append(SizePoint(labels=labels, blocks=len(standing.blocks), accuracy=standing.score, ci=ci))
        return points

    def gain(self, name: str) -> Gain | None:
        """Return what the last doubling brought, paired block by block."""
        half = self.at(name, 2) if 2 in self.draws else None
        if half is None:
            return None
        full = self.at(name, 1, half.block_indices)
        if full is None:
            return None
        n_train, n_test = block_sizes(self.plan)
        paired = compare(full, half, n_train=n_train, n_test=n_test)
        return Gain(
            strategy=name,
            fewer=round(self.size(2)),
            labels=round(self.size(1)),
            blocks=len(half.blocks),
            difference=paired.mean,
            ci=paired.ci,
        )
