"""The answer in one sentence, and what a newcomer needs to read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from frostline.recipe.recipe import named_for, source_and_strategy
from frostline.report.networks import start_words
from frostline.report.stored import verdict_of

Values = Mapping[str, Any]

FORECAST_BASIS = {"image": "the network's gradients", "text": "a few training steps, which were undone,"}

# What to do, for each strategy of the catalogue; `{kept}` is the number of frozen or kept stages.
ADVICE: Mapping[str, str] = {
    "baseline": "You need no network here",
    "as-is": "Train nothing: use the network as it is",
    "probe": "Freeze every layer and train only a new last layer",
    "probe@K": "Cut the network after stage {kept} and train only a new last layer there",
    "freeze@K": "Freeze the first {stages} and train the rest",
    "finetune": "Freeze nothing: train every layer at a low rate",
    "lp-ft": "Train a new last layer first, then every layer",
    "gradual": "Unfreeze the layers step by step, from the last to the first",
    "continue": "Keep the network's own last layer and go on training every layer",
    "scratch": "Forget the pre-trained weights and train from scratch",
    "reinit-freeze@K": "Keep the first {stages} frozen, and train the others from random weights",
    "reinit@K": "Keep the weights of the first {stages}, start the others at random, and train all",
    "norm": "Train only the normalisation layers and a new last layer",
    "bias": "Train only the biases and a new last layer",
    "lora": "Train low-rank adapters and a new last layer",
    "wise-ft": "Mix the weights of a new last layer alone with those of full fine-tuning",
    "l2sp": "Train every layer, held close to its pre-trained values",
}


def advice(strategy: Values) -> str:
    """Return what to do, as a command; a recipe of one's own is told by what happens to its stages."""
    source, name = source_and_strategy(str(strategy["name"]))
    base, at, _ = name.partition("@")
    words = ADVICE.get(f"{base}@K" if at else base)
    start = start_words(source)
    if words is None or (at and not strategy["stages"]):  # an old record doesn't list stages
        return f"{start}Use {name}: {strategy['origin_summary']}"
    kept = sum(fate.startswith("pretrained") for fate in strategy["stages"][:-1])
    if base == "freeze":
        kept = sum(fate == "pretrained, frozen" for fate in strategy["stages"][:-1])
    count = f"{kept} stages" if kept != 1 else "stage"
    return start + words.format(stages=count, kept=kept)


def should_freeze(strategy: Values) -> str:
    """Answer "should I freeze?" in a word or two; empty where the strategy has no network.

    An old record doesn't list stages: there its summary of them is the answer.
    """
    fates = strategy["stages"][:-1]
    if not fates:
        summary = str(strategy["origin_summary"])
        if summary == "no network":
            return ""
        return f"{summary.capitalize()}."
    frozen = sum(fate == "pretrained, frozen" for fate in fates)
    if frozen == len([fate for fate in fates if fate != "thrown away"]):
        return "Yes, all of it."
    if frozen:
        return f"Partly: {frozen} of {len(fates)} stages."
    if all(fate.startswith("pretrained, ") and fate != "pretrained, trained" for fate in fates):
        return "Mostly: only a small part of each stage is trained."
    return "No."


def sealed_words(result: Values) -> str:
    """Say how the final model did on the sealed part, with its interval."""
    test = result["test"]
    low, high = test["ci"]
    return (
        f"{percent(test['accuracy'])} right on {test['n']:,} sealed samples that played no part in any choice "
        f"(95 % interval {percent(low)} to {percent(high)})"
    )


def short_data_name(result: Values) -> str:
    """Return the last part of the data's path."""
    return PurePath(str(result["data"]["path"])).name


def short_model_name(result: Values) -> str:
    """Return the network's spec, of a file its last part only: `torch:model.py:resnet`."""
    source, colon, rest = str(result["model"]["spec"]).partition(":")
    return f"{source}{colon}{PurePath(rest).name}" if rest else source


def percent(share: float) -> str:
    """Format a share: `94.0 %`."""
    return f"{100 * share:.1f} %"


