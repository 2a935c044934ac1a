"""The named strategies. Adding one is one entry in CATALOGUE: a function from a stage map to a Recipe, and words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frostline.base.errors import RecipeError, nearest
from frostline.base.records import StageInfo
from frostline.recipe.recipe import BatchNorm, Origin, Part, Phase, Recipe

HEAD_FACTOR = 10.0  # a new head learns ten times as fast as pre-trained stages (notes/methods.md section 4)
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One row of the vocabulary: what happens to the weights, and what people call it."""

    name: str  # with '@K' where a stage belongs to it
    happens: str
    called: str
    build: Callable[[Sequence[StageInfo], int, BatchNorm | None], Recipe]


def _recipe(name: str, kind: str, stages: Sequence[StageInfo], *, keep: int, origin: Origin, phase: Phase,
            head_origin: Origin = "new", rates: tuple[float, ...] = ()) -> Recipe:  # fmt: skip
    return Recipe(name=name, kind=kind, origins=(origin,) * len(stages), head_origin=head_origin, keep=keep,
                  phases=(phase,), rates=rates)  # fmt: skip


def _frozen(count: int) -> tuple[Part, ...]:
    return (Part(trained=False),) * count


def _baseline(stages: Sequence[StageInfo], _k: int, _bn: BatchNorm | None) -> Recipe:
    phase = Phase(name="fit", solver="baseline", stages=_frozen(len(stages)), head=Part(trained=True))
    return _recipe("baseline", "baseline", stages, keep=0, origin="new", phase=phase)


def _probe(stages: Sequence[StageInfo], k: int, _bn: BatchNorm | None) -> Recipe:
    phase = Phase(name="head", solver="solved", stages=_frozen(len(stages)), head=Part(trained=True))
    name = "probe" if k == 0 else f"probe@{k}"
    return _recipe(name, "probe", stages, keep=k or len(stages), origin="pretrained", phase=phase)


def _tuned(stages: Sequence[StageInfo], frozen: int, policy: BatchNorm | None) -> Phase:
    moving = Part(trained=True, weight_decay=WEIGHT_DECAY, batchnorm=policy or "frozen")
    return Phase(name="train", solver="stepped", stages=_frozen(frozen) + (moving,) * (len(stages) - frozen),
                 head=Part(trained=True, lr_factor=HEAD_FACTOR, weight_decay=WEIGHT_DECAY))  # fmt: skip


def _freeze(stages: Sequence[StageInfo], k: int, policy: BatchNorm | None) -> Recipe:
    return _recipe(f"freeze@{k}", "freeze", stages, keep=len(stages), origin="pretrained",
                   phase=_tuned(stages, k, policy), rates=(1e-4, 3e-4, 1e-3))  # fmt: skip


def _finetune(stages: Sequence[StageInfo], _k: int, policy: BatchNorm | None) -> Recipe:
    return _recipe("finetune", "finetune", stages, keep=len(stages), origin="pretrained",
                   phase=_tuned(stages, 0, policy), rates=(3e-5, 1e-4, 3e-4))  # fmt: skip


def _scratch(stages: Sequence[StageInfo], _k: int, _policy: BatchNorm | None) -> Recipe:
    # a policy speaks of pre-trained statistics; untrained ones have to be learnt whatever it says
    moving = Part(trained=True, weight_decay=WEIGHT_DECAY, batchnorm="all")
    phase = Phase(name="train", solver="stepped", stages=(moving,) * len(stages),
                  head=Part(trained=True, weight_decay=WEIGHT_DECAY))  # fmt: skip
    return _recipe("scratch", "scratch", stages, keep=len(stages), origin="reinitialised", phase=phase,
                   head_origin="new", rates=(3e-4, 1e-3, 3e-3))  # fmt: skip


def _entry(name: str, happens: str, called: str,
           build: Callable[[Sequence[StageInfo], int, BatchNorm | None], Recipe]) -> Strategy:  # fmt: skip
    return Strategy(name=name, happens=happens, called=called, build=build)


CATALOGUE: dict[str, Strategy] = {
    s.name: s
    for s in (
        _entry("baseline", "no network at all: 32 x 32 grey pixels with an RBF-SVM", "do I need a network?", _baseline),
        _entry("probe", "all frozen, only a new head is trained (solved)",
               'linear probe; feature extraction; "transfer learning, last layer only"', _probe),
        _entry("probe@K", "cut after stage K, later stages thrown away, new head on K's features",
               "cutting the last layer(s) and adding new ones", _probe),
        _entry("freeze@K", "stages ..K frozen, later pre-trained stages and a new head trained",
               "partial fine-tuning", _freeze),
        _entry("finetune", "new head, every layer trained at its low tuned rate", "(full) fine-tuning; re-training",
               _finetune),
        _entry("scratch", "every weight re-initialised, all trained on the target data", "training from scratch",
               _scratch),
    )
}  # fmt: skip


def make_recipe(name: str, stages: Sequence[StageInfo], batchnorm: BatchNorm | None = None) -> Recipe:
    """The recipe of a strategy as the user wrote it: `probe`, `freeze@4`, `freeze@blocks.2` (a stage's name wins).

    Raises RecipeError for an unknown strategy (naming the nearest), a missing or unknown stage, or a stage that
    can't be cut.
    """
    base, at, where = name.partition("@")
    key = f"{base}@K" if at else base
    if key not in CATALOGUE:
        if base in CATALOGUE or f"{base}@K" in CATALOGUE:
            raise RecipeError(_stage_needed(base, at), "Stages: frostline stages SPEC.")
        raise RecipeError(f"Unknown strategy {name!r}.", nearest(name, CATALOGUE))
    k = find_stage(where, stages, strategy=base) if at else 0
    return CATALOGUE[key].build(stages, k, batchnorm)


def _stage_needed(base: str, at: str) -> str:
    return f"Strategy {base!r} takes no stage." if at else f"Strategy {base!r} needs a stage, as in {base}@3."


def find_stage(where: str, stages: Sequence[StageInfo], *, strategy: str) -> int:
    """Index (from 1) of a stage given by name or number; a name wins."""
    by_name = {s.name: s for s in stages}
    stage = by_name.get(where)
    if stage is None and re.fullmatch(r"\d+", where) and 1 <= int(where) <= len(stages):
        stage = stages[int(where) - 1]
    if stage is None:
        raise RecipeError(f"Strategy {strategy}@{where}: there is no stage {where!r}.",
                          f"Stages are 1 to {len(stages)}: {', '.join(by_name)}.")  # fmt: skip
    if not stage.cuttable:
        raise RecipeError(f"Strategy {strategy}@{where}: the network can't be cut after stage {stage.index} "
                          f"({stage.name}): {stage.why_not}.", "See frostline stages SPEC.")  # fmt: skip
    return stage.index


def auto_strategies(stages: Sequence[StageInfo]) -> tuple[str, ...]:
    """Names of a default comparison: both ends of the question and up to three depths between, spread evenly."""
    depths = spread([s.index for s in stages if s.cuttable and s.index < len(stages)], 3)
    return ("baseline", "probe", *(f"probe@{k}" for k in reversed(depths)),
            *(f"freeze@{k}" for k in reversed(depths)), "finetune", "scratch")  # fmt: skip


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spread, the deepest among them."""
    n = len(indices)
    if n <= count:
        return list(indices)
    return [indices[round((i + 1) * n / count) - 1] for i in range(count)]
