"""Times a few real operations, so that a budget of seconds can be planned (docs/decisions/0007-budget.md).

Only a budget reads the times: without one nothing here runs, and a plan stays a function of data and network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from frostline.base.device import random_devices
from frostline.base.records import IntArray
from frostline.base.seeds import numpy_generator
from frostline.cutting.inputs import call_of
from frostline.data.contract import to_inputs
from frostline.data.texts import Texts
from frostline.features.inference import Group, Tap, scores_in_chunks, tapped_chunks
from frostline.features.store import canonical
from frostline.models.trainable import set_training, trained_parameters
from frostline.race.cost import TRAINING, forward, step_operations
from frostline.race.plan import Plan
from frostline.race.timing import Speeds
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import Length
from frostline.train import baseline
from frostline.train.audit import tensor_hashes
from frostline.train.feed import Reader, SuffixInputs, reader, reads_inputs
from frostline.train.loop import Job, Stepper, make_optimiser
from frostline.train.solve import heads_along
from frostline.train.start import start_adapters, start_network
from frostline.train.study import Study
from frostline.train.trial import INNER_FOLDS

# Most made-up samples that a solved head and the baseline are timed on.
SOLVED_ROWS = 1500
SVM_ROWS = 250
# An operation is repeated until it has run this often or for this long.
REPEATS = 3
ENOUGH_SECONDS = 1.0
WRITING = 3.0  # seconds for intervals, tables and files, and for Python to end

T = TypeVar("T")
Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Gauge:
    """Times the operations of a study and the plan that it would run."""

    study: Study
    plan: Plan

    def speeds(self, clock: Callable[[], float]) -> Speeds:
        """Time each operation, and read the clock last."""
        study = self.study
        stages = self.plan.scale.stages
        rows = self._typical_rows()
        image, images = _median_time(lambda: study.features.source.make(1, rows))
        groups = study.features.groups(torch.from_numpy(rows[: study.compute.chunk]))
        passed, _ = _median_time(lambda: self._pass(images[: study.compute.chunk], groups))
        fixed, train, setup = self._steps(images)
        solve = self._solve()
        baseline_seconds = self._baseline()
        build, _ = _timed(lambda: study.network.build(0))
        each = image / study.batch_size
        fed = each
        if study.features.store:
            fed = 0.0
        return Speeds(
            image=each,
            forward=passed / self._samples_passed(groups) / max(1.0, forward(stages, 0, len(stages))),
            step=fixed,
            train=train,
            setup=setup,
            solve=solve,
            baseline=baseline_seconds,
            close=WRITING + 3 * build + setup,
            fed=fed,
            spent=clock(),
        )

    def _typical_rows(self) -> IntArray:
        """Return the positions of a batch of development samples; of texts, of all lengths as often as they occur."""
        size = self.study.batch_size
        count = len(self.study.development)
        lengths = self.study.features.source.lengths
        if lengths is None:
            return np.resize(np.arange(count), size).astype(np.int64)
        spread = (np.arange(size) + 0.5) / size * count
        return np.argsort(lengths, kind="stable")[spread.astype(np.int64)]

    def _samples_passed(self, groups: Sequence[Group]) -> float:
        """Return how many samples of mean length a pass over these groups computes, those that fill it up included."""
        lengths = self.study.features.source.lengths
        if lengths is None:
            return self.study.compute.chunk
        total = 0.0
        for group in groups:
            members = torch.arange(self.study.compute.chunk)[group.places]
            chunks = -(-len(members) // group.chunk)
            total += chunks * group.chunk * group.length / float(lengths.mean())
        return total

    def _inputs(self, views: Tensor) -> Inputs:
        compute = self.study.compute
        return to_inputs(
            views, self.study.features.source.preprocess, device=compute.device, channels_last=compute.channels_last
        )

    def _pass(self, views: Tensor, groups: Sequence[Group]) -> Tensor:
        def forward(chunk: Tensor) -> Any:
            return call_of(self._inputs(views[chunk])).run(self.study.trunk.model)

        return scores_in_chunks(forward, torch.arange(len(views)), groups, self.study.compute).float().cpu()

    def _steps(self, views: Tensor) -> tuple[float, float, float]:
        """Return the fixed seconds of a step, the seconds per operation, and the seconds to set a trial up.

        The first two are the line through the step that trains most and the one that trains least.
        """
        recipes = sorted((r.recipe for r in self.plan.rows if r.recipe.takes_steps), key=self._step_work)
        if not recipes:
            return 0.0, 0.0, self._setup(self.plan.rows[-1].recipe)
        shallow = recipes[0]
        deep = recipes[-1]
        setup = self._setup(deep)
        work = self._step_work(deep)
        seconds = self._step(deep, views)
        least_work = 0.0
        least_seconds = 0.0
        if self._step_work(shallow) < work:
            least_work = self._step_work(shallow)
            least_seconds = self._step(shallow, views)
        slope = max(0.0, seconds - least_seconds) / max(1.0, work - least_work)
        return max(0.0, seconds - slope * work), slope, setup

    def _step_work(self, recipe: Recipe) -> float:
        """Return the operations of one step of the last phase, in forward passes of a network that trains entirely."""
        one = step_operations(recipe, recipe.phases[-1], self.plan.scale.stages)
        return one / TRAINING * self.study.batch_size

    def _setup(self, recipe: Recipe) -> float:
        def start() -> None:
            tensor_hashes(start_network(self.study, recipe, 0))

        return 2 * _timed(start)[0]

    def _step(self, recipe: Recipe, views: Tensor) -> float:
        """Time a training step, from the activation that the recipe's frozen stages give."""
        study = self.study
        phase = recipe.phases[-1]
        model = start_network(study, recipe, 0)
        stages = study.stages
        set_training(model, stages, phase.stages, phase.head)
        names = trained_parameters(model, stages, phase.stages, phase.head)
        nothing = np.zeros(0, dtype=np.int64)
        adapters = start_adapters(study, model, recipe, 0)
        job = Job(phase=phase, rate=1e-6, rows=nothing, length=Length(1), block=0, adapters=adapters)
        optimiser = make_optimiser(study, model, names, job)
        forward = reader(study, model, recipe.frozen_stages).forward
        if adapters:
            forward = adapters.around(forward)
        rows = self._typical_rows()
        groups = study.features.groups(torch.from_numpy(rows))
        inputs = {group.length: self._activation(recipe, views[group.places], group) for group in groups}
        read = Reader(lambda rows, _view: inputs[study.features.groups(rows)[0].length], forward)
        stepper = Stepper(study, read, job, optimiser, anchors=(), class_weights=None)
        batch = study.development[rows]
        with torch.random.fork_rng(devices=random_devices(study.compute.device)):
            return _median_time(lambda: stepper.step(batch, 0))[0]

    def _activation(self, recipe: Recipe, views: Tensor, group: Group) -> Inputs | SuffixInputs:
        """Compute the inputs of the stages that a recipe trains, for the views of one group."""
        if recipe.frozen_stages == 0:
            return self._inputs(views)
        split = self.study.stages.split(self.study.trunk.model, recipe.frozen_stages)
        rows = torch.arange(len(views))
        tap = Tap(split.model, [split.cut], lambda chunk: self._inputs(views[chunk]), self.study.compute)
        chunks = tapped_chunks(tap, rows, group.chunk)
        activation = canonical(torch.cat([tapped.activations[0][: tapped.count] for tapped in chunks]))
        if reads_inputs(split.cut, cut_short=recipe.cut_short):
            return SuffixInputs(activation, self._inputs(views))
        return activation

    def _solve(self) -> float:
        """Return the seconds per development sample of a solved head, timed on noise (slower than most features)."""
        solved = [row.recipe.keep for row in self.plan.rows if row.recipe.solves_head]
        if not solved:
            return 0.0
        scale = self.plan.scale
        views = scale.solved_views
        rows = min(SOLVED_ROWS, max(2 * scale.classes, self.plan.development * views))
        labels = np.arange(rows, dtype=np.int64) % scale.classes
        width = max(scale.widths[k - 1] for k in solved)
        noise = numpy_generator(0, "gauge").normal(size=(rows, width))
        seconds, _ = _timed(lambda: list(heads_along(noise.astype(np.float32), labels, scale.classes)))
        each_fold = (INNER_FOLDS - 1) / INNER_FOLDS  # of the rows; then the chosen penalty on all
        return seconds / rows * views * (INNER_FOLDS * each_fold + 1)

    def _baseline(self) -> float:
        """Return the seconds of the baseline per squared number of samples; 0.0 where it doesn't run."""
        if all(row.recipe.needs_network for row in self.plan.rows):
            return 0.0
        classes = self.plan.scale.classes
        rows = min(SVM_ROWS, self.plan.development)
        labels = np.arange(rows, dtype=np.int64) % classes
        samples = self.study.features.source.images
        contents: baseline.PlainContents
        if isinstance(samples, Texts):
            contents = samples.words[:rows]
        else:
            contents = numpy_generator(1, "gauge").random(size=(rows, baseline.GREY_SIDE**2))
        seconds, _ = _median_time(lambda: baseline.fit_predict(contents, labels, contents[:1], classes))
        return seconds / rows**2


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def _median_time(work: Callable[[], T]) -> tuple[float, T]:
    """Return the median seconds of up to three calls (fewer of slow work) after one that warms up, and the result."""
    result = work()
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH_SECONDS:
        spent, result = _timed(work)
        seconds.append(spent)
    return statistics.median(seconds), result
