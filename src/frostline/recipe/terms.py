"""Words for a recipe: what happens to the weights, in one line, and what the literature calls it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.literature import ADDED, TERMS, Term
from frostline.recipe.recipe import Recipe, source_and_strategy

TRAINED_ALONE = ("norm", "bias", "lora")  # parts of a stage; strategies that train one of them have its name
PRETRAINED_FIRST = "pretrain"  # the source that was first trained on the user's own unlabelled data
PART_WORDS = {"norm": "only normalisation trained", "bias": "only biases trained", "lora": "low-rank adapters trained"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTerm:
    """The literature's name of what a recipe does; `added` are further things that it does."""

    key: str
    term: Term
    added: tuple[Term, ...] = ()

    @property
    def words(self) -> str:
        """The term with all that comes on top of it."""
        if not self.added:
            return self.term.term
        extras = " and ".join(extra.term for extra in self.added)
        return f"{self.term.term} with {extras}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Keys of CITATIONS, each once, the term's own first."""
        return tuple(dict.fromkeys(key for t in (self.term, *self.added) for key in t.sources))


def strategy_key(name: str) -> str:
    """Return the catalogue's name of a strategy as the user wrote it: `freeze@4` is `freeze@K`."""
    base, at, _ = source_and_strategy(name)[1].partition("@")
    if at:
        return f"{base}@K"
    return base


def term(recipe: Recipe) -> str:
    """Return what people call the strategy; for a recipe file, what they call the strategy that does the same."""
    key = strategy_key(recipe.name)
    if recipe.kind == "own":
        key = key_by_effect(recipe)
    words = CATALOGUE[key].called if key in CATALOGUE else TERMS[key].term
    if recipe.source == PRETRAINED_FIRST:
        return f"own unlabelled data first, then {words}"
    return words


def skipped_term(name: str) -> str:
    """Return the term of a strategy that has no recipe here; empty for one that the catalogue lacks."""
    strategy = CATALOGUE.get(strategy_key(name))
    if strategy is None:
        return ""
    return strategy.called


def literature(recipe: Recipe, *, random: bool = False) -> NamedTerm:
    """Return the literature's term for what a recipe does.

    `random`: the network came without pre-trained weights, so whatever is done to it transfers nothing.
    Raises KeyError for a strategy that has no entry in recipe.literature (a test forbids that).
    """
    key = strategy_key(recipe.name)
    if recipe.kind == "own" or key.endswith("@K"):  # freeze@K of the last stage trains the head only
        key = key_by_effect(recipe)
    if key in ("probe", "probe@K") and recipe.head_kind == "mlp":
        key = "probe-mlp"
    if random and key != "baseline":
        key = _random_key(recipe)
    extras = _extra_keys(recipe, key)
    if random and "statistics" in extras:  # there is nothing to adapt
        extras.remove("statistics")
    return NamedTerm(key=key, term=TERMS[key], added=tuple(ADDED[extra] for extra in extras))


def _random_key(recipe: Recipe) -> str:
    """Return the key in TERMS of what a recipe does to a network without pre-trained weights."""
    if recipe.trains_nothing:
        return "untrained"
    if all(_is_stage_trained(recipe, index) for index in range(recipe.keep)):
        return "scratch"
    return "random-features"


def key_by_effect(recipe: Recipe) -> str:
    """Return the key in TERMS of what a recipe does, judged by what it trains and not by its name."""
    trained = [_is_stage_trained(recipe, index) for index in range(recipe.keep)]
    if "reinitialised" in recipe.origins[: recipe.keep]:
        return _reinitialised_key(recipe, trained)
    if not any(trained):
        return _frozen_key(recipe)
    part = _only_part_trained(recipe)
    if part:
        return part
    if len(recipe.stepped) > 1:
        return _phased_key(recipe)
    if not all(trained):
        if trained == sorted(trained):  # frozen ones first
            return "freeze@K"
        return "surgical"
    return _fully_trained_key(recipe)


def _is_stage_trained(recipe: Recipe, index: int) -> bool:
    """True where some weight of stage index + 1 is trained; BatchNorm's statistics alone don't count."""
    return any(p.stages[index].trained or p.stages[index].batchnorm in ("affine", "all") for p in recipe.phases)


def _only_part_trained(recipe: Recipe) -> str:
    """Return norm, bias or lora where stages are trained in that part only, otherwise an empty text."""
    whats = {part.what for phase in recipe.phases for part in phase.stages if part.trained}
    if len(whats) == 1:
        (what,) = whats
        if what in TRAINED_ALONE:
            return what
    if not any(part.trained for phase in recipe.phases for part in phase.stages[: recipe.keep]):
        return "norm"  # only BatchNorm's scale and shift
    return ""


