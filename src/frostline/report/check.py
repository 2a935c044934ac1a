"""What was understood of the data, as text for the console."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from frostline.report.plot import text_table

PARTS = {"development": "to learn from", "validation": "to validate", "sealed": "sealed test"}
MOST = 40  # classes in the table
EXAMPLES = 3


def check_text(found: Mapping[str, Any], width: int = 100) -> str:
    """Write a Checkup (as JSON values): classes, files or texts, the network's input, and what is left out or odd."""
    lines = [_class_table(found["classes"]).rstrip("\n"), ""]
    for sentence in (*_data_sentences(found), *_network_sentences(found), *_warning_sentences(found["warnings"])):
        lines += textwrap.wrap(sentence, max(width, 40), subsequent_indent="  ", break_long_words=False)
    return "\n".join(lines) + "\n"


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> str:
    names = list(classes)
    parts = list(classes[names[0]])
    rows = [(name, *(f"{classes[name][part]:,}" for part in parts)) for name in names[:MOST]]
    if len(names) > MOST:
        rest = names[MOST:]
        totals = (sum(classes[name][part] for name in rest) for part in parts)
        rows.append((f"and {len(rest)} more", *(f"{total:,}" for total in totals)))
    rows.append((f"{len(names)} classes", *(f"{sum(c[part] for c in classes.values()):,}" for part in parts)))
    return text_table(("class", *(PARTS[part] for part in parts)), rows)


def _data_sentences(found: Mapping[str, Any]) -> list[str]:
    sentences = [f"Sealed test: {found['sealed_from']}."]
    images = found["images"]
    texts = found["texts"]
    if images and images["sizes"]:
        small, middle, large = (f"{w} x {h}" for w, h in images["sizes"])
        formats = ", ".join(f"{count:,} {name}" for name, count in images["formats"].items())
        modes = ", ".join(f"{count:,} {name}" for name, count in images["modes"].items())
        sentences += [
            f"Files: {formats}; colour modes: {modes}.",
            f"Sizes: {small} to {large} pixels, the middle one {middle}.",
        ]
        if images["misnamed"]:
            some = ", ".join(images["misnamed"][:EXAMPLES])
            sentences.append(f"Wrong endings, read all the same: {len(images['misnamed'])} ({some}).")
    if texts:
        fewest, middle, most = texts["words"]
        sentences.append(f"Texts: {fewest} to {most:,} words, the middle one {middle}.")
        if texts["tokens"]:
            fewest, middle, most = texts["tokens"]
            sentences.append(f"As the network reads them: {fewest} to {most:,} tokens, the middle one {middle}.")
    return sentences


def _network_sentences(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    how = found["preprocess"]
    if how and "mode" in how:
        height, width = how["size"]
        fit = "the whole image squashed to a square" if how["fit"] == "squash" else "cropped from the centre"
        sentences.append(
            f"Network: {found['model']} gets {how['mode']} images of {width} x {height} pixels: short side to "
            f"{how['resize']}, {fit}."
        )
    sentences += found["notes"]
    if found["inputs"]:
        v = found["inputs"]
        sentences.append(
            f"Its numbers lie from {v['low']:.2f} to {v['high']:.2f}, mean {v['mean']:.2f}, standard deviation "
            f"{v['std']:.2f}; about 0 and 1 are usual."
        )
    if found["sheet"]:
        sentences.append(f"Examples as the network gets them: {found['sheet']}. Look at colours, rotation and crop.")
    return sentences


def _warning_sentences(warnings: list[Mapping[str, Any]]) -> list[str]:
    if not warnings:
        return ["Nothing is left out, and nothing looks odd."]
    return [f"{w['count']} {w['kind']} ({', '.join(w['examples'][:EXAMPLES])}): {w['handled']}." for w in warnings]
