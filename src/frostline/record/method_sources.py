"""The sources of exactly those methods that one run used."""

from __future__ import annotations

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.recipe.literature import CITATIONS
from frostline.recipe.recipe import Recipe
from frostline.recipe.terms import NamedTerm


def sources_of(result: RunResult, recipe: Recipe, named: NamedTerm) -> list[schema.SourceRecord]:
    """What was used, and where it comes from: of the chosen strategy, its training, the comparison, the figures."""
    found = [(f"{named.words}, the method or the word", key) for key in named.sources]
    found += _training(result, recipe) + _comparison(result) + _figures(result)
    return [schema.SourceRecord(what=what, source=CITATIONS[key]) for what, key in dict.fromkeys(found)]


def _training(result: RunResult, recipe: Recipe) -> list[tuple[str, str]]:
    found = []
    if recipe.solves_head:
        found.append(("logistic regression solved by L-BFGS over a path of L2 penalties", "kornblith"))
    stepped = [phase for phase in recipe.phases if phase.takes_steps]
    if any(phase.optimiser == "adamw" for phase in stepped):
        found.append(("AdamW", "loshchilov-adamw"))
    if stepped:
        found.append(("cosine decay of the learning rate", "loshchilov-sgdr"))
        if not result.settings.get("epochs"):
            found.append(("rate held, then decayed", "hagele"))
        if recipe.head_origin == "new" and not recipe.solves_head:
            found.append(("new head that starts from zero", "kolesnikov"))
    if result.settings.get("layer_decay") and recipe.kind != "own":
        found.append(("rates that decay layer by layer", "clark"))
    return found


def _comparison(result: RunResult) -> list[tuple[str, str]]:
    """Only what was computed: without a pair there is no test, and with a single block no correction for folds."""
    found = []
    several = len(result.blocks) > 1
    if several:
        found.append(("intervals over folds whose training sets overlap", "nadeau"))
    if result.pairs:
        found.append(("correction for several comparisons", "holm"))
        found.append(("'as good' within a margin: two one-sided tests", "schuirmann"))
    networks = [s for s in result.strategies if s.status in ("raced", "eliminated", "failed") and s.name != "baseline"]
    if result.blocks and len(networks) > 1 and result.settings.get("prefer", "cheapest") == "cheapest":
        found.append(("the cheapest within one standard error", "breiman"))
    if result.settings.get("metric") == "f1-macro" and result.blocks:
        found.append(("variance of macro F1", "jaeckel"))
    if any(s.name == "baseline" and s.status in ("raced", "eliminated") for s in result.strategies):
        found.append(("probabilities of the pixel baseline", "guo"))
    return found


def _figures(result: RunResult) -> list[tuple[str, str]]:
    found = [("interval of the sealed accuracy", "wilson"), ("expected calibration error", "guo")]
    if result.calibration and result.calibration.temperature is not None:
        found.append(("temperature scaling", "guo"))
    if result.doubts and "confident learning" in result.doubts.method:
        found.append(("likely label errors", "northcutt"))
    return found
