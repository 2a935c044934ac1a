"""How long a plan takes at measured speeds. Pure: the speeds are handed in (planning/gauge.py measures them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from frostline.base.records import Block
from frostline.race.cost import TRAINING, forward, step_operations
from frostline.race.plan import SHORTLIST, Plan, PlanRow
from frostline.recipe.recipe import BASELINE_ROWS, Recipe, Trial
from frostline.recipe.schedule import FIRST_STEPS, INNER_FRACTION, LENGTHS, MIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Seconds, measured on this machine with this network and these images just before the plan is fitted."""

    spent: float  # since the start of the clock
    image: float  # one view of one image
    forward: float  # an operation of inference
    step: float  # fixed, a training step
    train: float  # an operation (counted forward) of a training step
    setup: float  # building, hashing and auditing a network, once a trial
    solve: float  # a row of a solved head (all views, inner folds and penalties)
    baseline: float  # a squared row of the baseline
    close: float  # saving, loading back, writing the record
    fed: float = 0.0  # an image made again in every step, where views aren't stored


@dataclass(frozen=True, kw_only=True)
class TimeEstimate:
    """Seconds that parts of a plan take: lengths to be chosen are counted at `steps`, the most they may be.

    `stored`: numbers of frozen stages whose activations are kept; others are computed again in every step. `sealed`:
    images of the sealed test. `all_tested`: every strategy is refitted and tested.
    """

    plan: Plan
    speeds: Speeds
    steps: int
    sealed: int
    stored: frozenset[int] = frozenset()
    all_tested: bool = False

    def trial(self, trial: Trial, steps: int | None = None) -> float:
        """`steps` that it really took, where that is known."""
        rows = len(trial.train)
        held = len(trial.validation)
        return self._judged(trial.recipe, rows, held, self._training(trial.recipe, rows, steps or trial.steps))

    def _judged(self, recipe: Recipe, rows: int, held: int, training: float) -> float:
        """A training and what it answers; the baseline reads its images by itself."""
        read = 0.0
        if not recipe.needs_network:
            read = (rows + held) * self.speeds.fed
        return training + held * self._looked_at(recipe) + read

    def features(self) -> float:
        """The pass over all views that trials share."""
        scale = self.plan.scale
        views = 0
        images = 0.0
        for row in self.plan.rows:
            here = scale.training_views(row.recipe) + 1
            views = max(views, here)
            if row.recipe.solves_head:
                depth = row.recipe.keep
            else:
                depth = row.recipe.frozen_stages
            images = max(images, here * forward(scale.stages, 0, depth))
        return self.plan.development * (views * self.speeds.image + images * self.speeds.forward)

    def race(self, blocks: int | None = None) -> float:
        """Tuning and all blocks; with `blocks` only so many of these, without tuning."""
        raced = self.plan.race_blocks()[:blocks]
        seconds = 0.0
        for row in self.plan.rows:
            for block in raced:
                rows = len(block.train)
                seconds += self._judged(row.recipe, rows, len(block.validation), self._training(row.recipe, rows))
            if blocks is None and row.rates:
                seconds += self._tuning(row)
        return seconds

    def _tuning(self, row: PlanRow) -> float:
        """All rates at the first length and one at each longer one on the first judge, SHORTLIST candidates on the
        second, as far as that goes beyond one training a block."""
        judges = self.plan.judges
        first_length = min(FIRST_STEPS, self.steps)
        each = [first_length] * len(row.rates)
        each += [length for length in LENGTHS if first_length < length <= self.steps]
        if self.plan.scale.epochs:
            each = each[: len(row.rates)]
        first = sum(self._on_judge(row.recipe, judges[0], steps) for steps in each)
        longest = [self._on_judge(row.recipe, judge, self.steps) for judge in judges]
        seconds = first + min(SHORTLIST, len(row.rates)) * longest[-1]
        if not self.plan.inner:
            seconds -= sum(longest)
        return max(0.0, seconds)

    def _on_judge(self, recipe: Recipe, judge: Block, steps: int) -> float:
        rows = len(judge.train)
        return self._judged(recipe, rows, len(judge.validation), self._training(recipe, rows, steps))

    def refit(self, recipe: Recipe) -> float:
        """The recipe on all development rows, and what it answers on the sealed ones."""
        if not recipe.needs_network:
            twice = self._training(recipe, self.plan.development)
            if self.all_tested:
                return twice
            return 0.0
        return self._training(recipe, self.plan.development) + self.speeds.setup + self.answers(recipe)

    def answers(self, recipe: Recipe) -> float:
        """What a fitted recipe answers on the sealed images; the baseline is fitted only then."""
        if not recipe.needs_network:
            return self.refit(recipe)
        each = self.speeds.image + self.speeds.forward * forward(self.plan.scale.stages, 0, recipe.keep)
        return self.sealed * each

    def closing(self) -> float:
        """All that follows the race: the refit of the costliest candidate (or all), the sealed test, writing."""
        return self._over_tested(self.refit) + self.speeds.close

    def ending(self) -> float:
        """What is left of the closing after the refits: the sealed test and writing."""
        return self._over_tested(self.answers) + self.speeds.close

    def _over_tested(self, seconds: Callable[[Recipe], float]) -> float:
        every = [seconds(row.recipe) for row in self.plan.rows]
        if self.all_tested:
            return sum(every)
        return max(every)

    def total(self) -> float:
        """From the start of the clock to the end of the run."""
        return self.speeds.spent + self.features() + self.race() + self.closing()

    def _training(self, recipe: Recipe, rows: int, steps: int | None = None) -> float:
        speeds = self.speeds
        scale = self.plan.scale
        if not recipe.needs_network:
            return speeds.baseline * min(rows, BASELINE_ROWS) ** 2
        seconds = speeds.setup + (speeds.solve * rows if recipe.solves_head else 0.0)
        if not recipe.takes_steps:
            return seconds
        per_epoch = max(1, -(-rows // scale.batch_size))
        count = steps or self.steps
        if scale.epochs:
            count = scale.epochs * per_epoch
        moving = step_operations(recipe, recipe.phases[-1], scale.stages) / TRAINING
        sample = speeds.train * moving + speeds.fed
        if recipe.frozen_stages and recipe.frozen_stages not in self.stored:
            sample += speeds.forward * forward(scale.stages, 0, recipe.frozen_stages)
        seconds += count * (speeds.step + scale.batch_size * sample)
        if recipe.interpolated:
            inner = INNER_FRACTION * rows + scale.batch_size  # chunks are filled up
            seconds += len(MIXES) * (speeds.setup + inner * self._looked_at(recipe))
        return seconds

    def _looked_at(self, recipe: Recipe) -> float:
        if recipe.is_solved or not recipe.needs_network:
            return 0.0
        first = 0
        if recipe.frozen_stages in self.stored:
            first = recipe.frozen_stages
        return self.speeds.fed + self.speeds.forward * forward(self.plan.scale.stages, first, recipe.keep)


def seconds_text(seconds: float) -> str:
    """Seconds as people say them: 55 s, 4 min 10 s, 1 h 30 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        if rest:
            return f"{minutes} min {rest} s"
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if minutes:
        return f"{hours} h {minutes} min"
    return f"{hours} h"
