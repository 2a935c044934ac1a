"""The note of a saved model (recipe.json), its classes and its preprocessing, read back and checked: anyone may have
written them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from frostline.base.errors import BundleError
from frostline.base.files import parse_json, read_regular
from frostline.bundle.runfolder import check_recorded
from frostline.data.contract import Contract, read_contract

FORMAT = 6
WITHOUT_PRIOR = 5
WITHOUT_HISTORY = 4
WITHOUT_SIBLINGS = 3  # the code was one file
OLDEST = 2  # had neither temperature nor threshold
NOTE: dict[str, type | tuple[type, ...]] = {  # what recipe.json has to hold
    "source": dict,
    "head": dict,
    "head_form": dict,
    "cut": (dict, type(None)),
    "compute": dict,
    "tensors": list,
    "temperature": (int, float, type(None)),
    "abstain": (dict, type(None)),
    "history": list,
    "headless": (str, type(None)),
    "prior": (list, type(None)),
}
ABSTAIN: dict[str, type | tuple[type, ...]] = {"wanted_accuracy": float, "threshold": (int, float, type(None))}
SOURCE = ("spec", "model_args", "code_sha256", "siblings", "self_loading")
MOST_IN_CHUNK = 1 << 16  # samples that are computed at once


def read_notes(folder: Path) -> tuple[dict[str, Any], list[str], Contract]:
    """recipe.json, classes and preprocessing of a saved model; BundleError where one is missing or damaged."""
    try:
        note = parse_json(read_regular(folder / "recipe.json"))
        classes = parse_json(read_regular(folder / "classes.json"))
        preprocess = read_contract(folder)
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder} is not a saved model: {Path(error.filename).name} is missing.",
            "Give the RUN folder that frostline fit wrote.",
        ) from error
    except ValueError as error:
        raise BundleError(f"{folder} holds a damaged file: {error}.", "Run frostline fit again.") from error
    if not isinstance(note, dict) or not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
        raise BundleError(f"{folder} holds a recipe.json or classes.json of another form.", "Run frostline fit again.")
    check_recorded(folder)
    twice = next((name for name, count in Counter(classes).items() if count > 1), None)
    if twice is not None:
        raise BundleError(f"{folder / 'classes.json'} names the class {twice!r} twice.", "Run frostline fit again.")
    if note.get("format") not in range(OLDEST, FORMAT + 1):
        raise BundleError(
            f"{folder} has format {note.get('format')}, this version reads {OLDEST} to {FORMAT}.", "Update frostline."
        )
    note = _completed(note)
    wrong = _unusable(note)
    if wrong:
        raise BundleError(f"{folder / 'recipe.json'} has no usable {wrong[0]!r}.", "Run frostline fit again.")
    return note, classes, preprocess


def _completed(note: dict[str, Any]) -> dict[str, Any]:
    """Add what older formats didn't have."""
    if note["format"] == OLDEST:
        note = {"temperature": None, "abstain": None, **note}
    if note["format"] <= WITHOUT_SIBLINGS and isinstance(note.get("source"), dict):
        note = {**note, "source": {"siblings": [], **note["source"]}}
    if note["format"] <= WITHOUT_HISTORY:
        note = {"history": [], "headless": None, **note}
    if note["format"] <= WITHOUT_PRIOR:
        note = {"prior": None, **note}
    return note


def _unusable(note: Mapping[str, Any]) -> list[str]:
    """Keys that are missing or hold something of another kind."""
    wrong = [key for key, kind in NOTE.items() if key not in note or not isinstance(note[key], kind)]
    if wrong:
        return wrong
    wrong = [f"source.{key}" for key in SOURCE if key not in note["source"]]
    if not all(isinstance(entry, dict) for entry in note["history"]):
        wrong.append("history")
    if not _is_compute(note["compute"]):
        wrong.append("compute")
    siblings = note["source"].get("siblings")
    if not wrong and not (isinstance(siblings, list) and all(map(_is_sibling, siblings))):
        wrong = ["source.siblings"]
    if note["temperature"] is not None and not 0 < note["temperature"] < math.inf:
        wrong.append("temperature")
    if note["prior"] is not None and not all(map(_is_factor, note["prior"])):
        wrong.append("prior")
    if note["abstain"] is not None:
        kept = note["abstain"]
        wrong += [f"abstain.{k}" for k, kind in ABSTAIN.items() if k not in kept or not isinstance(kept[k], kind)]
        wrong += [f"abstain.{k}" for k in kept if k not in ABSTAIN]
    return wrong


def _is_compute(held: Mapping[str, Any]) -> bool:
    chunk = held.get("chunk")
    return (
        held.get("precision") in ("fp32", "bf16")
        and isinstance(held.get("channels_last"), bool)
        and type(chunk) is int
        and 0 < chunk <= MOST_IN_CHUNK
    )


def _is_factor(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < math.inf


def _is_sibling(name: Any) -> bool:
    """Return True for the relative name of a Python file that lies in the folder or below it."""
    if not isinstance(name, str) or not name.endswith(".py"):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def check_spec(folder: Path, spec: str, *, code: bool) -> None:
    """Raise BundleError for a spec that leads out of the folder, or to code that isn't a copy in it: only those are
    hashed and trusted."""
    source, _, place = spec.partition(":")
    leads_out = place.startswith(("/", "~", "\\")) or ".." in PurePosixPath(place).parts or place[1:2] == ":"
    if leads_out or (source == "torch" and not code):
        raise BundleError(
            f"{folder / 'recipe.json'} names a network outside its folder ({spec[:80]}).", "Run frostline fit again."
        )