def _fully_trained_key(recipe: Recipe) -> str:
    """Return the key where every stage is trained in one stepped phase."""
    if recipe.head_origin == "pretrained":
        return "continue"
    if recipe.solves_head:
        if recipe.interpolated:
            return "wise-ft"
        return "lp-ft"
    if recipe.phases[-1].pull:
        return "l2sp"
    return "finetune"


def _reinitialised_key(recipe: Recipe, trained: list[bool]) -> str:
    """Return the key where some stages that stay are re-initialised."""
    fresh = [origin == "reinitialised" for origin in recipe.origins[: recipe.keep]]
    if all(fresh):
        if all(trained):
            return "scratch"
        return "random-features"
    fresh_trained = {t for t, is_fresh in zip(trained, fresh, strict=True) if is_fresh}
    copied_trained = {t for t, is_fresh in zip(trained, fresh, strict=True) if not is_fresh}
    if fresh != sorted(fresh) or fresh_trained != {True} or len(copied_trained) > 1:
        return "reinit-part"
    if copied_trained == {True}:
        return "reinit@K"
    return "reinit-freeze@K"


def _frozen_key(recipe: Recipe) -> str:
    """Return the key where no weight of any stage is trained."""
    if recipe.trains_nothing:
        return "as-is"
    if any(part.batchnorm == "statistics" for phase in recipe.phases for part in phase.stages[: recipe.keep]):
        return "adabn"
    if recipe.head_origin == "pretrained":
        return "last-layer"
    if recipe.cut_short:
        return "probe@K"
    return "probe"


def _phased_key(recipe: Recipe) -> str:
    """Return the key of several stepped phases.

    The head first and then all is LP-FT; from the head downwards, one or more stages per phase, is gradual unfreezing.
    """
    trained_sets = [tuple(part.trained for part in phase.stages[: recipe.keep]) for phase in recipe.phases]
    downwards = all(trained == tuple(sorted(trained)) for trained in trained_sets)
    grows = all(sum(a) < sum(b) for a, b in pairwise(trained_sets))
    if not (downwards and grows):
        return "multi-stage"
    if len(trained_sets) == 2 and not any(trained_sets[0]):
        if all(trained_sets[1]):
            return "lp-ft"
        return "freeze@K"
    return "gradual"


def _extra_keys(recipe: Recipe, key: str) -> list[str]:
    """Return keys in ADDED of what a recipe does beside that which its term says."""
    last = recipe.phases[-1].stages[: recipe.keep]
    rates = {part.lr_factor for part in last if part.trained}
    adapts_statistics = any(
        part.batchnorm == "statistics" and origin == "pretrained"
        for part, origin in zip(last, recipe.origins, strict=False)
    )
    present = {
        "head-first": recipe.solves_head and recipe.takes_steps and key not in ("lp-ft", "wise-ft", "gradual"),
        "pull": any(p.pull for p in recipe.phases) and key != "l2sp",
        "mix": recipe.interpolated and key != "wise-ft",
        "layer-rates": len(rates) > 1,
        "statistics": adapts_statistics and key != "adabn",
    }
    return [name for name, is_present in present.items() if is_present]


def origin_summary(recipe: Recipe) -> str:
    """Return one line such as 'stages 1-4 pretrained, frozen; 5-6 pretrained, trained; head new'."""
    if not recipe.needs_network:
        return "no network"
    fates = [_stage_fate(recipe, index) for index in range(recipe.keep)]
    parts = []
    first = 1
    for fate, group in groupby(fates):
        last = first + len(list(group)) - 1
        parts.append(f"{_span(first, last)} {fate}")
        first = last + 1
    if recipe.cut_short:
        parts.append(f"{_span(first, len(recipe.origins))} thrown away")
    return "stages " + "; ".join([*parts, f"head {recipe.head_origin}"])


def stage_fates(recipe: Recipe) -> tuple[str, ...]:
    """Say of every stage, and last of the head, where its weights come from and whether they are trained.

    Such as 'pretrained, frozen'; a stage that is cut off is 'thrown away'. Empty for a recipe without a network.
    """
    if not recipe.needs_network:
        return ()
    fates = [_stage_fate(recipe, index) for index in range(recipe.keep)]
    fates += ["thrown away"] * (len(recipe.origins) - recipe.keep)
    head = "frozen" if recipe.trains_nothing else "trained"
    return (*fates, f"{recipe.head_origin}, {head}")


def _span(first: int, last: int) -> str:
    if first == last:
        return f"{first}"
    return f"{first}-{last}"


def _stage_fate(recipe: Recipe, index: int) -> str:
    """Say of stage index + 1 where its weights come from and which of them are trained."""
    parts = [phase.stages[index] for phase in recipe.phases if phase.stages[index].trained]
    whats = {part.what for part in parts}
    if not parts:
        fate = "frozen"
    elif "all" in whats:
        fate = "trained"
    else:
        fate = " and ".join(PART_WORDS[what] for what in sorted(whats))
    return f"{recipe.origins[index]}, {fate}"
