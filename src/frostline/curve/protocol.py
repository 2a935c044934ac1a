"""The arms of Yosinski et al. 2014 as a pure plan: which trainings there are, from what, for how many steps.

| arm  | stages ..n come from       | they are | later stages   |
|------|----------------------------|----------|----------------|
| base | random values              | trained  | random, trained |
| BnB  | a base of the same classes | frozen   | random, trained |
| BnB+ | a base of the same classes | trained  | random, trained |
| AnB  | a base of other classes    | frozen   | random, trained |
| AnB+ | a base of other classes    | trained  | random, trained |

Source: "How transferable are features in deep neural networks?", NeurIPS 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from frostline.base.records import StageInfo
from frostline.curve.splits import Halves
from frostline.race.cost import Workload, forward, moving_operations
from frostline.recipe.catalogue import CATALOGUE, Choices
from frostline.recipe.recipe import Recipe, Trial
from frostline.train.study import LastReadings, Study

ArmName = Literal["base", "BnB", "BnB+", "AnB", "AnB+"]
OWN: tuple[ArmName, ...] = ("BnB", "BnB+")  # start from a base of the classes that they are trained on
OTHER: tuple[ArmName, ...] = ("AnB", "AnB+")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # of which one is chosen for all trainings, by the base's
STEPS = 300  # of every training, unless --epochs says otherwise
READINGS = 5  # of the held-out samples near the end of every training
SHARE_BETWEEN = 50  # two readings lie a fiftieth of the training apart

# What trains does so in the same way in all arms: BatchNorm in training mode with its statistics moving.
CHOICES = Choices(batchnorm="all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train, at one depth: stages ..`stage` are copied, the others drawn anew."""

    name: ArmName
    stage: int
    recipe: Recipe

    def words(self) -> str:
        """Name the arm in a line of progress; the stage comes first, since `+` ends the label of a source."""
        if self.stage == 0:
            return self.name
        return f"@{self.stage} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A place at which all arms meet: a split of the classes with a direction, or a fold; and a seed. All from 1."""

    split: int
    direction: str | None  # 'A->B': the source, then the target; None where the network is the source
    seed: int

    def words(self) -> str:
        """Name the unit in a line of progress."""
        if self.direction is None:
            return f"fold {self.split}, seed {self.seed}"
        return f"split {self.split}, {self.direction}, seed {self.seed}"


def base_recipe(stages: Sequence[StageInfo]) -> Recipe:
    """Return the recipe of a base: every weight random, all trained."""
    return CATALOGUE["scratch"].build(stages, 0, CHOICES).with_rates(RATES)


def arms_of(stages: Sequence[StageInfo], names: Sequence[ArmName]) -> tuple[Arm, ...]:
    """Return these arms at every stage after which the network can be cut, from the input on."""
    arms = []
    for stage in stages:
        if not stage.cuttable:
            continue
        for name in names:
            kind = "reinit@K" if name.endswith("+") else "reinit-freeze@K"
            arms.append(Arm(name=name, stage=stage.index, recipe=CATALOGUE[kind].build(stages, stage.index, CHOICES)))
    return tuple(arms)


def readings_of(steps: int) -> LastReadings:
    """Return when a training of that many steps is read: READINGS times, a fiftieth of it apart, up to its end."""
    return LastReadings(count=min(READINGS, steps), spacing=max(1, steps // SHARE_BETWEEN))


def trial_of(study: Study, recipe: Recipe, name: str, *, rate: float, steps: int) -> Trial:
    """Return a training on the part to learn from, judged on the validation part; `name` is its own in the run."""
    return Trial(
        recipe=replace(recipe, name=name),
        purpose="block",
        block=0,
        rate=rate,
        train=tuple(map(int, study.dataset.rows("development"))),
        validation=tuple(map(int, study.dataset.rows("validation"))),
        steps=steps,
    )


def operations_of(study: Study, trial: Trial) -> float:
    """Count the operations of a training: its steps, and the readings near its end.

    A frozen prefix counts where it isn't stored, in every step and every reading.
    """
    recipe = trial.recipe
    stages = study.stages.stages
    steps = trial.steps or 0
    work = Workload(rows=len(trial.train), views=1, steps=steps, batch_size=study.batch_size)
    first = recipe.frozen_stages
    total = moving_operations(recipe, stages, work)
    if first and not study.features.stored(first):
        total += forward(stages, 0, first) * steps * study.batch_size
        first = 0
    readings = study.last_readings.count if study.last_readings else 1
    return total + readings * len(trial.validation) * forward(stages, first, len(stages))


def other(half: Halves) -> Halves:
    """Return the other half."""
    if half == "A":
        return "B"
    return "A"
