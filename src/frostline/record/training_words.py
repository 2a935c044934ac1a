"""How the chosen strategy was trained, in sentences of the methods paragraph."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.race.plan import JUDGES
from frostline.recipe.recipe import Phase, Recipe
from frostline.record.facts import Facts, spoken
from frostline.train.solve import L2_PATH

OPTIMISERS = {"adamw": "AdamW", "sgd": "SGD with momentum 0.9"}


def training_words(result: RunResult, facts: Facts, chosen: schema.StrategyRecord) -> list[str]:
    """Return the sentences on how the chosen strategy's weights were found."""
    recipe = facts.recipe
    if recipe.trains_nothing:
        return ["Nothing was trained."]
    weighted = ", class-balanced loss" if result.settings.get("class_weights") else ""
    if recipe.is_solved:
        return [_solved_sentence(chosen, weighted)]
    sentences = []
    if recipe.solves_head:
        sentences.append("First the head was solved as L2-penalised logistic regression on frozen features.")
    sentences.append(_steps_sentence(facts, chosen, weighted))
    sentences.append(_tuning_sentence(result, recipe, chosen))
    if recipe.interpolated:
        sentences.append(_mixing_sentence(result, chosen))
    return sentences


def _solved_sentence(chosen: schema.StrategyRecord, weighted: str) -> str:
    penalty = ""
    if chosen.l2 is not None:
        penalty = f" ({chosen.l2:g})"
    return (
        f"The head was L2-penalised logistic regression on standardised pooled features{weighted}, solved by "
        f"L-BFGS; its penalty{penalty} was chosen from {len(L2_PATH)} values by log loss on inner folds."
    )


def _steps_sentence(facts: Facts, chosen: schema.StrategyRecord, weighted: str) -> str:
    phases = [phase for phase in facts.recipe.phases if phase.takes_steps]
    last = phases[-1]
    text = (
        f"Training used {OPTIMISERS[last.optimiser]}{_decay(last)}{weighted}, batches of up to {facts.batch_size}, "
        f"{_length(chosen)} with warm-up and cosine decay, the weights averaged over the last third"
    )
    if chosen.undertrained:
        text += " (the loss was still falling)"
    if last.label_smoothing:
        text += f", label smoothing {last.label_smoothing:g}"
    if len(phases) > 1:
        text += f", in {len(phases)} phases ({', '.join(phase.name for phase in phases)})"
    return f"{text}, at a rate of {_rates(facts.recipe, last, chosen)}."


def _length(chosen: schema.StrategyRecord) -> str:
    if not chosen.steps:
        return "steps"
    if not chosen.epochs:
        return f"{chosen.steps:,} steps"
    return f"{chosen.steps:,} steps ({chosen.epochs:.1f} epochs)"


def _decay(phase: Phase) -> str:
    """Describe weight decay, or the pull that takes its place."""
    values = sorted({part.weight_decay for part in (*phase.stages, phase.head) if part.trained})
    terms = []
    if phase.pull or phase.head_pull:
        terms.append(f"an L2 pull of {phase.pull:g} towards the start ({phase.head_pull:g} towards zero in the head)")
    if values != [0.0]:
        bounds = sorted({values[0], values[-1]})
        terms.append(f"weight decay {_span(bounds, 'g')} on matrices")
    if not terms:
        return " without weight decay"
    return f" with {spoken(terms)}"


def _rates(recipe: Recipe, phase: Phase, chosen: schema.StrategyRecord) -> str:
    """Describe the rate, with its factors for stages and head."""
    rate = "its own" if chosen.rate is None else f"{chosen.rate:g}"
    stages = sorted({part.lr_factor for part in phase.stages[: recipe.keep] if part.trained})
    factors = []
    if len(stages) > 1:
        factors.append(f"times {_span(stages, '.3g')} over the stages")
    elif stages not in ([], [1.0]):
        factors.append(f"times {stages[0]:.3g} for stages")
    if phase.head.trained and phase.head.lr_factor != 1.0:
        factors.append(f"times {phase.head.lr_factor:g} for the head")
    if factors:
        rate += f" ({spoken(factors)})"
    return rate


def _span(values: Sequence[float], form: str) -> str:
    """Format ascending values as `low to high`, or as the single one."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{values[0]:{form}} to {values[-1]:{form}}"


def _tuning_sentence(result: RunResult, recipe: Recipe, chosen: schema.StrategyRecord) -> str:
    """Say who chose the rate and the length, and on what."""
    tried = len({t["rate"] for t in chosen.rates_tried})
    longest = max((t["steps"] for t in chosen.rates_tried), default=0)
    by_hand = result.settings.get("epochs")
    if tried < 2:
        rate = _untuned_rate(result, recipe)
        if by_hand:
            return f"{rate}; the length was set by hand."
        if chosen.rates_tried:
            return f"{rate}; log loss on held-out samples chose the length (up to {longest:.0f} steps were tried)."
        return f"{rate}."
    splits = "inner folds"
    if len(result.blocks) >= JUDGES:
        splits = "blocks"
    judged = f"by log loss on the held-out samples of {JUDGES} {splits}"
    if by_hand:
        return f"The rate was chosen (of {tried}) {judged}; the length was set by hand."
    return f"Rate (of {tried}) and length (up to {longest:.0f} steps) were chosen {judged}."


def _untuned_rate(result: RunResult, recipe: Recipe) -> str:
    if result.settings.get("lr"):
        return "The rate was set by hand"
    if len(recipe.rates) > 1:
        return f"The rate is the middle one of {len(recipe.rates)} and was not tuned"
    return "The rate was given in the recipe"


def _mixing_sentence(result: RunResult, chosen: schema.StrategyRecord) -> str:
    mix = 0.5 if chosen.mix is None else chosen.mix
    how = "chosen on inner samples" if result.blocks else "not tuned"
    return f"The final weights lie at {mix:g} ({how}) between the solved and the trained network."
