"""A ranking as text: a table of sources and depths, what it advises, and how far its scores agree."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.report.plot import text_table

Values = Mapping[str, Any]

DEPTH_HEADER = (
    "source",
    "stage",
    "probe",
    "95 % interval",
    "forecast",
    "k-NN",
    "LogME",
    "H-score",
    "H shrunk",
    "NLEEP",
    "GBC",
    "TransRate",
)
DEPTH_KEYS = ("knn", "logme", "h_score", "h_score_shrunk", "nleep", "gbc", "transrate")
SCORE_NAMES = {
    "probe": "probe",
    "knn": "k-NN",
    "logme": "LogME",
    "h_score": "H-score",
    "h_score_shrunk": "H-score, shrunk",
    "nleep": "NLEEP",
    "gbc": "GBC",
    "transrate": "TransRate",
    "leep": "LEEP",
    "forecast": "forecast",
}
AGREEMENT_HEADER = ("score", "Kendall's tau", "95 % interval", "Spearman's rho", "p", "n")
MEASURED_HEADER = ("score", "weighted tau", "95 % interval", "Spearman's rho", "p", "n")
LIMITS = (
    "Scores order candidates only: their units differ from score to score, and all but the forecast are blind to what "
    "fine-tuning would repair."
)


def rank_text(result: Values, path: Path, width: int = 100) -> str:
    """Write a ranking (rank.json as plain values): table, advice, agreement, and where it lies."""
    lines = [text_table(DEPTH_HEADER, depth_rows(result)), ""]
    for sentence in (*source_sentences(result), advice_sentence(result), LIMITS):
        lines += textwrap.wrap(sentence, max(width, 40))
    lines += ["", *_agreement_lines(result, width)]
    lines += ["", f"Next:  {result['recommendation']['command']}", f"Page:  {path / 'rank.html'}"]
    return "\n".join(lines) + "\n"


def depth_rows(result: Values) -> list[tuple[str, ...]]:
    """Return one row for each depth of each source; `*` marks the best probe."""
    best = result["recommendation"]["best"]
    rows = []
    for source in result["sources"]:
        for depth in source["depths"]:
            label = source["label"]
            if (label, depth["stage"]) == (best["label"], best["stage"]):
                label = f"{label} *"
            low, high = depth["probe"]["ci"]
            rows.append(
                (
                    label,
                    f"{depth['stage']} of {source['stages']}",
                    f"{depth['probe']['accuracy']:.3f}",
                    f"{low:.3f} - {high:.3f}",
                    _accuracy(depth["forecast"]),
                    *(f"{depth[key]:.3f}" for key in DEPTH_KEYS),
                )
            )
    return rows


def _accuracy(measure: Values | None) -> str:
    if measure is None:
        return ""
    return f"{measure['accuracy']:.3f}"


def source_sentences(result: Values) -> list[str]:
    """Return what is said once of each source: fine-tuning as a whole, LEEP, and what couldn't be forecast."""
    sentences = ["Forecast: what training all stages after this one would reach."]
    whole = [f"{s['label']} {_accuracy(s['finetune'])}" for s in result["sources"] if s["finetune"]]
    if not whole:
        sentences.clear()
    else:
        sentences.append(f"Forecast of training everything: {', '.join(whole)}.")
    heads = [f"{s['label']} {s['leep']:.3f}" for s in result["sources"] if s["leep"] is not None]
    if heads:
        sentences.append(f"LEEP of the sources' own heads: {', '.join(heads)}.")
    for source in result["sources"]:
        for reason in dict.fromkeys(source["no_forecast"].values()):
            names = [name for name, why in source["no_forecast"].items() if why == reason]
            sentences.append(f"No forecast for {source['label']} ({', '.join(names)}): {reason}.")
    return sentences


def advice_sentence(result: Values) -> str:
    """Return the recommendation with what it rests on."""
    data = result["data"]
    splits = "1 split" if data["blocks"] == 1 else f"{data['blocks']} paired splits"
    basis = f"{data['development']:,} labelled samples, {splits}"
    return f"{result['recommendation']['sentence']} (From {basis}; the sealed part wasn't touched.)"


def _agreement_lines(result: Values, width: int) -> list[str]:
    rows = agreement_rows(result)
    if not rows:
        sentence = "With fewer than three sources nothing can be said of how far the scores agree."
        return textwrap.wrap(sentence, max(width, 40))
    lines = ["How far each score orders the sources as the probe does, at their last depth:"]
    lines.append(text_table(AGREEMENT_HEADER, rows))
    if result["measured"] is not None:
        for strategy in trained_strategies(result):
            lines += ["", f"... and as {strategy}, trained, does (accuracy out of fold):"]
            lines.append(text_table(MEASURED_HEADER, measured_rows(result, strategy, "last depth")))
    lines += textwrap.wrap(interval_sentence(result), max(width, 40))
    return lines


def interval_sentence(result: Values) -> str:
    """Return what so few sources mean for a correlation."""
    n = len(result["sources"])
    return (
        f"{n} sources: intervals are bootstraps over the sources, and p says how often a random order agrees as "
        "strongly, either way."
    )


def agreement_rows(result: Values, over: str = "last depth", source: str | None = None) -> list[tuple[str, ...]]:
    """Return how far every other score agrees with the probe; empty where there are too few candidates."""
    rows = []
    for entry in result["agreement"]:
        if (entry["over"], entry["source"], entry["a"]) == (over, source, "probe"):
            rows.append(correlation_cells(entry, entry["b"], "kendall"))
    return rows


def measured_rows(result: Values, strategy: str, over: str) -> list[tuple[str, ...]]:
    """Return how far every score agrees with what training a strategy reached."""
    entries = [e for e in result["measured"]["agreement"] if (e["strategy"], e["over"]) == (strategy, over)]
    return [correlation_cells(entry, entry["score"], "weighted_kendall") for entry in entries]


def correlation_cells(entry: Values, score: str, first: str) -> tuple[str, ...]:
    """Return a row: the score's name, its first correlation with interval, Spearman's, p of the first, and n."""
    interval = entry[first]["ci"]
    return (
        SCORE_NAMES[score],
        _signed(entry[first]["value"]),
        f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "",
        _signed(entry["spearman"]["value"]),
        "" if entry[first]["p"] is None else f"{entry[first]['p']:.3f}",
        str(entry["n"]),
    )


def trained_strategies(result: Values) -> Sequence[str]:
    """Return the strategies that every source was trained with, without the probe beside them."""
    return [name for name in result["measured"]["strategies"] if name != "probe"]


def _signed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.2f}"
