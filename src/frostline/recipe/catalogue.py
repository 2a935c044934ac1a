"""The named strategies. Adding one is one entry in CATALOGUE: a function from a stage map to a Recipe, and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.recipe import Adapter, BatchNorm, HeadKind, Origin, Part, Phase, Recipe, What

HEAD_FACTOR = 10.0  # a new head learns ten times as fast as pre-trained stages (docs/methods.md)
WEIGHT_DECAY = 1e-4
LOW_RATES, PART_RATES, SCRATCH_RATES = (3e-5, 1e-4, 3e-4), (1e-4, 3e-4, 1e-3), (3e-4, 1e-3, 3e-3)
VECTOR_RATES = (3e-4, 1e-3, 3e-3)  # norm, bias, lora: ten times those of finetune (docs/methods.md)
PULL, HEAD_PULL = 0.1, 0.01  # alpha and beta of L2-SP (Li et al. 2018)
GROUPS, SLOWER = 4, 2.6  # gradual: groups of stages at most, and how much slower each is than the one above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user may change about every strategy that it applies to; None is the strategy's own default."""

    batchnorm: BatchNorm | None = None
    head: HeadKind = "linear"
    layer_decay: float | None = None


USUAL = Choices()  # every strategy as it comes

Stages = Sequence[StageInfo]
Build = Callable[[Stages, int, Choices], Recipe]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One row of the vocabulary: what happens to the weights, and what people call it."""

    name: str  # with '@K' where a stage belongs to it
    happens: str
    called: str
    build: Build
    anchor: bool = False  # one of the two ends of the question: it stays in every comparison
    spare: int | None = None  # the place in which a budget leaves it out, before all others


def _recipe(name: str, stages: Stages, *phases: Phase, keep: int | None = None, origin: Origin = "pretrained",
            rates: tuple[float, ...] = ()) -> Recipe:  # fmt: skip
    return Recipe(
        name=name,
        kind=name.partition("@")[0],
        origins=(origin,) * len(stages),
        head_origin="new",
        keep=len(stages) if keep is None else keep,
        phases=phases,
        rates=rates,
    )


def _frozen(count: int) -> tuple[Part, ...]:
    return (Part(trained=False),) * count


def _solved(stages: Stages) -> Phase:
    return Phase(name="head", solver="solved", stages=_frozen(len(stages)), head=Part(trained=True))


def _trained_stage(stages: Stages, stage: int, choices: Choices, *, decay: float = WEIGHT_DECAY) -> Part:
    """A pre-trained stage that is trained. Layer-wise decay d gives stage s of S the factor d^(S + 1 - s): the head is
    layer S + 1 (Clark et al. 2020, ELECTRA; as in BEiT and timm)."""
    factor = (choices.layer_decay or 1.0) ** (len(stages) + 1 - stage)
    return Part(trained=True, lr_factor=factor, weight_decay=decay, batchnorm=choices.batchnorm or "frozen")


def _tuned(
    stages: Stages, frozen: int, choices: Choices, *, head_factor: float = HEAD_FACTOR, decay: float = WEIGHT_DECAY
) -> Phase:
    """Stages beyond `frozen` trained."""
    moving = tuple(_trained_stage(stages, s, choices, decay=decay) for s in range(frozen + 1, len(stages) + 1))
    head = Part(trained=True, lr_factor=head_factor, weight_decay=decay)
    return Phase(name="train", solver="stepped", stages=_frozen(frozen) + moving, head=head)


def _baseline(stages: Stages, _k: int, _choices: Choices) -> Recipe:
    phase = Phase(name="fit", solver="baseline", stages=_frozen(len(stages)), head=Part(trained=True))
    return _recipe("baseline", stages, phase, keep=0, origin="new")


def _as_is(stages: Stages, _k: int, _choices: Choices) -> Recipe:
    phase = Phase(name="map", solver="untrained", stages=_frozen(len(stages)), head=Part(trained=False))
    return replace(_recipe("as-is", stages, phase), head_origin="pretrained", head_kind="mapped")


def _probe(stages: Stages, k: int, choices: Choices) -> Recipe:
    if k == 0:
        name = "probe"
    else:
        name = f"probe@{k}"
    keep = k or len(stages)
    if choices.head == "linear":
        return _recipe(name, stages, _solved(stages), keep=keep)
    head = Part(trained=True, lr_factor=HEAD_FACTOR, weight_decay=WEIGHT_DECAY)
    phase = Phase(name="head", solver="stepped", stages=_frozen(len(stages)), head=head)
    return replace(_recipe(name, stages, phase, keep=keep, rates=PART_RATES), head_kind=choices.head)


def _freeze(stages: Stages, k: int, choices: Choices) -> Recipe:
    made = _recipe(f"freeze@{k}", stages, _tuned(stages, k, choices), rates=PART_RATES)
    return replace(made, head_kind=choices.head)


def _finetune(stages: Stages, _k: int, choices: Choices) -> Recipe:
    made = _recipe("finetune", stages, _tuned(stages, 0, choices), rates=LOW_RATES)
    return replace(made, head_kind=choices.head)


def _continue(stages: Stages, _k: int, choices: Choices) -> Recipe:
    made = _recipe("continue", stages, _tuned(stages, 0, choices, head_factor=1.0), rates=LOW_RATES)
    return replace(made, head_origin="pretrained", head_kind="mapped")


def _lp_ft(stages: Stages, _k: int, choices: Choices) -> Recipe:
    if choices.head != "linear":
        raise RecipeError(
            f"--head {choices.head} doesn't apply to lp-ft and wise-ft: they begin with a solved linear head.",
            "Leave these strategies out, or --head.",
        )
    # the head is no longer new when it is trained, so it learns like the rest
    return _recipe("lp-ft", stages, _solved(stages), _tuned(stages, 0, choices, head_factor=1.0), rates=LOW_RATES)


def _wise_ft(stages: Stages, k: int, choices: Choices) -> Recipe:
    return replace(_lp_ft(stages, k, choices), name="wise-ft", kind="wise-ft", interpolated=True)


def _l2sp(stages: Stages, _k: int, choices: Choices) -> Recipe:
    pulled = replace(_tuned(stages, 0, choices, decay=0.0), pull=PULL, head_pull=HEAD_PULL)
    return replace(_recipe("l2sp", stages, pulled, rates=LOW_RATES), head_kind=choices.head)


def _gradual(stages: Stages, _k: int, choices: Choices) -> Recipe:
    """Gradual unfreezing (Howard & Ruder 2018, ULMFiT): the head, then group after group of stages from the last
    downwards, each group 2.6 times slower than the one above it (or as the user's layer decay says)."""
    count = len(stages)
    ends = spread(range(1, count + 1), GROUPS)  # the last stage of each group
    group = {s: sum(end >= s for end in ends) - 1 for s in range(1, count + 1)}  # 0: next to the head
    parts = [_trained_stage(stages, s, choices) for s in range(1, count + 1)]
    if choices.layer_decay is None:
        parts = [replace(part, lr_factor=SLOWER ** -group[s]) for s, part in enumerate(parts, 1)]
    head = Part(trained=True, lr_factor=HEAD_FACTOR, weight_decay=WEIGHT_DECAY)
    firsts = [count + 1, *(end + 1 for end in reversed(ends[:-1])), 1]  # the first stage that each phase trains
    phases = [
        Phase(
            name="head" if first > count else f"stages {first}-",
            solver="stepped",
            stages=(*_frozen(first - 1), *parts[first - 1 :]),
            head=head,
        )
        for first in firsts
    ]
    return replace(_recipe("gradual", stages, *phases, rates=PART_RATES), head_kind=choices.head)


# a policy speaks of pre-trained statistics; untrained ones have to be learnt whatever it says
_UNTRAINED = Part(trained=True, weight_decay=WEIGHT_DECAY, batchnorm="all")


def _scratch(stages: Stages, _k: int, choices: Choices) -> Recipe:
    phase = Phase(
        name="train",
        solver="stepped",
        stages=(_UNTRAINED,) * len(stages),
        head=Part(trained=True, weight_decay=WEIGHT_DECAY),
    )
    made = _recipe("scratch", stages, phase, origin="reinitialised", rates=SCRATCH_RATES)
    return replace(made, head_kind=choices.head)


def _reinit(stages: Stages, k: int, choices: Choices, *, name: str, kept: tuple[Part, ...]) -> Recipe:
    """Stages ..k kept, later ones re-initialised; all that trains does so at one rate, as in the source (Yosinski et
    al. 2014, "How transferable are features in deep neural networks?": AnB and AnB+)."""
    phase = Phase(
        name="train",
        solver="stepped",
        stages=kept + (_UNTRAINED,) * (len(stages) - k),
        head=Part(trained=True, weight_decay=WEIGHT_DECAY),
    )
    origins: list[Origin] = ["pretrained" if s <= k else "reinitialised" for s in range(1, len(stages) + 1)]
    made = _recipe(f"{name}@{k}", stages, phase, rates=SCRATCH_RATES)
    return replace(made, origins=tuple(origins), head_kind=choices.head)


def _reinit_tuned(stages: Stages, k: int, choices: Choices) -> Recipe:
    kept = tuple(_trained_stage(stages, s, choices) for s in range(1, k + 1))
    return _reinit(stages, k, choices, name="reinit", kept=kept)


def _reinit_freeze(stages: Stages, k: int, choices: Choices) -> Recipe:
    return _reinit(stages, k, choices, name="reinit-freeze", kept=_frozen(k))


def _partial(what: What, batchnorm: BatchNorm = "frozen") -> Build:
    """A strategy that trains the head and only `what` of every stage; the head isn't faster, since all is fast."""

    def build(stages: Stages, _k: int, choices: Choices) -> Recipe:
        chosen = replace(choices, batchnorm=choices.batchnorm or batchnorm)
        phase = _tuned(stages, 0, chosen, head_factor=1.0)
        phase = replace(phase, stages=tuple(replace(part, what=what) for part in phase.stages))
        made = _recipe(what, stages, phase, rates=VECTOR_RATES)
        return replace(made, head_kind=choices.head, adapter=Adapter() if what == "lora" else None)

    return build


def _entry(
    name: str, happens: str, called: str, build: Build, *, anchor: bool = False, spare: int | None = None
) -> Strategy:
    return Strategy(name=name, happens=happens, called=called, build=build, anchor=anchor, spare=spare)


CATALOGUE: dict[str, Strategy] = {
    s.name: s
    for s in (
        _entry(
            "baseline",
            "no network at all: an RBF-SVM on 32 x 32 grey pixels; for text, TF-IDF with logistic regression",
            "do I need a network?",
            _baseline,
        ),
        _entry(
            "as-is",
            "nothing is trained; the network's own classes are mapped to yours",
            "using a ready-made pre-trained model",
            _as_is,
        ),
        _entry(
            "probe",
            "all frozen, only a new head is trained (linear: solved; --head mlp: stepped)",
            'linear probe; feature extraction; "transfer learning, last layer only"',
            _probe,
            anchor=True,
        ),
        _entry(
            "probe@K",
            "cut after stage K, later stages thrown away, a new head trained on K's features",
            "cutting the last layer(s) and adding new ones",
            _probe,
        ),
        _entry(
            "freeze@K",
            "stages up to K frozen, later pre-trained stages and a new head trained",
            "partial fine-tuning",
            _freeze,
        ),
        _entry(
            "finetune",
            "a new head, and every layer trained at a low, tuned rate",
            "(full) fine-tuning; re-training",
            _finetune,
            anchor=True,
        ),
        _entry(
            "lp-ft", "probe, then every layer trained from there", "linear probing then fine-tuning", _lp_ft, spare=4
        ),
        _entry(
            "gradual",
            "stages unfrozen from the head downwards, one phase each (four groups at most)",
            "gradual unfreezing (ULMFiT)",
            _gradual,
        ),
        _entry(
            "continue",
            "nothing re-initialised, head included (its classes mapped to yours), all trained",
            "continued training",
            _continue,
            spare=3,
        ),
        _entry(
            "scratch",
            "every weight re-initialised, all trained on the target data",
            "training from scratch",
            _scratch,
            spare=0,
        ),
        _entry(
            "reinit-freeze@K",
            "stages up to K kept frozen, all later ones re-initialised and trained",
            "Yosinski's AnB",
            _reinit_freeze,
        ),
        _entry(
            "reinit@K",
            "stages up to K kept and tuned, all later ones re-initialised and trained",
            "Yosinski's AnB+",
            _reinit_tuned,
        ),
        _entry(
            "norm",
            "only scale and shift of the normalisation layers, and the head",
            "parameter-efficient fine-tuning: norm tuning",
            _partial("norm", "affine"),
        ),
        _entry("bias", "only the biases, and the head", "parameter-efficient fine-tuning: BitFit", _partial("bias")),
        _entry(
            "lora",
            "low-rank adapters on linear layers and convolutions (merged at the end), and the head",
            "parameter-efficient fine-tuning: LoRA",
            _partial("lora"),
        ),
        _entry(
            "wise-ft",
            "weights on the line from probe to lp-ft, the mix chosen on inner validation rows",
            "weight-space ensembling (WiSE-FT)",
            _wise_ft,
            spare=2,
        ),
        _entry("l2sp", "finetune with a pull towards the pre-trained values", "L2-SP", _l2sp, spare=1),
    )
}


def strategy_of(recipe: Recipe) -> Strategy | None:
    """The catalogue's strategy that a recipe was made by; None for a recipe of the user's own."""
    base, at, _ = recipe.plain_name.partition("@")
    return CATALOGUE.get(f"{base}@K" if at else base)


def is_anchor(recipe: Recipe) -> bool:
    """One of the two ends of the question, which stay in every comparison."""
    strategy = strategy_of(recipe)
    return strategy is not None and strategy.anchor


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spread, the deepest among them."""
    n = len(indices)
    if n <= count:
        return list(indices)
    return [indices[round((i + 1) * n / count) - 1] for i in range(count)]
