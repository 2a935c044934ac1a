"""An adaptation as text: the choice and its reason, a table of the arms, what is an estimate and what was counted."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.report.plot import text_table

Values = Mapping[str, Any]

ARM_HEADER = (
    "arm",
    "estimated",
    "gain",
    "its interval",
    "other scorers",
    "by labels",
    "opened",
    "95 % interval",
    "on the source",
    "why not",
)
SCORE_NAMES = {
    "atc": "ATC",
    "atc-confidence": "ATC, confidence",
    "infomax": "InfoMax",
    "snd": "SND",
    "dev": "DEV",
    "ensv": "EnsV",
}
ESTIMATES = (
    "Estimates were made without target labels. Each rests on an assumption about the shift that unlabelled data can't "
    "prove."
)
SOURCE_COLUMN = "On the source: accuracy on the run's own sealed samples after the adaptation."


def adapt_text(result: Values, path: Path, width: int = 100) -> str:
    """Write an adaptation (adapt.json as plain values): the choice, its arms, and where the model lies."""
    lines = []
    for sentence in (result["choice"]["reason"], *told_sentences(result)):
        lines += textwrap.wrap(sentence, max(width, 40))
    lines += ["", text_table(ARM_HEADER, way_rows(result)), ""]
    for sentence in table_sentences(result):
        lines += textwrap.wrap(sentence, max(width, 40))
    lines += ["", f"Next:  frostline predict {path} FILES", f"Page:  {path / 'adapt.html'}"]
    return "\n".join(lines) + "\n"


def told_sentences(result: Values) -> list[str]:
    """Return the diagnosis, what the labels said, and what was missing."""
    sentences = []
    diagnosis = result["diagnosis"]
    if diagnosis is not None:
        sentences.append(f"Kind of shift: {diagnosis['situation']}.")
    opened = opened_sentence(result)
    if opened:
        sentences.append(opened)
    target = result["target"]
    if target["new_classes"]:
        sentences.append(
            f"The target has classes that the network doesn't know: {', '.join(target['new_classes'])}. Their samples "
            "count in no accuracy."
        )
    source = result["source"]
    if source["reason"]:
        sentences.append(f"The run's own samples aren't at hand: {source['reason']}")
    return sentences


def opened_sentence(result: Values) -> str:
    """Return what the sealed target labels said of the choice; empty where there were none."""
    opened = result["opened"]
    if opened is None:
        return ""
    arm = result["choice"]["arm"]
    right = f"{arm} is right on {100 * opened['chosen']:.1f} %"
    text = f"The target's {opened['n']:,} labels, opened after the choice: {right}"
    if arm != "as-is":
        text += f", the network as it is on {100 * opened['as_is']:.1f} %"
    if opened["regret"] <= 0:
        return f"{text}; no arm is better."
    return f"{text}; the best arm ({opened['best']}) is {100 * opened['regret']:.1f} points better."


def table_sentences(result: Values) -> list[str]:
    """Return how the table is to be read."""
    sentences = []
    if any(arm["estimated_accuracy"] is not None for arm in result["arms"]):
        sentences.append(ESTIMATES)
    if any(arm["held_out"] is not None for arm in result["arms"]):
        sentences.append(SOURCE_COLUMN)
    return sentences


def way_rows(result: Values) -> list[tuple[str, ...]]:
    """Return one row for each arm; `*` marks the one that was chosen."""
    rows: list[tuple[str, ...]] = []
    for arm in result["arms"]:
        name = arm["name"]
        if name == result["choice"]["arm"]:
            name = f"{name} *"
        gain = arm["gain"]
        interval = ""
        if gain is not None:
            low, high = gain["ci"]
            interval = f"{100 * low:+.1f} to {100 * high:+.1f}"
        test = arm["test"]
        rows.append(
            (
                name,
                _share_cell(arm["estimated_accuracy"]),
                "" if gain is None else f"{100 * gain['difference']:+.1f}",
                interval,
                votes_words(arm["votes"]),
                _rounded_accuracy(arm["cross_validated"]),
                _rounded_accuracy(test),
                "" if test is None else f"{test['ci'][0]:.3f} - {test['ci'][1]:.3f}",
                _rounded_accuracy(arm["held_out"]),
                arm["reason"] or arm["unsuited"] or "",
            )
        )
    return rows


def votes_words(votes: Values | None) -> str:
    """Say how many of the other scorers prefer an arm."""
    if votes is None:
        return ""
    count = len(votes["prefer"]) + len(votes["against"])
    if not count:
        return ""
    return f"{len(votes['prefer'])} of {count} for it"


def score_rows(result: Values) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of every scorer's figure for every arm that ran."""
    names = [name for name in SCORE_NAMES if any(name in arm["scores"] for arm in result["arms"])]
    rows = []
    for arm in result["arms"]:
        if arm["scores"]:
            values = [arm["scores"].get(name) for name in names]
            rows.append((arm["name"], *("" if value is None else f"{value:.3f}" for value in values)))
    return ("arm", *(SCORE_NAMES[name] for name in names)), rows


def _share_cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}"


def _rounded_accuracy(score: Values | None) -> str:
    if score is None:
        return ""
    return f"{score['accuracy']:.3f}"
