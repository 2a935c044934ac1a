"""The sentence beside each number of the result: what it means, and what it doesn't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.stats.meaning import meaning


def meaning_lines(result: Mapping[str, Any]) -> list[str]:
    """One line for every kind of number that the table of strategies shows."""
    scored = [s for s in result["strategies"] if s["score"] is not None]
    if not scored:
        return []
    blocks = len(result["blocks"])
    accuracy = result["settings"].get("metric", "accuracy") == "accuracy"
    lines = [("accuracy", "accuracy") if accuracy else ("score", "score"), ("95 % interval", "score-interval")]
    against = [s["versus_best"]["outcome"] for s in scored if s["versus_best"]]
    if against:
        lines.append(("against the best", "difference"))
    lines += [(word, word) for word in ("worse", "better", "as-good", "undecided") if word in against]
    return [f"  {name}: {meaning(key, blocks=blocks)}" for name, key in lines]


def sealed_meaning() -> str:
    """What the accuracy on the sealed part and its interval mean."""
    return f"{meaning('sealed-accuracy')} {meaning('sealed-interval')}"
