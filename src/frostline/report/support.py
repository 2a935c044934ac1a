"""The support bundle of `frostline doctor --bundle`: what a bug report needs, and no data or names.

What goes in is chosen by name from lists in this file; texts and names in it go through `report.scrub`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from frostline.base.errors import BundleError
from frostline.base.files import parse_json, write_atomic
from frostline.base.packages import package_versions
from frostline.base.version import VERSION
from frostline.bundle.runfolder import RESULT, STUDY, WORK
from frostline.bundle.runlog import LOG, as_json_has_it, read_log
from frostline.report.scrub import Names, Scrubber

RECORDS = (RESULT, "pretrain.json", "curve.json", "rank.json", "adapt.json", "shift.json")
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE")
PLACES = ("FROSTLINE_CACHE", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "TMPDIR")  # said to be set or not, no more
PLAIN_VALUE = re.compile(r"[\d,]{1,40}|active|passive|true|false", re.IGNORECASE)
PUBLIC = ("timm", "torchvision", "keras", "glyphs")  # sources whose networks and stages have public names
FIRST_LINES = 200  # of a log: how the run began
LAST_LINES = 2000  # and how it ended
MOST_FILES = 20_000  # of the data's folder, whose names are looked for
WORDS_OF_SETTINGS = (  # settings whose values are words of ours, or names that are taken out of them
    *("model", "strategies", "head", "metric", "prefer", "device", "precision", "augment", "batchnorm"),
    *("pretrain_method", "method", "measure", "target_labels", "split_classes"),
)
FIXED_WORDS = ("random", "off", "auto")

KEPT: Mapping[str, Any] = {  # of a record; True: all of it
    **dict.fromkeys(("schema", "version", "created", "seed", "machine", "packages", "settings", "cost"), True),
    **dict.fromkeys(("blocks", "audit", "budget", "concluded"), True),
    "data": dict.fromkeys(("kind", "n_development", "n_test", "groups", "modality", "sealed"), True)
    | {"warnings": dict.fromkeys(("kind", "count", "handled"), True)},
    "model": {"spec": True, "parameters": True, "stages": True},
    "sources": {"label": True, "spec": True, "parameters": True, "stages": True},
    "strategies": dict.fromkeys(
        (
            *("name", "source", "status", "reason", "trained_parameters", "operations", "rate", "rates_tried"),
            *("epochs", "steps", "undertrained", "blocks", "accuracy", "log_loss", "seconds", "below_forecast"),
        ),
        True,
    ),
    "verdict": {"strategy": True, "best": True, "reason": True},
    "test": {"n": True, "accuracy": True, "log_loss": True},
    "forecast": dict.fromkeys(("rows", "seconds", "left_out", "missing", "provisional", "ended"), True),
}

README = """A support bundle of frostline {version}: what a bug report needs.

It holds no images, texts, weights or answers for single samples, no environment but the variables listed, and no
command line. Names are replaced, each by the same placeholder throughout: class-1 is the first class of the run,
file-2 a file, folder-3 a folder, name-4 or word-5 what isn't known to be a word of frostline's own.

Nothing was sent. Please look through it before you pass it on.

{files}
"""


@dataclass(frozen=True)
class Member:
    """A file of the bundle, and what is in it."""

    name: str
    content: bytes
    about: str


@dataclass(frozen=True)
class _Found:
    """What is read of a RUN folder."""

    folder: Path
    record: dict[str, Any]
    record_name: str | None
    settings: dict[str, Any]
    lines: list[dict[str, Any]]
    damaged: int


def newest_run(root: Path = Path("runs")) -> Path | None:
    """Return the folder below `root` that was written to last; None where there is none."""
    folders = [p for p in root.glob("*") if is_run(p)] if root.is_dir() else []
    return max(folders, key=_written_at, default=None)


def is_run(folder: Path) -> bool:
    """True for a RUN folder of any verb, complete or not."""
    return any((folder / name).exists() for name in (*RECORDS, LOG, WORK))


def write_support(path: Path, checks: Sequence[Mapping[str, Any]], run: Path | None) -> list[Member]:
    """Write the bundle, and return what is in it. Raises BundleError where it can't be written or `run` is no run."""
    _refuse_places(path, run)
    found = _read_run(run) if run is not None else None
    names = _all_names(found)
    raw = _raw(checks, found)
    scrubber = Scrubber(names, "\n".join(_texts(list(raw.values()))), _public_words(found))
    members = []
    for name, (about, value) in raw.items():
        content = _as_text(name, value, scrubber)
        members.append(Member(name, scrubber.guarded(content).encode(), about))
    listed = "\n".join(f"{m.name}: {m.about}" for m in members)
    members.insert(0, Member("README.txt", README.format(version=VERSION, files=listed).encode(), "what this is"))
    write_atomic(path, _zipped(members))
    return members


