"""Counted cost: floating-point operations from the stage map, never a timing, so the plan is reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.base.records import StageInfo
from frostline.recipe.recipe import BASELINE_ROWS, Recipe, hidden_width

BACKWARD = 2.0  # a backward pass costs about two forward passes (gradients of inputs and of weights)
EXPECTED_STEPS = 150  # what a found length is counted as before it is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much one training run reads: `rows` samples, `views` of each, `steps` batches of `batch_size`."""

    rows: int
    views: int
    steps: int
    batch_size: int


def forward(stages: Sequence[StageInfo], first: int, last: int) -> float:
    """Operations of one sample through stages first+1 .. last."""
    return sum(s.operations for s in stages[first:last])


def inference_operations(recipe: Recipe, stages: Sequence[StageInfo]) -> float:
    return forward(stages, 0, recipe.keep)


def moving_operations(recipe: Recipe, stages: Sequence[StageInfo], work: Workload) -> float:
    """What one training run adds to features that are already there: its moving stages, forward and backward."""
    if recipe.solver == "baseline":
        return 2.0 * 1024 * min(work.rows, BASELINE_ROWS) ** 2  # the kernel matrix of 32 x 32 pixels
    if recipe.solver in ("solved", "untrained"):
        return 0.0  # a linear solve on pooled features vanishes beside any forward pass
    return (1 + BACKWARD) * forward(stages, recipe.frozen_stages, recipe.keep) * work.steps * work.batch_size


def training_operations(recipe: Recipe, stages: Sequence[StageInfo], work: Workload) -> float:
    """One training run with nothing computed before: frozen stages once a (sample, view), then what moves."""
    reads = recipe.solver not in ("baseline", "untrained")
    once = forward(stages, 0, recipe.frozen_stages) * work.rows * work.views if reads else 0.0
    return once + moving_operations(recipe, stages, work)


def head_parameters(recipe: Recipe, features: int, classes: int, source_classes: int) -> int:
    """Parameters of the recipe's head; a mapped one keeps the `source_classes` outputs of the network's own."""
    if recipe.head_kind == "mlp":
        hidden = hidden_width(features)
        return hidden * (features + 1) + classes * (hidden + 1)
    return (source_classes if recipe.head_kind == "mapped" else classes) * (features + 1)


def trained_parameters(recipe: Recipe, stages: Sequence[StageInfo], head_parameters: int) -> int:
    """Parameters that some phase moves, the head's among them (BatchNorm policies aside)."""
    if recipe.solver in ("baseline", "untrained"):
        return 0
    total = head_parameters
    for index, stage in enumerate(stages[: recipe.keep]):
        if any(phase.stages[index].trained for phase in recipe.phases):
            total += stage.parameters
    return total