def facts(result: Values) -> list[tuple[str, str]]:
    """Return the few numbers beneath the answer, as (what, figure)."""
    verdict = verdict_of(result)
    data = result["data"]
    noun = "texts" if data["modality"] == "text" else "images"
    low, high = result["test"]["ci"]
    found = [
        ("sealed test", percent(result["test"]["accuracy"])),
        ("95 % interval", f"{percent(low)} to {percent(high)}"),
    ]
    found.append(("labelled " + noun, f"{data['n_development']:,} in {len(data['classes'])} classes"))
    if verdict["trained_parameters"]:
        found.append(("parameters trained", f"{verdict['trained_parameters']:,}"))
    fine_tuned = named_for(source_and_strategy(verdict["name"])[0], "finetune")
    full = next((s for s in result["strategies"] if s["name"] == fine_tuned), None)
    if full and full["operations"] and verdict["operations"] and full is not verdict:
        found.append(("cost", f"{100 * verdict['operations'] / full['operations']:.0f} % of full fine-tuning"))
    return found


def glossary(result: Values) -> list[tuple[str, str]]:
    """Explain the words of the page, with this run's own numbers, as (word, meaning)."""
    words = [*_network_words(result), *_evidence_words(result)]
    if result["forecast"]:
        words.append(
            (
                "forecast",
                f"What a strategy would reach, estimated from {FORECAST_BASIS[result['data']['modality']]} before the "
                "strategy is trained. It is never mixed with measured numbers.",
            )
        )
    return words


def _network_words(result: Values) -> list[tuple[str, str]]:
    model = result["model"]
    verdict = verdict_of(result)
    return [
        (
            "pre-trained network",
            f"A network whose {model['parameters']:,} numbers (its weights) were learnt on other, larger data. Here it "
            f"was {short_model_name(result)}.",
        ),
        (
            "stage",
            f"A piece of the network between two places where it can be cut. This one has {len(model['stages'])}, "
            f"counted from the input. The last layer, which names the classes, is called the head.",
        ),
        (
            "to freeze",
            "To leave weights as they are. Frozen stages are computed once and stored, so they cost almost nothing, "
            f"and {result['audit']['frozen_unchanged']:,} frozen tensors of this run were proven not to have changed.",
        ),
        (
            "to train, to fine-tune",
            "To change weights step by step so that the labels are predicted better. How far a step goes is the "
            f"learning rate.{_rate_words(verdict)}",
        ),
        (
            "to re-initialise",
            "To throw a layer's weights away and start it from random numbers. A new head always starts that way.",
        ),
    ]


def _evidence_words(result: Values) -> list[tuple[str, str]]:
    data = result["data"]
    noun = "texts" if data["modality"] == "text" else "images"
    return [
        *_split_words(result, noun),
        (
            "sealed test",
            f"{data['n_test']:,} {noun} that were set aside ({data['sealed']}) and opened once, after the verdict. So "
            "their accuracy is not flattered by any choice.",
        ),
        (
            "95 % interval",
            "The range that the data leave open. The fewer samples, the wider. Where two intervals overlap much, the "
            "data may not tell the two apart.",
        ),
        (
            "log loss",
            "How wrong the predicted probabilities are, in nats: 0 is perfect, "
            f"{_guessing(len(data['classes']))} is guessing among {len(data['classes'])} classes.",
        ),
    ]


def _split_words(result: Values, noun: str) -> list[tuple[str, str]]:
    """Explain blocks; nothing where a strategy ran alone, on none."""
    blocks = result["blocks"]
    if not blocks:
        return []
    sizes = f"{blocks[0]['n_train']:,} and was judged on the same {blocks[0]['n_validation']:,}"
    splits = f"{len(blocks)} paired split{'s' * (len(blocks) != 1)}"
    labelled = f"{result['data']['n_development']:,} labelled {noun}"
    return [("blocks", f"{splits} of your {labelled}: every strategy learnt from the same {sizes}.")]


def _rate_words(verdict: Values) -> str:
    if not verdict["rate"]:
        return ""
    return f" The verdict used {verdict['rate']:g}."


def _guessing(classes: int) -> str:
    return f"{math.log(classes):.2f}"
