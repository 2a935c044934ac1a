"""A diagnosis as text: the situation, what shows it, the shares of the classes, what can't be seen, what helps."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.report.plot import text_table

Values = Mapping[str, Any]

LEVEL_WORDS = {"input": "at the input", "feature": "in the features", "output": "at the output"}
TEST_WORDS = {
    "moments": "means against those that the run keeps",
    "all-depths": "all depths and outputs together",
    "c2st": "a classifier tells the sides apart (AUC)",
    "mmd": "distance of the means (MMD)",
    "outputs-c2st": "a classifier on the outputs (AUC)",
    "outputs-mmd": "distance of the outputs (MMD)",
    "predicted-classes": "shares of the predicted classes (chi-squared)",
    "within-predicted-classes": "features, among equal predictions",
    "label-shares": "shares of the labels (chi-squared)",
    "within-classes": "features, within the classes",
    "refitted-head": "a head refitted to the target's labels (gain)",
}
METHOD_WORDS = {
    "counted": "counted from the target's labels",
    "em": "estimated without labels (EM)",
    "bbse": "estimated without labels (BBSE)",
}
EVIDENCE_HEADER = ("test", "depth", "value", "p", "shown")
SHARE_HEADER = ("class", "in the source", "in the target", "95 % interval")
SHARE_CAPTION = (
    "Estimates without labels hold where the classes have other shares and nothing else differs. Their intervals allow "
    "for chance alone."
)
NOT_SO_HERE = "Here something else differs too, so they may be far off."
HOLDS = ("none-shown", "label")  # situations in which the estimates hold
MOST_CLASSES = 20  # rows of a table of classes in a terminal


def shift_text(result: Values, path: Path | None, width: int = 100) -> str:
    """Write a diagnosis (shift.json as plain values); `path` is its folder."""
    lines = [headline(result), ""]
    for sentence in (*result["sentences"], *side_sentences(result)):
        lines += textwrap.wrap(sentence, max(width, 40))
    if result["evidence"]:
        lines += ["", text_table(EVIDENCE_HEADER, evidence_rows(result))]
    for found in result["proportions"]:
        lines += ["", f"Shares of the classes, {METHOD_WORDS[found['method']]}:"]
        lines += [text_table(SHARE_HEADER, share_rows(found)[:MOST_CLASSES])]
    lines += textwrap.wrap(share_caption(result), max(width, 40))
    if result["cannot_see"]:
        lines += ["", "What these data can't show:"]
        for sentence in result["cannot_see"]:
            lines += _list_item("-", sentence, width)
    lines += ["", "What may help, the most promising first:"]
    for number, remedy in enumerate(result["remedies"], 1):
        lines += _list_item(f"{number}.", remedy_sentence(remedy), width)
    following = next_command(result)
    lines.append("")
    if following:
        lines.append(f"Next:  {following}")
    if path is not None:
        lines.append(f"Page:  {path / 'shift.html'}")
    return "\n".join(lines) + "\n"


def _list_item(mark: str, sentence: str, width: int) -> list[str]:
    indent = " " * (len(mark) + 1)
    return textwrap.wrap(f"{mark} {sentence}", max(width, 40), subsequent_indent=indent)


def headline(result: Values) -> str:
    """Return `Situation: covariate, at the input`."""
    text = f"Situation: {result['situation']}"
    if result["level"] is not None:
        text += f", {LEVEL_WORDS[result['level']]}"
    return text


def side_sentences(result: Values) -> list[str]:
    """Return what was compared, and what was found of the samples besides the tests."""
    source, target = result["source"], result["target"]
    noun = "texts" if result["modality"] == "text" else "images"
    own = f"{source['n']:,} source {noun}"
    if not source["n"]:
        own = f"what the run keeps of its source ({source['labelled']:,} out-of-fold predictions and moments)"
    sentences = [f"Compared: {own} and {target['n']:,} target {noun}, {_labels_words(target)}."]
    if result["network"]["probabilities"]:
        sentences.append(result["network"]["probabilities"])
    if result["copies"]:
        sentences.append(f"{result['copies']:,} target samples are exact copies of source samples.")
    classes = result["classes"]
    if classes["new"]:
        sentences.append(f"Classes that the target alone has: {', '.join(classes['new'])}.")
    if classes["missing"]:
        sentences.append(f"Classes of the source without a target sample: {', '.join(classes['missing'])}.")
    return sentences


def _labels_words(target: Values) -> str:
    if not target["labelled"]:
        return "whose labels aren't known"
    if target["labelled"] == target["n"]:
        return "all with a label of the source's classes"
    return f"{target['labelled']:,} of them with a label of the source's classes"


def evidence_rows(result: Values) -> list[tuple[str, ...]]:
    """Return one row for each test."""
    return [
        (
            TEST_WORDS.get(test["name"], test["name"]),
            depth_words(test),
            f"{test['statistic']:.3f}",
            f"{test['p']:.3g}",
            "yes" if test["shown"] else "no",
        )
        for test in result["evidence"]
    ]


def depth_words(test: Values) -> str:
    """Return `3 layer2`, `inputs` for stage 0, nothing where no stage is meant."""
    if test["stage"] is None:
        return ""
    if test["stage"] == 0:
        return str(test["stage_name"])
    return f"{test['stage']} {test['stage_name']}"


def share_rows(found: Values) -> list[tuple[str, ...]]:
    """Return the shares of every class."""
    return [
        (
            one["name"],
            f"{one['source']:.3f}",
            f"{one['target']:.3f}",
            f"{one['interval'][0]:.3f} - {one['interval'][1]:.3f}",
        )
        for one in found["classes"]
    ]


def share_caption(result: Values) -> str:
    """Return what the estimated shares rest on; nothing where there are none."""
    if all(found["method"] == "counted" for found in result["proportions"]):
        return ""
    if result["situation"] in HOLDS:
        return SHARE_CAPTION
    return f"{SHARE_CAPTION} {NOT_SO_HERE}"


def remedy_sentence(remedy: Values) -> str:
    """Return `adabn: take ... : why (who says so).`"""
    start = f"{remedy['arm']}: " if remedy["arm"] else ""
    return f"{start}{remedy['action']}; {remedy['reason']} ({remedy['source']})."


def next_command(result: Values) -> str:
    """Return the command that tries the remedies; empty where there is none to try, or nothing to try it on."""
    arms: Sequence[str] = [remedy["arm"] for remedy in result["remedies"] if remedy["arm"] not in (None, "as-is")]
    if not arms:
        return ""
    target = result["target"]["path"]
    run = result["network"]["run"]
    if run:
        return shlex.join(["frostline", "adapt", target, "--model", f"run:{run}"])
    if not result["classes"]["source"]:
        return ""
    words = ["frostline", "fit", result["source"]["path"], "--model", result["settings"]["model"]]
    if result["settings"]["weights"]:
        words += ["--weights", result["settings"]["weights"]]
    return shlex.join([*words, "--target", target])