def _refuse_places(path: Path, run: Path | None) -> None:
    if path.exists():
        raise BundleError(f"--bundle {path} exists already.", "Give a file that doesn't exist yet.")
    if not path.parent.is_dir():
        raise BundleError(f"--bundle {path}: there is no folder {path.parent}.", "Give a file in a folder of yours.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BundleError(f"--bundle {path}: writing there isn't allowed.", "Give a file in a folder of yours.")
    if run is not None and not is_run(run):
        raise BundleError(f"--run {run} is no RUN folder.", "Give a folder that a frostline command wrote.")


def _raw(checks: Sequence[Mapping[str, Any]], found: _Found | None) -> dict[str, tuple[str, Any]]:
    """Return what goes in before names are taken out: by file, what it is and its value."""
    raw: dict[str, tuple[str, Any]] = {
        "doctor.json": ("versions, hardware, store and disk, as frostline doctor checks them", list(checks)),
        "environment.json": ("the few environment variables that matter", few_variables()),
    }
    if found is not None:
        raw["run.json"] = (
            "settings, stage map and shapes, counts, scores, timings, and how the run ended",
            _about_run(found),
        )
        raw["log.jsonl"] = ("what happened in the run, errors with their traceback", _chosen_lines(found.lines))
    return raw


def few_variables() -> dict[str, str]:
    """Return the variables of two short lists: the values of numbers and words known to us, of places whether set."""
    values = {}
    for name in VARIABLES:
        value = os.environ.get(name)
        if value is not None:
            values[name] = value if PLAIN_VALUE.fullmatch(value) else "set"
    return values | {name: "set" for name in PLACES if os.environ.get(name)}


def _read_run(run: Path) -> _Found:
    record: dict[str, Any] = {}
    name = next((n for n in RECORDS if (run / n).is_file()), None)
    if name is not None:
        record = _object(run / name)
    settings = record.get("settings") or _object(run / WORK / STUDY).get("settings")
    lines, damaged = read_log(run / LOG)
    return _Found(run, record, name, settings if isinstance(settings, dict) else {}, lines, damaged)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _about_run(found: _Found) -> dict[str, Any]:
    """Return what is told of a run: how it stands, and the chosen part of its record."""
    last = found.lines[-1] if found.lines else {}
    state = {"end": "complete", "error": "error", "interrupted": "interrupted"}.get(str(last.get("kind")), "no end")
    files = [p for p in sorted(found.folder.rglob("*")) if p.is_file() and WORK not in p.parts]
    own = KEPT if found.record_name == RESULT else {k: v for k, v in KEPT.items() if v is True}
    return {
        "record": found.record_name,
        "log_ends_with": state,
        "log_lines": len(found.lines),
        "log_lines_that_cannot_be_read": found.damaged,
        "finished_trials": sum(1 for _ in (found.folder / WORK / "outcomes").glob("*.json")),
        "settings": {name: _setting(name, value) for name, value in found.settings.items()},
        "files": [{"name": p.name, "bytes": p.stat().st_size} for p in files if p.parent == found.folder],
        **{name: value for name, value in _picked(found.record, own).items() if name != "settings"},
        "packages_now": package_versions(),
    }


def _setting(name: str, value: Any) -> Any:
    """Return a setting's value; of one with words of the user only that it was given."""
    if name in WORDS_OF_SETTINGS or all(text in FIXED_WORDS for text in _texts_of(value)):
        return value
    return "given"


def _picked(value: Any, kept: Any) -> Any:
    """Return the part of a record that the lists name."""
    if kept is True:
        return value
    if isinstance(value, list):
        return [_picked(one, kept) for one in value]
    if isinstance(value, dict):
        return {name: _picked(value[name], inner) for name, inner in kept.items() if name in value}
    return None


def _chosen_lines(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the first and last lines of a log, without the command line and what belongs to single samples."""
    if len(lines) > FIRST_LINES + LAST_LINES:
        lines = [*lines[:FIRST_LINES], *lines[-LAST_LINES:]]
    return [_chosen_line(line) for line in lines]


def _chosen_line(line: Mapping[str, Any]) -> dict[str, Any]:
    data = line.get("data")
    kept = dict(data) if isinstance(data, dict) else {}
    for name in ("command", "examples", "ids", "probabilities", "run"):
        kept.pop(name, None)
    fields = ("time", "seconds", "pid", "memory_mb", "kind", "text")
    return {**{name: line.get(name) for name in fields}, "data": kept}


def _all_names(found: _Found | None) -> Names:
    """Return all that is known to be a name: of the run's classes, samples and places, and of this machine."""
    names = Names()
    if found is not None:
        names.add("class", _classes(found))
        for name, setting in found.settings.items():
            if name not in WORDS_OF_SETTINGS:
                for value in set(_texts_of(setting)) - set(FIXED_WORDS):
                    names.add_path(value)
        for word in _words_of_commands(found):
            names.add_path(word)
        names.add_path(str(found.folder.resolve()))
        names.add("file", _sample_names(found))
    names.add_machine()
    return names


def _classes(found: _Found) -> Iterator[str]:
    for place in (found.record.get("data"), found.record):
        if isinstance(place, dict):
            yield from _texts_of(place.get("classes"))
    for line in found.lines:
        if line.get("kind") == "classes" and isinstance(line.get("data"), dict):
            yield from line["data"]


def _texts_of(value: Any) -> Iterator[str]:
    """Yield every text within a value, without the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts_of(list(value.values()))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_of(inner)


def _words_of_commands(found: _Found) -> Iterator[str]:
    """Yield the words of the command lines that may be somebody's own: neither options nor numbers."""
    commands = [found.record.get("command")]
    for line in found.lines:
        if isinstance(line.get("data"), dict):
            commands.append(line["data"].get("command"))
    for command in {c for c in commands if isinstance(c, str)}:
        try:
            words = shlex.split(command)
        except ValueError:
            words = command.split()
        yield from (w for w in words if "/" in w or "\\" in w or "." in w)


def _sample_names(found: _Found) -> Iterator[str]:
    """Yield the names of samples, and of what lies in the data's folder now."""
    import csv

    for table in ("samples.csv", "predictions.csv", "doubts.csv"):
        path = found.folder / table
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                yield from _parts_of_name(row.get("id") or "")
                yield row.get("label") or ""
    data = Path(str(found.settings.get("data", "")))
    if not found.settings.get("data") or not data.is_dir():
        return
    count = 0
    for place, folders, files in os.walk(data):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(place, name), data)
            yield from _parts_of_name(name)
        count += len(files)
        if count > MOST_FILES:
            return


def _parts_of_name(name: str) -> set[str]:
    path = Path(name)
    return {name, *path.parts, path.stem}


def _public_words(found: _Found | None) -> frozenset[str]:
    """Return the words in the names of public networks, and of their stages."""
    if found is None:
        return frozenset()
    words: set[str] = set()
    model = found.record.get("model")
    spec = str(found.settings.get("model", ""))
    source, _, name = spec.partition(":")
    public = source in PUBLIC and re.fullmatch(r"[\w.-]*", name) is not None and not Path(name or "/nothing").exists()
    if not public:
        return frozenset()
    words.update(re.findall(r"\w+", spec))
    for stage in model.get("stages", []) if isinstance(model, dict) else []:
        words.update(re.findall(r"\w+", str(stage.get("name", ""))))
    return frozenset(words)


def _as_text(name: str, value: Any, scrubber: Scrubber) -> str:
    if name.endswith(".jsonl"):
        return "".join(json.dumps(scrubber.value(as_json_has_it(line)), allow_nan=False) + "\n" for line in value)
    return json.dumps(scrubber.value(as_json_has_it(value)), indent=1, allow_nan=False) + "\n"


def _texts(value: Any) -> Iterator[str]:
    """Yield every text within a value, the names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _zipped(members: Sequence[Member]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for member in members:
            file.writestr(zipfile.ZipInfo(member.name), member.content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _written_at(folder: Path) -> float:
    times = [p.stat().st_mtime for p in (folder / LOG, folder, *(folder / n for n in RECORDS)) if p.exists()]
    return max(times, default=-math.inf)
