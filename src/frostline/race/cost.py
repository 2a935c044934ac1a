"""Counted cost: floating-point operations from the stage map, never a timing, so the plan is reproducible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from frostline.base.records import StageInfo
from frostline.recipe.recipe import BASELINE_ROWS, Phase, Recipe, hidden_width

TRAINING = 3.0  # operations of a step that trains all, in forward passes: one, and gradients of inputs and of weights
EXPECTED_STEPS = 150  # what a length is counted as before it is chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much one training run reads: `rows` samples, `views` of each, `steps` batches of `batch_size`.

    `early` of the steps go to each stepped phase but the last.
    """

    rows: int
    views: int
    steps: int
    batch_size: int
    early: int = 0


def forward(stages: Sequence[StageInfo], first: int, last: int) -> float:
    """Operations of one sample through stages first+1 .. last."""
    return sum(s.operations for s in stages[first:last])


def inference_operations(recipe: Recipe, stages: Sequence[StageInfo]) -> float:
    return forward(stages, 0, recipe.keep)


def moving_operations(recipe: Recipe, stages: Sequence[StageInfo], work: Workload) -> float:
    """What one training run adds to features that are already there: its moving stages, forward and backward."""
    if not recipe.needs_network:
        return 2.0 * 1024 * min(work.rows, BASELINE_ROWS) ** 2  # the kernel matrix of 32 x 32 pixels
    if not recipe.takes_steps:
        return 0.0  # a linear solve on pooled features vanishes beside any forward pass
    total = 0.0
    left = work.steps
    for phase in recipe.stepped[:-1]:
        steps = min(work.early, left)
        total += step_operations(recipe, phase, stages) * steps * work.batch_size
        left -= steps
    return total + step_operations(recipe, recipe.phases[-1], stages) * left * work.batch_size


def step_operations(recipe: Recipe, phase: Phase, stages: Sequence[StageInfo]) -> float:
    """Operations of one sample in a step: forward from the end of the stored stages, and back to the first stage that
    trains. A frozen stage on that way costs the gradient of its inputs, as one whose vectors alone learn does."""
    total = 0.0
    reached = False
    for stage, part in zip(
        stages[recipe.frozen_stages : recipe.keep], phase.stages[recipe.frozen_stages :], strict=False
    ):
        reached = reached or part.gradients > 0
        total += (1 + max(part.gradients, int(reached))) * stage.operations
    return total


def training_operations(recipe: Recipe, stages: Sequence[StageInfo], work: Workload) -> float:
    """One training run with nothing computed before: frozen stages once a (sample, view), then what moves."""
    moving = moving_operations(recipe, stages, work)
    if not recipe.learns_from_features:
        return moving
    once = forward(stages, 0, recipe.frozen_stages) * work.rows * work.views
    return once + moving


def head_parameters(recipe: Recipe, features: int, classes: int, source_classes: int) -> int:
    """Parameters of the recipe's head; a mapped one keeps the `source_classes` outputs of the network's own."""
    if recipe.head_kind == "mlp":
        hidden = hidden_width(features)
        return hidden * (features + 1) + classes * (hidden + 1)
    return (source_classes if recipe.head_kind == "mapped" else classes) * (features + 1)


def count_trained(
    recipe: Recipe, stages: Sequence[StageInfo], head_parameters: int, partial: Mapping[str, int] = MappingProxyType({})
) -> int:
    """Parameters that some phase moves, the head's among them (BatchNorm policies aside).

    `partial` has those of recipes, by name, that train only a part of a stage's tensors.
    """
    if not recipe.needs_network or recipe.trains_nothing:
        return 0
    if recipe.name in partial:
        return head_parameters + partial[recipe.name]
    total = head_parameters
    for index, stage in enumerate(stages[: recipe.keep]):
        if any(phase.stages[index].trained for phase in recipe.phases):
            total += stage.parameters
    return total
