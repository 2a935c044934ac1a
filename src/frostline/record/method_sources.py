"""The literature sources of exactly the methods that one run used."""

from __future__ import annotations

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.recipe.literature import CITATIONS
from frostline.recipe.recipe import Recipe
from frostline.recipe.terms import NamedTerm

FORECAST_FROM = {"image": "forecast from the network's gradients", "text": "forecast from a few training steps"}


def sources_of(result: RunResult, recipe: Recipe, named: NamedTerm) -> list[schema.SourceRecord]:
    """List the methods used, with sources: the chosen strategy, its training, the comparison, the figures."""
    uses = [(f"{named.words}, the method or the word", key) for key in named.sources]
    uses += _training_sources(result, recipe)
    uses += _comparison_sources(result)
    uses += _figure_sources(result)
    return [schema.SourceRecord(what=what, source=CITATIONS[key]) for what, key in dict.fromkeys(uses)]


def _training_sources(result: RunResult, recipe: Recipe) -> list[tuple[str, str]]:
    uses = []
    if recipe.solves_head:
        uses.append(("logistic regression solved by L-BFGS over a path of L2 penalties", "kornblith"))
    stepped = [phase for phase in recipe.phases if phase.takes_steps]
    if any(phase.optimiser == "adamw" for phase in stepped):
        uses.append(("AdamW", "loshchilov-adamw"))
    if stepped:
        uses.append(("cosine decay of the learning rate", "loshchilov-sgdr"))
        uses.append(("weights averaged over the end of training", "izmailov"))
        if any(s.name == result.verdict.strategy and len(s.rates_tried) > 1 for s in result.strategies):
            uses.append(("rates and lengths dropped split by split (successive halving)", "jamieson"))
        if recipe.head_origin == "new" and not recipe.solves_head:
            uses.append(("new head that starts from zero", "kolesnikov"))
    if result.settings.get("layer_decay") and recipe.kind != "own":
        uses.append(("rates that decay layer by layer", "clark"))
    return uses


def _comparison_sources(result: RunResult) -> list[tuple[str, str]]:
    """List only what was computed: without a pair there is no test, with a single block no correction for folds."""
    uses = []
    ran = [s for s in result.strategies if s.status in ("raced", "eliminated")]
    if len(result.blocks) > 1:
        uses.append(("intervals over folds whose training sets overlap", "nadeau"))
    if result.pairs:
        uses.append(("correction for several comparisons", "holm"))
        uses.append(("'as good' within a margin: two one-sided tests", "schuirmann"))
    networks = [s for s in result.strategies if s.status in ("raced", "eliminated", "failed") and s.name != "baseline"]
    if result.blocks and len(networks) > 1 and result.settings.get("prefer", "cheapest") == "cheapest":
        uses.append(("the cheapest within one standard error", "breiman"))
    if result.settings.get("metric") == "f1-macro" and result.blocks:
        uses.append(("variance of macro F1", "jaeckel"))
    if any(s.status == "forecast" for s in result.strategies):
        source = "fort" if result.data.modality == "text" else "mu"
        uses.append((FORECAST_FROM[result.data.modality], source))
    if any(s.name == "baseline" for s in ran):
        uses.append(("probabilities of the pixel baseline", "guo"))
    return uses


def _figure_sources(result: RunResult) -> list[tuple[str, str]]:
    uses = [("interval of the sealed accuracy", "wilson"), ("expected calibration error", "guo")]
    if result.calibration and result.calibration.temperature is not None:
        uses.append(("temperature scaling", "guo"))
    if result.doubts and "confident learning" in result.doubts.method:
        uses.append(("likely label errors", "northcutt"))
    return uses
