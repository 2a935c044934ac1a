"""The findings in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.shift.findings import Level, Situation
from frostline.shift.situations import LEVEL, PValues

SITUATIONS: dict[Situation, str] = {
    "none-shown": "No difference between the two sides is shown. That doesn't prove that there is none.",
    "covariate": "The inputs look different (covariate shift): samples of one class differ between the sides.",
    "label": "The classes have other shares (label shift); nothing shows that the samples of a class look different.",
    "concept": "The labels mean something else (concept shift): the inputs look alike, but the answers differ.",
    "new-classes": "The target has classes that the source doesn't have.",
    "mixed": "The two sides differ in more than one way.",
    "cannot-tell": "The two sides differ, but without labels of the source it can't be told how.",
}
LEVELS: dict[Level, str] = {
    "input": "The first stages tell the sides apart nearly as well as any: the difference is in the images or texts "
    "themselves, such as their sharpness, lighting or style.",
    "feature": "Later stages tell the sides apart better than the first ones: the difference is in what they show.",
    "output": "The difference is in the classes, and the features of a class needn't change.",
}


def sentences_of(situation: Situation, level: Level | None, p: PValues, new: Sequence[str]) -> tuple[str, ...]:
    """Say what was found, in the order of the reasoning."""
    found = [SITUATIONS[situation]]
    found.append(f"Features at all depths and the outputs together: p = {p.features:.3g}{_said(p.features)}.")
    if p.within_predicted is not None and p.predicted is not None:
        found.append(
            f"Shares of the predicted classes: p = {p.predicted:.3g}{_said(p.predicted)}; features of samples with "
            f"the same prediction: p = {p.within_predicted:.3g}{_said(p.within_predicted)}."
        )
    if p.labels is not None and p.within_labels is not None:
        found.append(
            f"With the target's labels: shares of the classes p = {p.labels:.3g}{_said(p.labels)}; features within "
            f"the classes p = {p.within_labels:.3g}{_said(p.within_labels)}."
        )
    if p.head is not None:
        found.append(
            f"On the target's labels the source's head is right in {100 * p.head.source:.1f} % and a refitted one in "
            f"{100 * p.head.refitted:.1f} %."
        )
    if new:
        found.append(f"Only in the target: {', '.join(new)}.")
    if level is not None:
        found.append(LEVELS[level])
    return tuple(found)


def _said(p: float) -> str:
    return " (shown)" if p <= LEVEL else " (not shown)"


def blind_spots(*, labelled: bool, predicted: bool) -> tuple[str, ...]:
    """Say what these data can't show."""
    spots = []
    if not labelled:
        spots.append(
            "Without target labels a concept shift (the same inputs with other labels) can't be seen, and new classes "
            "can't be told from samples that look unusual."
        )
    if not predicted:
        spots.append("Without labels of the source, other shares of the classes can't be told from other inputs.")
    spots.append("A difference that is shown needn't do harm; only labels say how accurate the model is on the target.")
    return tuple(spots)
