"""The YAML block of a model card as the Hugging Face hub reads it, and words made safe for YAML and Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from frostline.bundle.schema import RunResult

FOLDERS = ("class-folders", "split-folders")
TASKS = {"image": "image-classification", "text": "text-classification"}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~$&@^])")


def front_matter(result: RunResult) -> str:
    """The block with its fences, metadata and evaluation results (`model-index`) as `huggingface_hub` parses them."""
    chosen = result.verdict.strategy
    base = base_model(result)
    block: dict[str, Any] = {
        "library_name": "frostline",
        "pipeline_tag": TASKS[result.data.modality],
        "license": "other",
        "license_name": "to-be-chosen",
        "tags": ["frostline", TASKS[result.data.modality], "transfer-learning", chosen.partition("@")[0]],
        **({"base_model": base} if base else {}),
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": title(result), "results": [_results(result)]}],
    }
    return f"---\n{_yaml(block)}---\n"


def title(result: RunResult) -> str:
    """`probe on ants_bees`: no path beyond the data's own folder."""
    return f"{result.verdict.strategy} on {data_name(result)}"


def data_name(result: RunResult) -> str:
    return result.data.path.rstrip("/").rpartition("/")[2] or "data"


def base_model(result: RunResult) -> str | None:
    """The hub's name of the network that was begun with; None unless its weights came from the hub under that name."""
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
    kind = "custom"
    if result.data.kind in FOLDERS:
        kind = "imagefolder"
    return {
        "task": {"type": TASKS[result.data.modality], "name": f"{result.data.modality.capitalize()} classification"},
        "dataset": {"name": data_name(result), "type": kind, "split": "test"},
        "metrics": [{"type": t, "name": name, "value": round(v, 6), "verified": False} for t, name, v in values],
    }


def _yaml(value: Any, indent: int = 0) -> str:
    """Block style for mappings and lists, JSON-quoted scalars: no word of the user's can change the structure."""
    pad = " " * indent
    if isinstance(value, Mapping):
        return "".join(f"{pad}{key}:{_below(item, indent)}" for key, item in value.items())
    if not isinstance(value, list):
        return f"{pad}{quoted(value)}\n"
    items = [_yaml(item, indent + 2) for item in value]
    return "".join(f"{pad}- {text[indent + 2 :]}" for text in items)


def _below(item: Any, indent: int) -> str:
    if isinstance(item, (Mapping, list)):
        return f"\n{_yaml(item, indent + 2)}"
    return f" {quoted(item)}\n"


def quoted(value: Any) -> str:
    """A YAML scalar. What doesn't print is escaped: YAML counts some of it as the end of a line."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, table cell, HTML, link or mention comes of it."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return _MARKED.sub(r"\\\1", line).replace("://", ":\\//")
