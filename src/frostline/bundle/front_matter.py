"""The YAML block of a model card as the Hugging Face hub reads it, and text made safe for YAML and Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from frostline.bundle.schema import RunResult
from frostline.recipe.recipe import source_and_strategy

FOLDERS = ("class-folders", "split-folders")
TASKS = {"image": "image-classification", "text": "text-classification"}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~$&@^])")


def front_matter(result: RunResult) -> str:
    """Write the block with its fences: metadata and results (`model-index`) as `huggingface_hub` parses them."""
    strategy = source_and_strategy(result.verdict.strategy)[1].partition("@")[0]
    task = TASKS[result.data.modality]
    block: dict[str, Any] = {
        "library_name": "frostline",
        "pipeline_tag": task,
        "license": "other",
        "license_name": "to-be-chosen",
        "tags": ["frostline", task, "transfer-learning", strategy],
    }
    base = base_model(result)
    if base:
        block["base_model"] = base
    block["metrics"] = ["accuracy", "f1"]
    block["model-index"] = [{"name": title(result), "results": [_results(result)]}]
    return f"---\n{_yaml(block)}---\n"


def title(result: RunResult) -> str:
    """Return the card's title, such as `probe on ants_bees`: no path beyond the data's own folder."""
    return f"{result.verdict.strategy} on {data_name(result)}"


def data_name(result: RunResult) -> str:
    return result.data.path.rstrip("/").rpartition("/")[2] or "data"


def base_model(result: RunResult) -> str | None:
    """Return the hub's name of the pre-trained network; None unless its weights came from the hub under that name."""
    source, _, name = result.model.spec.partition(":")
    if result.settings.get("weights") is not None:
        return None
    if source == "hf" and _REPOSITORY.fullmatch(name):
        return name
    if source == "timm" and "." in name:
        return f"timm/{name}"
    return None


def _results(result: RunResult) -> dict[str, Any]:
    test = result.test
    values = [
        ("accuracy", "Accuracy", test.accuracy),
        ("f1", "Macro F1", test.f1_macro),
        ("balanced_accuracy", "Balanced accuracy", test.balanced_accuracy),
    ]
    modality = result.data.modality
    kind = "custom"
    if result.data.kind in FOLDERS:
        kind = "imagefolder"
    return {
        "task": {"type": TASKS[modality], "name": f"{modality.capitalize()} classification"},
        "dataset": {"name": data_name(result), "type": kind, "split": "test"},
        "metrics": [{"type": t, "name": name, "value": round(v, 6), "verified": False} for t, name, v in values],
    }


def _yaml(value: Any, indent: int = 0) -> str:
    """Write block style for mappings and lists, JSON-quoted scalars: no text of the user's can change the structure."""
    pad = " " * indent
    if isinstance(value, Mapping):
        return "".join(f"{pad}{key}:{_after_key(item, indent)}" for key, item in value.items())
    if not isinstance(value, list):
        return f"{pad}{quoted(value)}\n"
    items = [_yaml(item, indent + 2) for item in value]
    return "".join(f"{pad}- {text[indent + 2 :]}" for text in items)


def _after_key(item: Any, indent: int) -> str:
    if isinstance(item, (Mapping, list)):
        return f"\n{_yaml(item, indent + 2)}"
    return f" {quoted(item)}\n"


def quoted(value: Any) -> str:
    """Write a YAML scalar. What doesn't print is escaped: YAML counts some of it as the end of a line."""
    return "".join(map(_printable, json.dumps(value, ensure_ascii=False)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it as it is, on one line: no markup, table cell, HTML, link or mention."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return _MARKED.sub(r"\\\1", line).replace("://", ":\\//")
