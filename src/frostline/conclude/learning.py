"""Learning curve: the verdict and its rivals trained again on a half, a quarter and an eighth of each block's labels.

Solved strategies and the baseline do so on all blocks of the first repeat, from features that are there already. Of
stepped ones only the verdict does, on two blocks, and only where that is cheap by counted operations. The full size is
the race's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.records import Block, Dataset, IntArray, Outcome, Verdict
from frostline.base.seeds import numpy_generator
from frostline.data.split import draw_fraction
from frostline.race.compare import compare, score_interval
from frostline.race.plan import Plan
from frostline.race.race import RaceResult, RunTrials, block_sizes
from frostline.race.standing import Standing, standing_from
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import Recipe, Trial
from frostline.stats.curves import Gain
from frostline.train.study import Study

SHARES = (2, 4, 8)  # parts of a block's training rows: 1/2, 1/4, 1/8
FEWEST = 2  # rows of a class in every part
OFF = 0.25  # a part that misses its size by more (large groups) is left out, and with it all smaller ones
STEPPED_BLOCKS, STEPPED_SHARES = 2, (2, 4)
STEPPED_COST = 0.05  # of the plan's counted operations

Draws = Mapping[int, Mapping[int, IntArray]]  # share -> block -> dataset rows


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The curves of `names`, the verdict first. The trials that they took are never part of the race.

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
    """The blocks that curves are drawn on: each row is judged once, as further repeats would add little for their
    cost."""
    return tuple(b for b in plan.race_blocks() if b.repeat == 0)


def draw_parts(dataset: Dataset, blocks: Sequence[Block], *, seed: int) -> Draws:
    """Each block's training rows halved again and again: the parts are nested, stratified, and hold whole groups.

    They depend on the seed and the block alone, so all strategies meet the same. A share is there only where every
    block has it with FEWEST rows of each class.
    """
    drawn = {block.index: _halved(dataset, block, seed) for block in blocks}
    fitting = min(map(len, drawn.values()))
    return {share: {i: rows[at] for i, rows in drawn.items()} for at, share in enumerate(SHARES[:fitting])}


def _halved(dataset: Dataset, block: Block, seed: int) -> list[IntArray]:
    generator = numpy_generator(seed, "curve", block.index)
    rows, parts = np.sort(block.train), list[IntArray]()
    for share in SHARES:
        labels, groups = dataset.labels[rows], [dataset.samples[i].group for i in rows.tolist()]
        rows = rows[draw_fraction(labels, groups, 0.5, keep=0, generator=generator)]
        counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
        if counts.min() < FEWEST or abs(len(rows) * share / len(block.train) - 1) > OFF:
            break
        parts.append(rows)
    return parts


def compared_names(plan: Plan, race: RaceResult, verdict: Verdict) -> list[str]:
    """Verdict, best, runner-up, probe and baseline, as far as they finished every block."""
    recipes = [row.recipe for row in plan.rows]
    ends = [r.name for r in recipes if r.trains_head_only and is_anchor(r)] + [
        r.name for r in recipes if not r.needs_network
    ]
    wanted = (verdict.strategy, verdict.best, verdict.runner_up, *ends)
    finished = {
        row.recipe.name for row in plan.rows if sum(o.ok for o in race.of(row.recipe.name)) == len(plan.race_blocks())
    }
    return [name for name in dict.fromkeys(wanted) if name in finished]


def plan_trials(plan: Plan, race: RaceResult, verdict: Verdict, draws: Draws, *, stepped: bool) -> list[Trial]:
    """What has to be run, largest parts first, since the verdict on labels is read from these."""
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
    if not chosen.takes_steps or not stepped:
        return trials
    left = STEPPED_COST * plan.operations
    for share in STEPPED_SHARES:
        if share not in draws:
            break
        rate = race.rates.get(chosen.name)
        more = [_trial(chosen, block, rate, draws[share][block.index]) for block in blocks[:STEPPED_BLOCKS]]
        left -= sum(plan.trial_operations(t) for t in more)
        if left < 0:
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
    """What a strategy scored with so many labels, mean over its blocks."""

    labels: int
    blocks: int
    accuracy: float
    ci: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All that the curves are read from."""

    plan: Plan
    race: RaceResult
    draws: Draws
    labels: IntArray
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]

    def size(self, share: int) -> float:
        """Training rows of a block at this share, mean over the blocks."""
        rows = [b.train if share == 1 else self.draws[share][b.index] for b in first_repeat(self.plan)]
        return float(np.mean([len(r) for r in rows]))

    def at(self, name: str, share: int, blocks: Sequence[int] | None = None) -> Standing | None:
        """What the strategy scored at this share, on the blocks that were asked of it; None where one is missing."""
        if share == 1:
            found = [o for o in self.race.of(name) if blocks is None or o.block in blocks]
            return self._standing(found)
        asked = [t.key for t in self.trials if t.recipe.name == name and self._share(t) == share]
        found = [o for o in self.outcomes if o.key in asked and o.ok]
        return self._standing(found) if asked and len(found) == len(asked) else None

    def _share(self, trial: Trial) -> int:
        sizes = {share: len(rows[trial.block]) for share, rows in self.draws.items()}
        return next(share for share, size in sizes.items() if size == len(trial.train))

    def _standing(self, outcomes: Sequence[Outcome]) -> Standing:
        return standing_from([replace(o, purpose="block") for o in outcomes], self.labels, trained_parameters=0)

    def points(self, name: str) -> list[SizePoint]:
        """From few labels to many, each with the interval of the mean over its blocks (of one block: Wilson's).

        The correction is that of the whole blocks at every size: it pays for what their training sets share, of which
        parts share less still (docs/learning-curve.md has the check).
        """
        (n_train, n_test), points = block_sizes(self.plan), list[SizePoint]()
        for share in (*sorted(self.draws, reverse=True), 1):
            found = self.at(name, share)
            if found is not None:
                ci = score_interval(found, n_train=n_train, n_test=n_test)
                points.append(
                    SizePoint(labels=round(self.size(share)), blocks=len(found.blocks), accuracy=found.score, ci=ci)
                )
        return points

    def gain(self, name: str) -> Gain | None:
        """What the last doubling brought, paired block by block."""
        half = self.at(name, 2) if 2 in self.draws else None
        full = self.at(name, 1, half.block_indices) if half is not None else None
        if half is None or full is None:
            return None
        n_train, n_test = block_sizes(self.plan)
        found = compare(full, half, n_train=n_train, n_test=n_test)
        return Gain(
            strategy=name,
            fewer=round(self.size(2)),
            labels=round(self.size(1)),
            blocks=len(half.blocks),
            difference=found.mean,
            ci=found.ci,
        )
