"""adapt.html: which arm to use on data of another distribution, as one self-contained page made from adapt.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.report.adapt import (
    ARM_HEADER,
    ESTIMATES,
    SCORE_NAMES,
    opened_sentence,
    score_rows,
    table_sentences,
    told_sentences,
    way_rows,
)
from frostline.report.answer import percent
from frostline.report.figures.adapt import adapt_figure
from frostline.report.page import render, write_page
from frostline.report.panels import Panel, Shown

FILE = "adapt.html"
MEANINGS = {
    "atc": "Share of target samples that are answered more surely than a threshold; on source samples that the network "
    "didn't learn from, as many lie above it as are right.",
    "atc-confidence": "The same by the largest probability, where the one above goes by the entropy.",
    "infomax": "High where answers are sure and all classes are used (nats). Says nothing where the classes' shares "
    "differ.",
    "snd": "High where answers form dense clusters (nats).",
    "dev": "Accuracy on source samples that the network didn't learn from; those that resemble the target count more.",
    "ensv": "Share of target samples that the arm answers as the mean of all arms does.",
}

Values = Mapping[str, Any]


def write_adapt_page(result: Values, folder: Path) -> Path:
    """Write the page of an adaptation (adapt.json as plain values) into its folder and return its path."""
    path = folder / FILE
    write_page(path, adapt_page(result))
    return path


def adapt_page(result: Values) -> str:
    """Return the page as HTML."""
    shown = [_arms_panel(result)]
    contents = [
        ("answer", "The answer"),
        *((panel.id, panel.title) for panel in shown),
        ("shift", "The shift"),
        ("scores", "What the scorers say"),
        ("record", "How this was made"),
    ]
    name = Path(result["target"]["path"]).name or result["target"]["path"]
    header, rows = score_rows(result)
    return render(
        "adapt.html.j2",
        shown,
        contents,
        title=f"Adapting to {name}",
        result=result,
        facts=_adapt_facts(result),
        told=told_sentences(result),
        estimates=ESTIMATES,
        scores={"header": header, "rows": rows},
        meanings=[(SCORE_NAMES[key], meaning, result["scorers"][key]) for key, meaning in MEANINGS.items()],
    )


def _adapt_facts(result: Values) -> list[tuple[str, str]]:
    target = result["target"]
    chosen = next(arm for arm in result["arms"] if arm["name"] == result["choice"]["arm"])
    facts = [("choice", chosen["name"]), ("target samples", f"{target['n']:,}")]
    if chosen["estimated_accuracy"] is not None:
        facts.append(("estimated accuracy", percent(chosen["estimated_accuracy"])))
    if chosen["cross_validated"] is not None:
        facts.append(("by labelled samples", percent(chosen["cross_validated"]["accuracy"])))
    if result["opened"] is not None:
        facts.append(("accuracy, opened labels", percent(result["opened"]["chosen"])))
        if chosen["name"] != "as-is":
            facts.append(("as it was", percent(result["opened"]["as_is"])))
    return facts


def _arms_panel(result: Values) -> Panel:
    header, rows = ARM_HEADER, way_rows(result)
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    caption = "A line for each way of adapting; the shaded one was chosen. Open diamonds are estimates, made without "
    caption += "target labels."
    if result["opened"] is not None:
        caption += " Dots are the share that was right once the target's labels were opened, with its 95 % interval."
    elif any(arm["cross_validated"] is not None for arm in result["arms"]):
        caption += (
            " Dots are the share of labelled target samples that was right, each predicted without its own label."
        )
    shown = Shown(
        key="arms",
        figure=adapt_figure(result),
        caption=caption,
        alt=opened_sentence(result) or result["choice"]["reason"],
        header=[header[i] for i in used],
        rows=[[row[i] for i in used] for row in rows],
    )
    return Panel(id="arms", title="Ways of adapting", lead=table_sentences(result), shown=(shown,))
