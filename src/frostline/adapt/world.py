"""What an adaptation starts from, and what it gives back: plain data over studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from frostline.base.records import AuditCount, CurvePoint, FloatArray, IntArray
from frostline.recipe.recipe import Recipe
from frostline.train.study import Study


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceOutputs:
    """Out-of-fold probabilities (M, C) of the source's own samples, calibrated, with their labels (M,)."""

    probabilities: FloatArray
    labels: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """A trained network with its head, unlabelled target samples, and what there is of the source.

    Attributes:
        target: all target samples. Their labels (-1: unknown) are read by arms through `labelled` alone.
        source: the labelled samples that the network was trained on, read by the same network; None: not at hand.
        held: labelled samples of the source that it was never trained on (the run's sealed part); None: not at hand.
        outputs: what the run keeps of the source's predictions.
        temperature: by which logits are divided, 1.0 where none was fitted.
        labelled: rows of the target whose labels may be learnt from; empty unless the user allowed it.
    """

    target: Study
    source: Study | None
    held: Study | None
    outputs: SourceOutputs | None
    temperature: float = 1.0
    labelled: IntArray | None = None

    @property
    def seed(self) -> int:
        return self.target.seed

    @property
    def classes(self) -> int:
        return self.target.classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """The result of one arm.

    Attributes:
        arm: its name.
        recipe: what happened to the weights.
        target: probabilities (N, C) of all target samples, calibrated as the network was, prior correction included.
        held: the same of the held-out source samples (H, C); None where they aren't at hand.
        target_features, held_features: pooled features before the head (N, D), (H, D).
        model: the adapted network; None where it is the network itself.
        prior: (C,) factors by which probabilities are multiplied before they are normalised; None: none.
        steps, rate, curve, audit, ledger: as of any training.
        detail: figures of the arm's own, such as the effective sample size of its weights.
    """

    arm: str
    recipe: Recipe
    target: FloatArray
    held: FloatArray | None
    target_features: FloatArray
    held_features: FloatArray | None
    model: nn.Module | None = None
    prior: FloatArray | None = None
    steps: int = 0
    rate: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    audit: AuditCount = field(default_factory=AuditCount)
    ledger: list[dict[str, Any]] | None = None
    seconds: float = 0.0
    detail: Mapping[str, Any] = field(default_factory=dict)
