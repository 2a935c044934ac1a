"""What a comparison of several networks says: the best of each, and what training on own data first was worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from frostline.recipe.recipe import named_for
from frostline.report.figures.differences import WORDS, outcomes
from frostline.report.figures.networks import OWN_DATA_FIRST, best_of_each, label_in_words
from frostline.report.plot import text_table

Values = Mapping[str, Any]

BEST_HEADER = ("network", "parameters", "best measured", "accuracy", "best forecast", "forecast")
PAIRS_HEADER = ("strategy", "as given", "own data first", "difference (points)", "95 % interval", "shown")


def best_rows(result: Values) -> list[tuple[str, ...]]:
    """Return a row of BEST_HEADER for each network."""
    parameters = {source["label"]: source["parameters"] for source in result["sources"]}
    rows: list[tuple[str, ...]] = []
    for best in best_of_each(result):
        measured = ("", "")
        if best.measured is not None:
            measured = (best.measured["name"], f"{best.measured['accuracy']:.3f}")
        forecast = ("", "")
        if best.forecast is not None:
            forecast = (best.forecast["name"], f"{best.forecast['forecast']['accuracy']:.3f}")
        rows.append((label_in_words(best.label), f"{parameters[best.label]:,}", *measured, *forecast))
    return rows


def pretrained_rows(result: Values) -> list[tuple[str, ...]]:
    """Return a row of PAIRS_HEADER for each strategy that was measured with and without training on own data first.

    Differences are paired: both were trained and judged on the same samples. Empty in other comparisons.
    """
    entries = {s["name"]: s for s in result["strategies"]}
    pairs = {(pair["a"], pair["b"]): pair for pair in result["pairs"]}
    found = outcomes(result)
    rows: list[tuple[str, ...]] = []
    for name, plain in entries.items():
        first = entries.get(named_for(OWN_DATA_FIRST, name))
        if first is None or (first["name"], name) not in found:
            continue
        outcome, difference = found[first["name"], name]
        low, high = _pair_interval(pairs, first["name"], name)
        rows.append(
            (
                name,
                f"{plain['accuracy']:.3f}",
                f"{first['accuracy']:.3f}",
                f"{100 * difference:+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                WORDS[outcome],
            )
        )
    return rows


def _pair_interval(pairs: Mapping[tuple[str, str], Values], a: str, b: str) -> tuple[float, float]:
    """Return the interval of a - b, whichever way round the pair is recorded."""
    if (a, b) in pairs:
        low, high = pairs[a, b]["ci"]
        return low, high
    low, high = pairs[b, a]["ci"]
    return 0.0 - high, 0.0 - low


def networks_lines(result: Values) -> list[str]:
    """Return the tables as plain lines; empty where there is one network."""
    if not result.get("sources"):
        return []
    lines = [text_table(BEST_HEADER, best_rows(result)), ""]
    rows = pretrained_rows(result)
    if rows:
        lines += [pretrained_sentence(result), text_table(PAIRS_HEADER, rows), ""]
    return lines


def pretrained_sentence(result: Values) -> str:
    """Say what the second table shows."""
    folder = PurePath(str(result["settings"].get("pretrain") or "")).name
    return f"What training on the unlabelled data of {folder} first was worth, on the same samples:"


def start_words(source: str) -> str:
    """Return how advice begins that says from which of several networks to start."""
    if source == OWN_DATA_FIRST:
        return "Train the network on your unlabelled data first. Then: "
    if source:
        return f"Start from {source}. "
    return ""
