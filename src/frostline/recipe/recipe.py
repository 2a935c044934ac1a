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
What = Literal["all", "norm", "bias", "lora"]

BATCHNORM_POLICIES: tuple[BatchNorm, ...] = get_args(BatchNorm)


BASELINE_ROWS = 2000  # that the baseline's SVM is fitted on at most: its time grows with their square
HIDDEN = 512  # widest hidden layer of an MLP head; never wider than the features that it reads


def hidden_width(features: int) -> int:
    """Units in the hidden layer of an MLP head on that many features."""
    return min(HIDDEN, features)


def batchnorm_policy(text: str) -> BatchNorm:
    """The policy of that name; raises RecipeError for any other word."""
    for policy in BATCHNORM_POLICIES:
        if policy == text:
            return policy
    raise RecipeError(f"--batchnorm {text!r} is not a policy.", nearest(str(text), BATCHNORM_POLICIES))


SOURCE_MARK = "+"  # between a source's label and a strategy's name, where several sources are compared


def named_for(source: str, strategy: str) -> str:
    """Return the name of a strategy that starts from a source: `pretrain+probe@3`; without a label the plain name."""
    return f"{source}{SOURCE_MARK}{strategy}" if source else strategy


def source_and_strategy(name: str) -> tuple[str, str]:
    """Return the source's label and the plain name of a strategy; the label is empty where there is one source."""
    source, mark, strategy = name.partition(SOURCE_MARK)
    if not mark or "@" in source or name.endswith(".json"):  # names of stages and files may hold the mark
        return "", name
    return source, strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Low-rank adapters: a weight W, as a matrix (m, n), becomes W + alpha / r * B A with B (m, r) and A (r, n).

    r is `rank`, but at most half of the smaller of m and n. Source: Hu et al. 2022, "LoRA".
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < float("inf"):
            raise RecipeError(
                f"adapter: rank {self.rank} with alpha {self.alpha:g}.",
                "Use a rank of at least 1 and an alpha above 0.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one phase does to one stage (or to the head).

    `what` of a trained stage moves: `all` of it; the scale and shift of its `norm` layers; its `bias` tensors; the
    weights of its linear layers and convolutions by adapters of low rank (`lora`). BatchNorm follows `batchnorm`
    whatever else the part does.
    """

    trained: bool
    lr_factor: float = 1.0  # times the trial's rate
    weight_decay: float = 0.0
    batchnorm: BatchNorm = "frozen"
    what: What = "all"

    def __post_init__(self) -> None:
        if self.trained and not self.lr_factor > 0:
            raise RecipeError(f"lr_factor={self.lr_factor} for a trained part.", "Use a factor above 0.")
        if self.weight_decay < 0:
            raise RecipeError(f"weight_decay={self.weight_decay} is negative.", "Use 0 or more.")

    @property
    def frozen(self) -> bool:
        """Nothing of it may move: weights fixed and BatchNorm in inference mode."""
        return not self.trained and self.batchnorm == "frozen"

    @property
    def gradients(self) -> int:
        """Backward passes, counted in forward ones: 2 for inputs and weights, 1 where only vectors of it learn."""
        if self.trained and self.what in ("all", "lora"):  # an adapter's gradient goes through that of the weight
            return 2
        return int(self.trained or self.batchnorm in ("affine", "all"))


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

    def part(self, stage: int) -> Part:
        """What happens to a stage, counted from 1; to the head for any other number."""
        if 1 <= stage <= len(self.stages):
            return self.stages[stage - 1]
        return self.head

    @property
    def takes_steps(self) -> bool:
        return self.solver == "stepped"

    @property
    def is_solved(self) -> bool:
        return self.solver == "solved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named strategy made exact for one stage map.

    Of several phases the first may be solved, the others are stepped. `origins[i]` is where the weights of stage i + 1
    come from. `keep` is the number of stages that stay in the network: later ones are thrown away and the new head
    reads the pooled output of stage `keep`.
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
    adapter: Adapter | None = None  # of the parts that train by 'lora'

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
    def needs_network(self) -> bool:
        """All but the baseline do."""
        return self.solver != "baseline"

    @property
    def takes_steps(self) -> bool:
        """The last phase trains in steps, at a rate."""
        return self.solver == "stepped"

    @property
    def is_solved(self) -> bool:
        """Nothing but a linear head is learnt, and that is solved."""
        return self.solver == "solved"

    @property
    def trains_nothing(self) -> bool:
        """The network is used as it is."""
        return self.solver == "untrained"

    @property
    def learns_from_features(self) -> bool:
        """It is trained on what the network computes, in steps or by solving."""
        return self.is_solved or self.takes_steps

    @property
    def trains_head_only(self) -> bool:
        """No stage is cut off and none is trained, only a head behind the last."""
        return self.learns_from_features and self.frozen_stages == len(self.origins)

    @property
    def solves_head(self) -> bool:
        """Some phase solves a linear head on pooled features of stage `keep`."""
        return any(phase.is_solved for phase in self.phases)

    @property
    def stepped(self) -> tuple[Phase, ...]:
        """The phases that take steps, in order."""
        return tuple(phase for phase in self.phases if phase.takes_steps)

    @property
    def partial(self) -> bool:
        """Some phase trains only a part of a stage's tensors."""
        return any(part.trained and part.what != "all" for phase in self.phases for part in phase.stages)

    @property
    def cut_short(self) -> bool:
        return self.keep < len(self.origins)

    @property
    def source(self) -> str:
        """Label of the network that it starts from, where several are compared; otherwise empty."""
        return source_and_strategy(self.name)[0]

    @property
    def plain_name(self) -> str:
        """The strategy's name without that label."""
        return source_and_strategy(self.name)[1]

    def with_source(self, source: str) -> Recipe:
        """Return the same recipe, starting from the network of that label."""
        return replace(self, name=named_for(source, self.plain_name))

    def with_rates(self, rates: tuple[float, ...]) -> Recipe:
        return replace(self, rates=rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training run: a recipe at a rate and a length on given rows.

    `purpose` 'tune': to choose rate and length; 'curve': on a part of a block's training rows.
    """

    recipe: Recipe
    purpose: Literal["tune", "block", "curve"]
    block: int
    rate: float | None
    train: tuple[int, ...]
    validation: tuple[int, ...]
    steps: int | None = None  # None where --epochs says it

    @property
    def key(self) -> str:
        if self.rate is None:
            rate = "-"
        else:
            rate = f"{self.rate:.6g}"
        key = f"{self.purpose}/{self.recipe.name}/{self.block}/{rate}"
        if self.steps is not None:
            key += f"/{self.steps} steps"
        if self.purpose == "curve":
            key += f"/{len(self.train)}"
        return key
