"""How a RUN came about, read back from its folder: the settings, with the very files that it keeps, and its samples."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from frostline.base.cells import read_cells
from frostline.base.errors import BundleError, DataError, described_by
from frostline.base.files import parse_json, read_regular
from frostline.base.records import Dataset
from frostline.bundle.schema import RunResult
from frostline.models.sources.user_code import read_code
from frostline.recipe.settings import Settings, option

KEPT = {  # files of the user's, kept as they were given
    "label_map": "inputs/label_map.json",
    "source_classes": "inputs/source_classes.txt",
    "stages": "inputs/stages.txt",
}
RECIPES = "recipes"
PATHS = {"data": Path, "pretrain": Path, "target": Path, "source_data": Path, **dict.fromkeys(KEPT, Path)}
TUPLES = ("mean", "std", "strategies")
IN_MEMORY = ("arrays", "dataset")  # kinds of data that have no path
IDS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleNote:
    """One line of samples.csv."""

    label: str
    part: str
    group: str
    sha256: str


def recorded_settings(run: Path, result: RunResult) -> Settings:
    """The settings that a run was made with. Its own recipes, label map, source classes and stages by
    hand are the kept copies.

    Raises BundleError for a record that this version can't read, or a copy that isn't there.
    """
    values = dict(result.settings)
    store_off = values.pop("store_off", False)
    known = {f.name for f in fields(Settings)}
    strange = sorted(set(values) - known)
    lacking = sorted(
        f.name
        for f in fields(Settings)
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    )
    if strange or lacking:
        if strange:
            what = f"has the setting {strange[0]!r}, which isn't known"
        else:
            what = f"lacks {lacking[0]!r}"
        raise BundleError(
            f"The record of {run}, written by frostline {result.version}, {what}.",
            "Replay it with the version that wrote it.",
        )
    with described_by(run / "result.json"):
        given: dict[str, Any] = {k: v for k, v in values.items() if v is not None}
        given |= {name: convert(given[name]) for name, convert in PATHS.items() if name in given}
        given |= {name: tuple(given[name]) for name in TUPLES if name in given}
        for name, file in KEPT.items():
            if name in given:
                given[name] = _kept(run, file)
        given["strategies"] = _strategies(run, given["strategies"], [s.name for s in result.strategies])
        return Settings(**given, store="off" if store_off else None)


def _strategies(run: Path, asked: Sequence[str], ran: Sequence[str]) -> tuple[str, ...]:
    """What was asked for, each recipe's file replaced by its copy, which bears the recipe's name."""
    names = list(dict.fromkeys(asked))
    files = [name for name in names if name.endswith(".json")]
    copies = [name for name in ran if (run / RECIPES / f"{name}.json").is_file()]  # in the order they were asked for
    if len(copies) != len(files):
        raise BundleError(
            f"{run} keeps {len(copies)} of the {len(files)} recipe files it was made with.",
            f"Put them back into {run / RECIPES}.",
        )
    kept = dict(zip(files, copies, strict=True))
    return tuple(str(run / RECIPES / f"{kept[name]}.json") if name in kept else name for name in names)


def _kept(run: Path, name: str) -> Path:
    if not (run / name).is_file():
        raise BundleError(
            f"{run} was made with a file that it should keep as {name}, but there is none.", "Put it back."
        )
    return run / name


def fit_command(settings: Settings) -> str:
    """The command that gives these settings; what is left at its default isn't said."""
    words = ["frostline", "fit", str(settings.data), "--model", settings.model]
    for f in fields(Settings):
        value = getattr(settings, f.name)
        if f.default_factory is not MISSING:
            usual = f.default_factory()
        else:
            usual = f.default
        if f.name in ("data", "model") or value == usual:
            continue
        words.append(option(f.name))
        if isinstance(value, tuple):
            words.append(",".join(map(str, value)))
        elif value is not True:
            words.append(json.dumps(value) if isinstance(value, dict) else str(value))
    return shlex.join(words)


def read_samples(run: Path) -> dict[str, SampleNote]:
    """The samples that took part, by id. Raises BundleError where samples.csv is missing or no such table."""
    path = run / "samples.csv"
    try:
        rows = read_cells(read_regular(path).decode(), ("id", "label", "part", "group", "sha256"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path} can't be read, so the data can't be verified.",
            "Put it back as the run wrote it.",
        ) from error
    return {
        row["id"]: SampleNote(label=row["label"], part=row["part"], group=row["group"], sha256=row["sha256"])
        for row in rows
    }


def check_samples(run: Path, recorded: Mapping[str, SampleNote], dataset: Dataset) -> None:
    """Raise DataError naming what was changed, added or removed since the record, or is split differently."""
    here = {
        s.id: SampleNote(label=dataset.classes[s.label], part=s.part, group=s.group, sha256=s.sha256)
        for s in dataset.samples
    }
    both = [i for i in recorded if i in here]
    kinds = {
        "changed": [i for i in both if here[i].sha256 != recorded[i].sha256],
        "removed": [i for i in recorded if i not in here],
        "added": [i for i in here if i not in recorded],
        "with another label": [i for i in both if here[i].label != recorded[i].label],
        "in another part or group": [
            i for i in both if (here[i].part, here[i].group) != (recorded[i].part, recorded[i].group)
        ],
    }
    changes = [f"{len(ids):,} {kind} ({_first_ids(ids)})" for kind, ids in kinds.items() if ids]
    if changes:
        raise DataError(
            f"The data in {dataset.path} aren't those that {run} was made with: {', '.join(changes)}.",
            "Restore them, say where those are (--data DIR), or run frostline fit again.",
        )


def _first_ids(ids: list[str]) -> str:
    shown = ids[:IDS_SHOWN]
    if len(ids) > IDS_SHOWN:
        shown.append("...")
    return ", ".join(shown)


def code_hash(run: Path) -> str | None:
    """SHA-256 of the network's own code (models.sources.user_code.hash_code); None where it has none.

    Raises BundleError for a folder without a saved model.
    """
    found = _source(run)["code_sha256"]
    if found is None:
        return None
    return str(found)


def code_siblings(run: Path) -> tuple[str, ...]:
    """Files beside the network's own that belong to its code, by relative name; BundleError as for `code_hash`."""
    return tuple(map(str, _source(run).get("siblings", ())))


def code_hash_now(run: Path, file: Path) -> str:
    """Hash, as `code_hash`, of the code as it is now: the user's file and the run's siblings beside it.

    Empty where one of them is gone. Raises ModelError for a file that isn't Python in UTF-8.
    """
    try:
        return read_code(file, code_siblings(run)).sha256
    except OSError:
        return ""


def _source(run: Path) -> dict[str, Any]:
    path = run / "model" / "recipe.json"
    try:
        found: dict[str, Any] = parse_json(read_regular(path))["source"]
        found["code_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} can't be read, so the network's code can't be verified.",
            "Put it back as the run wrote it.",
        ) from error
    return found
