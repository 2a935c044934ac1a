"""Times a few real operations, so that a budget of seconds can be planned (docs/decisions/0007-budget.md).

Only a budget reads these: without one nothing here runs, and a plan stays a function of data and network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frostline.base.device import autocast
from frostline.base.seeds import numpy_generator
from frostline.cutting.inputs import call_of
from frostline.cutting.outputs import flat_logits
from frostline.cutting.split import run_to
from frostline.data.contract import to_inputs
from frostline.data.texts import Texts
from frostline.features.extract import pad
from frostline.features.store import canonical
from frostline.models.trainable import set_training, trained_parameters
from frostline.race.cost import TRAINING, forward, step_operations
from frostline.race.forecast import Speeds
from frostline.race.plan import Plan
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import Length
from frostline.train import baseline
from frostline.train.audit import hash_tensors
from frostline.train.depthwise import fast_gradients
from frostline.train.feed import SuffixInputs, reader, reads_inputs
from frostline.train.loop import Job, make_optimiser
from frostline.train.solve import solve_path
from frostline.train.start import start_adapters, start_network
from frostline.train.study import Study
from frostline.train.trial import INNER_FOLDS

SOLVED_ROWS, SVM_ROWS = 1500, 250  # at most so many made-up rows are timed
GOES, ENOUGH = 3, 1.0  # an operation is timed so often, or until it has taken so many seconds
WRITING = 3.0  # seconds for intervals, tables and files, and for Python to end

T = TypeVar("T")
Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Gauge:
    """What is timed: a study and the plan that it would run."""

    study: Study
    plan: Plan

    def speeds(self, clock: Callable[[], float]) -> Speeds:
        """Time each operation, and read the clock last."""
        study, stages = self.study, self.plan.scale.stages
        rows = np.resize(np.arange(len(study.development)), study.batch_size).astype(np.int64)
        picture, pictures = _usual(lambda: study.features.source.make(1, rows))
        chunk_rows = pad(torch.arange(min(len(pictures), study.compute.chunk)), study.compute.chunk)
        inputs, chunk = self._inputs(pictures), self._inputs(pictures[chunk_rows])
        passed, _ = _usual(lambda: self._pass(chunk))
        fixed, train, setup = self._steps(inputs)
        solve, simple = self._solve(), self._baseline()
        build, _ = _timed(lambda: study.network.build(0))
        each = picture / study.batch_size
        return Speeds(
            picture=each,
            forward=passed / len(chunk_rows) / max(1.0, forward(stages, 0, len(stages))),
            step=fixed,
            train=train,
            setup=setup,
            solve=solve,
            baseline=simple,
            close=WRITING + 3 * build + setup,
            fed=0.0 if study.features.store else each,
            spent=clock(),
        )

    def _inputs(self, views: Tensor) -> Inputs:
        compute = self.study.compute
        return to_inputs(views, self.study.features.source.preprocess, device=compute.device,
                        channels_last=compute.channels_last)  # fmt: skip

    def _pass(self, inputs: Inputs) -> Tensor:
        with torch.no_grad(), autocast(self.study.compute):
            return flat_logits(call_of(inputs).run(self.study.trunk.model)).float().cpu()

    def _steps(self, inputs: Inputs) -> tuple[float, float, float]:
        """(fixed seconds of a step, seconds per operation, seconds to set a trial up).

        The first two are the line through the step that trains most and the one that trains least.
        """
        recipes = sorted((r.recipe for r in self.plan.rows if r.recipe.solver == "stepped"), key=self._moving)
        if not recipes:
            return 0.0, 0.0, self._setup(self.plan.rows[-1].recipe)
        setup = self._setup(recipes[-1])
        most = self._step(recipes[-1], inputs)
        least = self._step(recipes[0], inputs) if self._moving(recipes[0]) < self._moving(recipes[-1]) else 0.0
        low = self._moving(recipes[0]) if least else 0.0
        slope = max(0.0, most - least) / max(1.0, self._moving(recipes[-1]) - low)
        return max(0.0, most - slope * self._moving(recipes[-1])), slope, setup

    def _moving(self, recipe: Recipe) -> float:
        """Operations of one step of the last phase, counted in forward passes of what trains all."""
        one = step_operations(recipe, recipe.phases[-1], self.plan.scale.stages)
        return one / TRAINING * self.study.batch_size

    def _setup(self, recipe: Recipe) -> float:
        def start() -> None:
            hash_tensors(start_network(self.study, recipe, 0))

        return 2 * _timed(start)[0]

    def _step(self, recipe: Recipe, inputs: Inputs) -> float:
        """Seconds of a training step, from the activation that the recipe's frozen stages give."""
        study, phase = self.study, recipe.phases[-1]
        model = start_network(study, recipe, 0)
        stages = study.trunk.stages
        set_training(model, stages, phase.stages, phase.head)
        names = trained_parameters(model, stages, phase.stages, phase.head)
        nothing = np.zeros(0, dtype=np.int64)
        adapters = start_adapters(study, model, recipe, 0)
        job = Job(phase=phase, rate=1e-6, rows=nothing, inner=nothing, length=Length(1), block=0, adapters=adapters)
        optimiser = make_optimiser(study, model, names, job)
        plain, given = reader(study, model, recipe.frozen_stages).forward, self._activation(recipe, inputs)
        run = adapters.around(plain) if adapters else plain
        targets = torch.zeros(call_of(inputs).batch, dtype=torch.int64, device=study.compute.device)

        def step() -> float:
            with autocast(study.compute), fast_gradients(study.compute):
                logits = run(given)
            loss = F.cross_entropy(logits.float(), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            return float(loss.detach())

        with torch.random.fork_rng(devices=[study.compute.device] if study.compute.device.startswith("cuda") else []):
            return _usual(step)[0]

    def _activation(self, recipe: Recipe, inputs: Inputs) -> Inputs | SuffixInputs:
        """What the moving part of a recipe reads."""
        if recipe.frozen_stages == 0:
            return inputs
        split = self.study.trunk.stages.split(self.study.trunk.model, recipe.frozen_stages)
        with torch.no_grad(), autocast(self.study.compute):
            activation = canonical(run_to(split.model, [split.cut], call_of(inputs))[0])
        needed = reads_inputs(split.cut, cut_short=recipe.cut_short)
        return SuffixInputs(activation, inputs) if needed else activation

    def _solve(self) -> float:
        """Seconds a development row of a solved head, timed on noise, which takes longer than most features do."""
        solved = [row.recipe.keep for row in self.plan.rows if row.recipe.solves_head]
        if not solved:
            return 0.0
        scale, views = self.plan.scale, self.plan.scale.solved_views
        rows = min(SOLVED_ROWS, max(2 * scale.classes, self.plan.development * views))
        labels = np.arange(rows, dtype=np.int64) % scale.classes
        noise = numpy_generator(0, "gauge").normal(size=(rows, max(scale.widths[k - 1] for k in solved)))
        seconds, _ = _timed(lambda: solve_path(noise.astype(np.float32), labels, scale.classes))
        each_fold = (INNER_FOLDS - 1) / INNER_FOLDS  # of the rows; then the chosen penalty on all
        return seconds / rows * views * (INNER_FOLDS * each_fold + 1)

    def _baseline(self) -> float:
        """Seconds a squared row."""
        if all(row.recipe.solver != "baseline" for row in self.plan.rows):
            return 0.0
        rows, contents = min(SVM_ROWS, self.plan.development), self.study.features.source.pictures
        labels = np.arange(rows, dtype=np.int64) % self.plan.scale.classes
        made: baseline.Plain = numpy_generator(1, "gauge").random(size=(rows, baseline.SIDE**2))
        if isinstance(contents, Texts):
            made = contents.words[:rows]
        seconds, _ = _usual(lambda: baseline.fit_predict(made, labels, made[:1], self.plan.scale.classes))
        return seconds / rows**2


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def _usual(work: Callable[[], T]) -> tuple[float, T]:
    """The median of up to three goes after a first one that warms up; of slow work fewer are timed."""
    result, seconds = work(), list[float]()
    while len(seconds) < GOES and sum(seconds) < ENOUGH:
        spent, result = _timed(work)
        seconds.append(spent)
    return statistics.median(seconds), result
