"""Recipe: for every stage the origin of its weights and, per phase, whether and how it is trained.

Everything else (terms, audit, ledger, parameter groups) is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from frostline.base.errors import RecipeError, nearest

Origin = Literal["pretrained", "reinitialised", "new"]
BatchNorm = Literal["frozen", "statistics", "affine", "all"]
Solver = Literal["solved", "stepped", "baseline", "untrained"]
HeadKind = Literal["linear", "mlp", "mapped"]
Optimiser = Literal["adamw", "sgd"]

BATCHNORM_POLICIES: tuple[BatchNorm, ...] = get_args(BatchNorm)


BASELINE_ROWS = 2000  # that the baseline's SVM is fitted on at most: its time grows with their square
HIDDEN = 512  # widest hidden layer of an MLP head; never wider than the features that it reads


def hidden_width(features: int) -> int:
    """Units in the hidden layer of an MLP head on so many features."""
    return min(HIDDEN, features)


def batchnorm_policy(text: str) -> BatchNorm:
    """The policy of that name; raises RecipeError for any other word."""
    for policy in BATCHNORM_POLICIES:
        if policy == text:
            return policy
    raise RecipeError(f"--batchnorm {text!r} is not a policy.", nearest(str(text), BATCHNORM_POLICIES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one phase does to one stage (or to the head)."""

    trained: bool
    lr_factor: float = 1.0  # times the trial's rate
    weight_decay: float = 0.0
    batchnorm: BatchNorm = "frozen"

    def __post_init__(self) -> None:
        if self.trained and not self.lr_factor > 0:
            raise RecipeError(f"lr_factor={self.lr_factor} for a trained part.", "Use a factor above 0.")
        if self.weight_decay < 0:
            raise RecipeError(f"weight_decay={self.weight_decay} is negative.", "Use 0 or more.")

    @property
    def frozen(self) -> bool:
        """Nothing of it may move: weights fixed and BatchNorm in inference mode."""
        return not self.trained and self.batchnorm == "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of training; `stages[i]` belongs to stage i + 1 of the stage map."""

    name: str
    solver: Solver
    stages: tuple[Part, ...]
    head: Part
    optimiser: Optimiser = "adamw"
    label_smoothing: float = 0.0
    pull: float = 0.0  # towards the values before training, on trained stages; on a new head towards zero: `head_pull`
    head_pull: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named strategy made exact for one stage map.

    Of several phases all but the last are solved. `origins[i]` is where the weights of stage i + 1 come from. `keep`
    is the number of stages that stay in the network: later ones are thrown away and the new head reads the pooled
    output of stage `keep`.
    """

    name: str
    kind: str
    origins: tuple[Origin, ...]
    head_origin: Origin
    keep: int
    phases: tuple[Phase, ...]
    rates: tuple[float, ...] = field(default=())  # candidate learning rates of stepped phases, low to high
    head_kind: HeadKind = "linear"  # 'mapped': the network's own head, its classes mapped to those of the data
    interpolated: bool = False  # the result lies on the line from the solved head to the end of training

    @property
    def frozen_stages(self) -> int:
        """Number of leading stages that no phase moves: they are computed once and stored."""
        count = 0
        for index, origin in enumerate(self.origins[: self.keep]):
            if origin != "pretrained" or not all(phase.stages[index].frozen for phase in self.phases):
                break
            count += 1
        return count

    @property
    def solver(self) -> Solver:
        return self.phases[-1].solver

    @property
    def solves_head(self) -> bool:
        """Some phase solves a linear head on pooled features of stage `keep`."""
        return any(phase.solver == "solved" for phase in self.phases)

    @property
    def cut_short(self) -> bool:
        return self.keep < len(self.origins)

    def with_rates(self, rates: tuple[float, ...]) -> Recipe:
        return replace(self, rates=rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training run: a recipe at a rate on given rows.

    `purpose` 'tune': inner rows of the first block only; 'curve': a part of a block's training rows.
    """

    recipe: Recipe
    purpose: Literal["tune", "block", "curve"]
    block: int
    rate: float | None
    train: tuple[int, ...]
    validation: tuple[int, ...]
    steps: int | None = None  # a fixed length; None leaves it to --epochs or to the plateau

    @property
    def key(self) -> str:
        rate = "-" if self.rate is None else f"{self.rate:.6g}"
        size = f"/{len(self.train)}" if self.purpose == "curve" else ""
        return f"{self.purpose}/{self.recipe.name}/{self.block}/{rate}{size}"
