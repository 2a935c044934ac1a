"""The samples that the page shows: confident mistakes, doubted samples, examples of each class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frostline.report.lines import DOUBT_WORDS
from frostline.report.stored import Stored

CLASSES = 200  # rows of the table of classes at most
IMAGE = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]+=*")  # nothing else becomes an address
PARTS = {"development": "to learn from", "validation": "to validate", "sealed": "sealed test"}

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One sample: `image` is a data address or empty, `text` the beginning of a text; `caption` lines below it."""

    id: str
    image: str
    text: str
    caption: tuple[tuple[str, str], ...]


def _card(stored: Stored, name: str, *caption: tuple[str, str]) -> Card | None:
    kept = stored.examples.get("samples", {}).get(name)
    if kept is None:
        return None
    image = str(kept.get("image", ""))
    if not IMAGE.fullmatch(image):
        image = ""
    return Card(id=name, image=image, text=str(kept.get("text", "")), caption=caption)


def mistake_cards(stored: Stored) -> list[Card]:
    """Return the sealed samples that were predicted wrong with the highest probability."""
    by_id = {row["id"]: row for row in stored.predictions}
    cards = []
    for name in stored.examples.get("mistakes", []):
        row = by_id.get(name)
        if row is None:
            continue
        sure = float(row[f"p:{row['predicted']}"])
        cards.append(
            _card(stored, name, ("predicted", f"{row['predicted']} ({100 * sure:.0f} %)"), ("labelled", row["label"]))
        )
    return [card for card in cards if card]


def doubt_cards(stored: Stored) -> list[tuple[str, list[Card]]]:
    """Return (what is doubted, its samples) for every kind of doubt that has samples to show."""
    doubts = stored.result["doubts"]
    if doubts is None:
        return []
    found = []
    for kind, number in doubts["counts"].items():
        cards = [
            _card(stored, d["id"], ("labelled", d["label"]), ("", d["detail"]))
            for d in doubts["examples"]
            if d["kind"] == kind
        ]
        shown = [card for card in cards if card]
        if shown and number and kind != "small-class":  # that is about a class
            one, several = DOUBT_WORDS.get(kind, (kind, kind))
            found.append((f"{number:,} {one if number == 1 else several}", shown))
    return found


def example_cards(stored: Stored) -> list[tuple[str, list[Card]]]:
    """Return (class, examples of it) for the classes that the folder keeps examples of."""
    found: dict[str, list[Card]] = {}
    for name in stored.examples.get("classes", []):
        card = _card(stored, name)
        if card:
            label = stored.examples["samples"][name]["label"]
            found.setdefault(label, []).append(card)
    return list(found.items())


def class_rows(stored: Stored) -> dict[str, Any]:
    """Return the table of classes: how many samples of each lie in each part."""
    counts = {part: stored.counts(part) for part in PARTS}
    parts = [part for part in PARTS if counts[part]]
    classes = stored.result["data"]["classes"]
    rows = [(name, *(f"{counts[part][name]:,}" for part in parts)) for name in classes[:CLASSES]]
    return {"header": ("class", *(PARTS[part] for part in parts)), "rows": rows, "more": max(0, len(classes) - CLASSES)}
