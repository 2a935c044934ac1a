"""Words for a recipe: what happens to the weights, in one line, and what the literature calls it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.literature import ADDED, TERMS, Term
from frostline.recipe.recipe import Recipe

ALONE = ("norm", "bias", "lora")  # what may move alone in a stage; strategies have the same names
MOVING = {"norm": "only normalisation trained", "bias": "only biases trained", "lora": "low-rank adapters trained"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTerm:
    """The literature's name of what a recipe does. `added` are further things that it does beside it."""

    key: str
    term: Term
    added: tuple[Term, ...] = ()

    @property
    def words(self) -> str:
        """The term with all that comes on top of it."""
        extra = [t.term for t in self.added]
        return self.term.term + (f" with {' and '.join(extra)}" if extra else "")

    @property
    def sources(self) -> tuple[str, ...]:
        """Keys of CITATIONS, each once, the term's own first."""
        return tuple(dict.fromkeys(key for t in (self.term, *self.added) for key in t.sources))


def strategy_key(name: str) -> str:
    """The catalogue's name of a strategy as written: `freeze@4` is `freeze@K`."""
    base, at, _ = name.partition("@")
    if at:
        return f"{base}@K"
    return base


def term(recipe: Recipe) -> str:
    """What people call it; of a user's own recipe, what they call the strategy that does the same."""
    if recipe.kind != "own":
        key = strategy_key(recipe.name)
    else:
        key = own_key(recipe)
    if key in CATALOGUE:
        return CATALOGUE[key].called
    return TERMS[key].term


def skipped_term(name: str) -> str:
    """The term of a strategy that has no recipe here."""
    known = CATALOGUE.get(strategy_key(name))
    if known:
        return known.called
    return ""


def literature(recipe: Recipe, *, random: bool = False) -> NamedTerm:
    """The literature's term for what a recipe does.

    `random`: the network came without pre-trained weights, so whatever is done to it transfers nothing.
    Raises KeyError for a strategy that has no entry in recipe.literature (a test forbids that).
    """
    key = strategy_key(recipe.name)
    if recipe.kind == "own" or key.endswith("@K"):  # freeze@K of the last stage trains the head only
        key = own_key(recipe)
    if key in ("probe", "probe@K") and recipe.head_kind == "mlp":
        key = "probe-mlp"
    if random and key != "baseline":
        frozen = any(not _is_moved(recipe, i) for i in range(recipe.keep))
        if recipe.trains_nothing:
            key = "untrained"
        else:
            key = "scratch"
            if frozen:
                key = "random-features"
    added = [k for k in _added(recipe, key) if not (random and k == "statistics")]  # there is nothing to adapt
    return NamedTerm(key=key, term=TERMS[key], added=tuple(ADDED[k] for k in added))


def own_key(recipe: Recipe) -> str:
    """The key in TERMS of what a recipe does, judged by what moves and not by its name."""
    kept = range(recipe.keep)
    moved = [_is_moved(recipe, i) for i in kept]
    if "reinitialised" in recipe.origins[: recipe.keep]:
        return _reinitialised_key(recipe, moved)
    if not any(moved):
        return _still_key(recipe)
    whats = {part.what for phase in recipe.phases for part in phase.stages if part.trained}
    if len(whats) == 1 and (only := whats.pop()) in ALONE:
        return only
    if not any(phase.stages[i].trained for phase in recipe.phases for i in kept):
        return "norm"  # only BatchNorm's scale and shift
    stepped = [p for p in recipe.phases if p.takes_steps]
    if len(stepped) > 1:
        return _phased_key(recipe)
    if not all(moved):
        # frozen ones first, or any other way
        if moved == sorted(moved):
            return "freeze@K"
        return "surgical"
    if recipe.head_origin == "pretrained":
        return "continue"
    if recipe.solves_head:
        if recipe.interpolated:
            return "wise-ft"
        return "lp-ft"
    if recipe.phases[-1].pull:
        return "l2sp"
    return "finetune"


def _is_moved(recipe: Recipe, index: int) -> bool:
    """Some weight of stage index + 1 is trained; BatchNorm's statistics alone don't count."""
    return any(p.stages[index].trained or p.stages[index].batchnorm in ("affine", "all") for p in recipe.phases)


def _reinitialised_key(recipe: Recipe, moved: list[bool]) -> str:
    fresh = [origin == "reinitialised" for origin in recipe.origins[: recipe.keep]]
    if all(fresh):
        if all(moved):
            return "scratch"
        return "random-features"
    kept_moved = {m for m, new in zip(moved, fresh, strict=True) if not new}
    if fresh != sorted(fresh) or not all(m for m, new in zip(moved, fresh, strict=True) if new) or len(kept_moved) > 1:
        return "reinit-part"
    if kept_moved == {True}:
        return "reinit@K"
    return "reinit-freeze@K"


def _still_key(recipe: Recipe) -> str:
    """Where no weight of any stage moves."""
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
    """Several stepped phases: the head first and then all is LP-FT; from the head downwards, one more each: gradual."""
    sets = [tuple(part.trained for part in phase.stages[: recipe.keep]) for phase in recipe.phases]
    downwards = all(s == tuple(sorted(s)) for s in sets)
    grows = all(sum(a) < sum(b) for a, b in pairwise(sets))
    if not (downwards and grows):
        return "multi-stage"
    if len(sets) == 2 and not any(sets[0]):
        if all(sets[1]):
            return "lp-ft"
        return "freeze@K"
    return "gradual"


def _added(recipe: Recipe, key: str) -> list[str]:
    """What a recipe does beside that which its term says."""
    last = recipe.phases[-1]
    moving = [part for part in last.stages[: recipe.keep] if part.trained]
    found = {
        "head-first": recipe.solves_head and recipe.takes_steps and key not in ("lp-ft", "wise-ft", "gradual"),
        "pull": any(p.pull for p in recipe.phases) and key != "l2sp",
        "mix": recipe.interpolated and key != "wise-ft",
        "layer-rates": len({part.lr_factor for part in moving}) > 1,
        "statistics": key != "adabn"
        and any(
            part.batchnorm == "statistics"
            for i, part in enumerate(last.stages[: recipe.keep])
            if recipe.origins[i] == "pretrained"
        ),
    }
    return [name for name, here in found.items() if here]


def origin_summary(recipe: Recipe) -> str:
    """One line such as 'stages 1-4 pretrained, frozen; 5-6 pretrained, trained; head new'."""
    if not recipe.needs_network:
        return "no network"
    words = [_fate_of_stages(recipe, index) for index in range(recipe.keep)]
    parts = []
    start = 1
    for fate, group in groupby(words):
        count = len(list(group))
        if count == 1:
            span = f"{start}"
        else:
            span = f"{start}-{start + count - 1}"
        parts.append(f"{span} {fate}")
        start += count
    if recipe.cut_short:
        parts.append(
            f"{start}-{len(recipe.origins)} thrown away" if start < len(recipe.origins) else f"{start} thrown away"
        )
    return "stages " + "; ".join([*parts, f"head {recipe.head_origin}"])


def _fate_of_stages(recipe: Recipe, index: int) -> str:
    trained = [phase.stages[index] for phase in recipe.phases if phase.stages[index].trained]
    what = {part.what for part in trained}
    if not trained:
        fate = "frozen"
    else:
        if "all" in what:
            fate = "trained"
        else:
            fate = " and ".join(MOVING[w] for w in sorted(what))
    return f"{recipe.origins[index]}, {fate}"
