"""rank.html: which source to start from and at which depth, as one self-contained page made from rank.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.report.figures.rank import rank_depth_figure
from frostline.report.page import render, write_page
from frostline.report.panels import Panel, Shown
from frostline.report.rank import (
    AGREEMENT_HEADER,
    DEPTH_HEADER,
    LIMITS,
    MEASURED_HEADER,
    SCORE_NAMES,
    advice_sentence,
    agreement_rows,
    depth_rows,
    interval_sentence,
    measured_rows,
    source_sentences,
    trained_strategies,
)

FILE = "rank.html"
MEANINGS = {
    "probe": "Accuracy of a linear head on frozen features, out of fold, with its 95 % interval.",
    "forecast": "Accuracy that training all stages after this one would reach, from the network's gradients.",
    "knn": "Share of samples whose five nearest neighbours by cosine have their class.",
    "logme": "Log evidence of a Bayesian linear model of the classes (You et al. 2021).",
    "h_score": "How much of the features' spread lies between classes (Bao et al. 2019); says nothing where features "
    "outnumber samples.",
    "h_score_shrunk": "The same with a shrunk covariance (Ibrahim et al. 2021).",
    "nleep": "How well clusters of the features foretell the classes (Li et al. 2021).",
    "gbc": "Overlap of the classes' Gaussians, with a minus sign (Pandy et al. 2022).",
    "transrate": "How much the classes shorten a code of the features (Huang et al. 2022); grows with their number.",
    "leep": "How well the source's own classes foretell yours (Nguyen et al. 2020).",
}

Values = Mapping[str, Any]


def write_rank_page(result: Values, folder: Path) -> Path:
    """Write the page of a ranking (rank.json as plain values) into its folder and return its path."""
    path = folder / FILE
    write_page(path, rank_page(result))
    return path


def rank_page(result: Values) -> str:
    """Return the page as HTML."""
    shown = [_depth_panel(result)]
    contents = [
        ("answer", "The answer"),
        *((panel.id, panel.title) for panel in shown),
        ("scores", "All scores"),
        ("agreement", "Do the scores agree?"),
        ("record", "How this was made"),
    ]
    data_name = Path(result["data"]["path"]).name or result["data"]["path"]
    return render(
        "rank.html.j2",
        shown,
        contents,
        title=f"Which network to start from for {data_name}",
        result=result,
        advice=advice_sentence(result),
        facts=_facts(result),
        scores={"header": DEPTH_HEADER, "rows": depth_rows(result)},
        said=source_sentences(result),
        meanings=[(SCORE_NAMES[name], meaning) for name, meaning in MEANINGS.items()],
        limits=LIMITS,
        agreements=_agreement_tables(result),
        intervals=interval_sentence(result),
    )


def _facts(result: Values) -> list[tuple[str, str]]:
    data = result["data"]
    best = result["recommendation"]["best"]
    facts = [
        ("best probe", f"{best['label']}, stage {best['stage']}"),
        ("accuracy", f"{best['accuracy']:.3f} ({best['ci'][0]:.3f} to {best['ci'][1]:.3f})"),
    ]
    foreseen = result["recommendation"]["forecast"]
    if foreseen is not None:
        facts.append(("best forecast", f"{foreseen['label']}, {foreseen['strategy']}: {foreseen['accuracy']:.3f}"))
    facts.append(("labelled samples", f"{data['development']:,}"))
    facts.append(("sources", str(len(result["sources"]))))
    return facts


def _depth_panel(result: Values) -> Panel:
    shown = Shown(
        key="depth",
        figure=rank_depth_figure(result),
        caption="Full lines: a probe on the frozen features after so much of the network, out of fold, with its 95 % "
        "interval. Dashed lines: the forecast of training all that comes after it; at the left edge everything is "
        "trained.",
        alt="; ".join(_best_of(source) for source in result["sources"]),
        header=DEPTH_HEADER[:5],
        rows=[row[:5] for row in depth_rows(result)],
    )
    return Panel(id="depth", title="Accuracy by depth", lead=(), shown=(shown,))


def _best_of(source: Values) -> str:
    best = max(source["depths"], key=lambda depth: depth["probe"]["accuracy"])
    return f"{source['label']}: best probe {best['probe']['accuracy']:.3f} after stage {best['stage']}"


def _agreement_tables(result: Values) -> list[dict[str, Any]]:
    """Return the tables of agreement that there is something to say in, each with its title."""
    places = (("last depth", "the last depth of each source"), ("best depth", "each source's best depth by that score"))
    tables = [
        _titled_table(f"With the probe, at {words}", AGREEMENT_HEADER, agreement_rows(result, over))
        for over, words in places
    ]
    for source in result["sources"]:
        rows = agreement_rows(result, "depths", source["label"])
        tables.append(_titled_table(f"With the probe, over the depths of {source['label']}", AGREEMENT_HEADER, rows))
    if result["measured"] is not None:
        for strategy in trained_strategies(result):
            for over, words in places:
                title = f"With {strategy}, trained and measured out of fold, at {words}"
                tables.append(_titled_table(title, MEASURED_HEADER, measured_rows(result, strategy, over)))
    return [table for table in tables if table["rows"]]


def _titled_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"title": title, "header": header, "rows": rows}
