"""shift.html: how two data sets differ and what helps, as one self-contained page made from shift.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from frostline.report.figures.shift import shift_depth_figure, shift_shares_figure
from frostline.report.gallery import IMAGE, Card
from frostline.report.page import render, write_page
from frostline.report.panels import Panel, Shown
from frostline.report.shift import (
    EVIDENCE_HEADER,
    LEVEL_WORDS,
    METHOD_WORDS,
    SHARE_HEADER,
    evidence_rows,
    next_command,
    remedy_sentence,
    share_caption,
    share_rows,
    side_sentences,
)

FILE = "shift.html"
MEANINGS = (
    (
        "chance to tell them apart",
        "A classifier sees some samples of both sides and guesses the side of the others. 0.5 is a coin, 1 is always "
        "right (Lopez-Paz & Oquab 2017).",
    ),
    ("MMD", "How far apart the means of both sides lie, in the space of a Gaussian kernel (Gretton et al. 2012)."),
    (
        "p",
        "How often a value as large comes up when samples are dealt to the two sides at random. Groups stay whole. "
        "The values at single depths are corrected for their number.",
    ),
    (
        "shown",
        "p is at most 0.05. A difference that isn't shown may still be there; one that is shown may do no harm.",
    ),
)

Values = Mapping[str, Any]
Gallery = Mapping[str, Sequence[Mapping[str, str]]]


def write_shift_page(result: Values, cards: Gallery, folder: Path) -> Path:
    """Write the page of a diagnosis (shift.json as plain values) into its folder and return its path.

    `cards` has the samples that are shown of `source` and `target`, each with `id`, `label` and an `image` (a data
    address) or a `text`; empty to leave them out.
    """
    path = folder / FILE
    write_page(path, shift_page(result, cards))
    return path


def shift_page(result: Values, cards: Gallery) -> str:
    """Return the page as HTML."""
    shown = _panels(result)
    gallery = [(title, _cards(cards[side])) for side, title in _SIDES if cards.get(side)]
    contents = [
        ("answer", "The answer"),
        *((panel.id, panel.title) for panel in shown),
        ("remedies", "What may help"),
        *([("typical", "Typical of either side")] if gallery else []),
        ("record", "How this was made"),
    ]
    return render(
        "shift.html.j2",
        shown,
        contents,
        title=_page_title(result),
        result=result,
        facts=_shift_facts(result),
        told=side_sentences(result),
        evidence={"header": EVIDENCE_HEADER, "rows": evidence_rows(result)},
        meanings=MEANINGS,
        remedies=[remedy_sentence(remedy) for remedy in result["remedies"]],
        next_command=next_command(result),
        gallery=gallery,
    )


def _page_title(result: Values) -> str:
    """Return `How sketch differs from photo`; where the last names agree, with those before them."""
    source, target = (PurePath(result[side]["path"]).parts or ("?",) for side in ("source", "target"))
    length = 1
    while source[-length:] == target[-length:] and length < max(len(source), len(target)):
        length += 1
    return f"How {'/'.join(target[-length:])} differs from {'/'.join(source[-length:])}"


_SIDES = (("source", "Most typical of the source"), ("target", "Most typical of the target"))


def _cards(entries: Sequence[Mapping[str, str]]) -> list[Card]:
    cards = []
    for entry in entries:
        image = entry.get("image", "")
        if not IMAGE.fullmatch(image):
            image = ""
        caption = (("labelled", entry["label"]),) if entry["label"] else ()
        cards.append(Card(id=entry["id"], image=image, text=entry.get("text", ""), caption=caption))
    return cards


def _shift_facts(result: Values) -> list[tuple[str, str]]:
    facts = [("situation", result["situation"])]
    if result["level"] is not None:
        facts.append(("where", LEVEL_WORDS[result["level"]]))
    whole = next((test for test in result["evidence"] if test["name"] == "all-depths"), None)
    if whole is not None:
        facts.append(("p, all depths", f"{whole['p']:.3g}"))
    if result["source"]["n"]:
        facts.append(("source samples", f"{result['source']['n']:,}"))
    facts.append(("target samples", f"{result['target']['n']:,}"))
    return facts


def _panels(result: Values) -> list[Panel]:
    panels = []
    if any(test["name"] == "c2st" for test in result["evidence"]):
        panels.append(_stages_panel(result))
    if result["proportions"]:
        panels.append(_shares_panel(result))
    return panels


def _stages_panel(result: Values) -> Panel:
    shown = Shown(
        key="depth",
        figure=shift_depth_figure(result),
        caption="From the inputs (small grey pictures) through the network to its outputs: how well a classifier that "
        "learnt on some samples tells the side of others. The dotted line is guessing. Full marks are shown "
        "differences, open ones aren't.",
        alt=" ".join(result["sentences"]),
        header=EVIDENCE_HEADER,
        rows=evidence_rows(result),
    )
    return Panel(id="depth", title="The difference by depth", lead=(), shown=(shown,))


def _shares_panel(result: Values) -> Panel:
    rows = [
        (row[0], METHOD_WORDS[found["method"]], *row[1:])
        for found in result["proportions"]
        for row in share_rows(found)
    ]
    shown = Shown(
        key="shares",
        figure=shift_shares_figure(result),
        caption="The grey strokes are the classes' shares in the source, the dots those in the target with their 95 % "
        "intervals.",
        alt="Shares of the classes in the source and in the target.",
        header=(SHARE_HEADER[0], "how", *SHARE_HEADER[1:]),
        rows=rows,
    )
    caption = share_caption(result)
    lead = (caption,) if caption else ()
    return Panel(id="shares", title="Shares of the classes", lead=lead, shown=(shown,))
