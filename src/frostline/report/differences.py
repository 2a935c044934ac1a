"""Compares two finished runs: every file's hash, every value of the record that may not vary, every trial's figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from frostline.base.errors import BundleError
from frostline.bundle.runfolder import hashes
from frostline.bundle.schema import RunResult, without_volatile

SEPARATE = ("version", "machine", "packages", "files")  # told beforehand, or compared by themselves
PROSE = ("methods.paragraph",)  # tells machine and packages too; its figures are compared by themselves
TIMES = ("seconds",)  # of a trial
ABSENT = "absent"
SHOWN = 5
Kind = Literal["file", "value", "trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that isn't equal; `where` is a file's path, a dotted key of result.json, or a trial's key and field."""

    kind: Kind
    where: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What differs, and how many files, values and trials' figures were compared."""

    found: tuple[Difference, ...]
    compared: Mapping[Kind, int]
    altered: tuple[str, ...] = ()  # files of the recorded run that aren't what its own record says
    misrecorded: tuple[str, ...] = ()  # those of them that the replay wrote just as they are: the record is wrong

    @property
    def equal(self) -> bool:
        return not self.found and not self.altered

    def counts(self) -> str:
        """`15 of 15 files, 1,204 of 1,204 recorded values and 90 of 90 trials' figures are equal`."""
        words: dict[Kind, str] = {"file": "files", "value": "recorded values", "trial": "trials' figures"}
        parts = []
        for kind, name in words.items():
            total = self.compared.get(kind, 0)
            parts.append(f"{total - sum(d.kind == kind for d in self.found):,} of {total:,} {name}")
        return f"{', '.join(parts[:-1])} and {parts[-1]} are equal"


def compare_runs(
    run: Path, again: Path, results: tuple[RunResult, RunResult], *, except_: Sequence[str]
) -> Differences:
    """Compare the recorded run with its replay.

    Args:
        run: the recorded RUN folder; its files are also held against its own record.
        again: the folder of the replay.
        results: the records of both.
        except_: dotted keys of result.json that were set otherwise on purpose.
    """
    recorded, replayed = results
    pairs: dict[Kind, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "file": (recorded.files, replayed.files),
        "value": (_values(recorded, except_), _values(replayed, except_)),
        "trial": (_trials(run), _trials(again)),
    }
    found = [d for kind, (one, two) in pairs.items() for d in _differences(kind, one, two)]
    compared = {kind: len({*one, *two}) for kind, (one, two) in pairs.items()}
    there = hashes(run)
    altered = sorted(name for name, digest in recorded.files.items() if there.get(name) != digest)
    wrong = [name for name in altered if name in there and there[name] == replayed.files.get(name)]
    return Differences(found=tuple(found), compared=compared, altered=tuple(altered), misrecorded=tuple(wrong))


def _differences(kind: Kind, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    for name in [*one, *(n for n in two if n not in one)]:
        a, b = one.get(name, ABSENT), two.get(name, ABSENT)
        if a != b:
            yield Difference(kind=kind, where=name, recorded=str(a), replayed=str(b))


def _values(result: RunResult, except_: Sequence[str]) -> dict[str, Any]:
    kept = {k: v for k, v in without_volatile(result).items() if k not in SEPARATE}
    flat = dict(_leaves(kept, ""))
    left_out = (*PROSE, *except_)
    return {k: v for k, v in flat.items() if not any(k == e or k.startswith((f"{e}.", f"{e}[")) for e in left_out)}


def _trials(run: Path) -> dict[str, Any]:
    """Every figure of trials.jsonl, by the trial's key and the figure's name."""
    path = run / "trials.jsonl"
    found: dict[str, Any] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            trial = json.loads(line)
            kept = {k: v for k, v in trial.items() if k not in TIMES}
            found.update(_leaves(kept, str(trial["key"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} can't be read as trials.", "Put it back as the run wrote it.") from error
    return found


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Plain values with their dotted keys; an empty object or list counts as a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


def difference_lines(found: Differences) -> list[str]:
    """The first differences of each kind, one line each, with how many more there are."""
    lines = []
    for name in found.altered[:SHOWN]:
        why = "the replay wrote it so too, so the record was changed" if name in found.misrecorded else "it was changed"
        lines.append(f"{name} isn't the file that its own record names: {why}.")
    kinds: tuple[Kind, ...] = ("value", "trial", "file")
    for kind in kinds:
        here = [d for d in found.found if d.kind == kind]
        lines += [
            f"{kind} {d.where}: {_short(d, d.recorded)} recorded, {_short(d, d.replayed)} replayed"
            for d in here[:SHOWN]
        ]
        lines += [f"{kind}: {len(here) - SHOWN:,} more"] if len(here) > SHOWN else []
    return lines


def _short(difference: Difference, text: str) -> str:
    if difference.kind == "file" and text != ABSENT:
        return text[:12]
    return text if len(text) <= 60 else f"{text[:57]}..."
