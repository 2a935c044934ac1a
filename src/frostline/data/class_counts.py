"""How many samples of each class every part holds, as numbers and in words: what was understood of the data."""

from __future__ import annotations

from collections import Counter

from frostline.base.records import DataPart, Dataset

PARTS: dict[DataPart, str] = {"development": "to learn from", "validation": "to validate", "sealed": "sealed"}
SHOWN = 10  # classes that a line names


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Samples by class and part; parts that hold nothing are left out."""
    counts = Counter((dataset.classes[sample.label], sample.part) for sample in dataset.samples)
    there = [part for part in PARTS if any(sample.part == part for sample in dataset.samples)]
    return {name: {part: counts[name, part] for part in there} for name in dataset.classes}


def classes_in_words(dataset: Dataset, noun: str) -> str:
    """`2 classes in 16 images: 'a' (6 to learn from, 2 sealed), 'b' (6, 2)`."""
    shown = []
    for place, (name, counts) in enumerate(class_counts(dataset).items()):
        if place == SHOWN:
            break
        numbers = [f"{count} {PARTS[part]}" if place == 0 else str(count) for part, count in counts.items()]  # type: ignore[index]
        shown.append(f"{name!r} ({', '.join(numbers)})")
    more = ""
    if len(dataset.classes) > SHOWN:
        more = f" and {len(dataset.classes) - SHOWN} more"
    return f"{len(dataset.classes)} classes in {len(dataset.samples)} {noun}: {', '.join(shown)}{more}."
