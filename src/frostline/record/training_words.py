"""How the chosen strategy was trained, in sentences of the methods paragraph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.recipe.recipe import Phase, Recipe
from frostline.record.facts import spoken
from frostline.train.solve import L2_PATH

if TYPE_CHECKING:
    from frostline.record.facts import Facts

OPTIMISERS = {"adamw": "AdamW", "sgd": "SGD with momentum 0.9"}


def training_words(result: RunResult, facts: Facts, chosen: schema.StrategyRecord) -> list[str]:
    """The sentences on how the chosen strategy's weights were found."""
    recipe = facts.recipe
    if recipe.trains_nothing:
        return ["Nothing was trained."]
    weighed = ", class-balanced loss" if result.settings.get("class_weights") else ""
    if recipe.is_solved:
        penalty = f" ({chosen.l2:g})" if chosen.l2 is not None else ""
        return [
            f"The head was L2-penalised logistic regression on standardised pooled features{weighed}, solved by "
            f"L-BFGS; its penalty{penalty} was chosen from {len(L2_PATH)} values by log loss on "
            "inner folds."
        ]
    stepped = [phase for phase in recipe.phases if phase.takes_steps]
    first = []
    if recipe.solves_head:
        first = ["First the head was solved as L2-penalised logistic regression on frozen features."]
    mixed = [_mixing(result, chosen)] if recipe.interpolated else []
    return [*first, _steps(result, facts, chosen, stepped, weighed), _found(result, recipe, chosen), *mixed]


def _steps(
    result: RunResult, facts: Facts, chosen: schema.StrategyRecord, phases: Sequence[Phase], weighed: str
) -> str:
    last = phases[-1]
    several = f", in {len(phases)} phases ({', '.join(phase.name for phase in phases)})" if len(phases) > 1 else ""
    epochs = f" ({chosen.epochs:.1f} epochs)" if chosen.epochs else ""
    length = f"{chosen.steps:,} steps{epochs}" if chosen.steps else "steps"
    falling = " (the loss was still falling)" if chosen.undertrained else ""
    tail = "decay" if result.settings.get("epochs") else "decay at the end"
    smooth = f", label smoothing {last.label_smoothing:g}" if last.label_smoothing else ""
    return (
        f"Training used {OPTIMISERS[last.optimiser]}{_decay(last)}{weighed}, batches of up to {facts.batch_size}, "
        f"{length} with warm-up and cosine {tail}{falling}{smooth}{several}, at a rate of "
        f"{_rates(facts.recipe, last, chosen)}."
    )


def _decay(phase: Phase) -> str:
    """Weight decay, or the pull that stands in its place."""
    parts = [part for part in (*phase.stages, phase.head) if part.trained]
    values = sorted({part.weight_decay for part in parts})
    told = []
    if phase.pull or phase.head_pull:
        told.append(f"an L2 pull of {phase.pull:g} towards the start ({phase.head_pull:g} towards zero in the head)")
    if values != [0.0]:
        told.append(f"weight decay {' to '.join(f'{v:g}' for v in sorted({values[0], values[-1]}))} on matrices")
    return f" with {spoken(told)}" if told else " without weight decay"


def _rates(recipe: Recipe, phase: Phase, chosen: schema.StrategyRecord) -> str:
    """The rate, with the factors of stages and head on it."""
    rate = f"{chosen.rate:g}" if chosen.rate is not None else "its own"
    stages = sorted({part.lr_factor for part in phase.stages[: recipe.keep] if part.trained})
    told = []
    if stages and stages != [1.0]:
        told.append(
            f"times {stages[0]:.3g} to {stages[-1]:.3g} over the stages"
            if len(stages) > 1
            else f"times {stages[0]:.3g} for stages"
        )
    if phase.head.trained and phase.head.lr_factor != 1.0:
        told.append(f"times {phase.head.lr_factor:g} for the head")
    return f"{rate} ({spoken(told)})" if told else rate


def _found(result: RunResult, recipe: Recipe, chosen: schema.StrategyRecord) -> str:
    """Who chose the rate and the length, and on what."""
    alone, by_hand = not result.blocks, "the length was set by hand."
    searched = "Log loss on inner rows chose"
    length = "the length" if alone else "the length (median of all blocks)"
    tried = len(chosen.rates_tried)
    if tried > 1 and not result.settings.get("lr"):
        rate = f"{searched} the rate (of {tried}{'' if alone else ', on the first block'})"
        return f"{rate}; {by_hand}" if result.settings.get("epochs") else f"{rate} and {length}."
    if result.settings.get("lr"):
        rate = "The rate was set by hand"
    elif len(recipe.rates) > 1:
        rate = f"The rate is the middle one of {len(recipe.rates)} and was not tuned"
    else:
        rate = "The rate stood in the recipe"
    return f"{rate}; {by_hand}" if result.settings.get("epochs") else f"{rate}. {searched} {length}."


def _mixing(result: RunResult, chosen: schema.StrategyRecord) -> str:
    mix = 0.5 if chosen.mix is None else chosen.mix
    how = "chosen on inner rows" if result.blocks else "not tuned"
    return f"The final weights lie at {mix:g} ({how}) between the solved and the trained network."
