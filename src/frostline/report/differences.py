"""Compares two finished runs: every file's hash, every value of the record that may not vary, every trial's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from frostline.base.errors import BundleError
from frostline.base.files import parse_json
from frostline.bundle.runfolder import hashes
from frostline.bundle.schema import RunResult, without_volatile

SEPARATE = ("version", "machine", "packages", "files")  # reported beforehand, or compared by themselves
PROSE = ("methods.paragraph",)  # names machine and packages too; its figures are compared by themselves
TIMES = ("seconds",)  # of a trial
ABSENT = "absent"
SHOWN_PER_KIND = 5
DifferenceKind = Literal["file", "value", "trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that isn't equal; `where` is a file's path, a dotted key of result.json, or a trial's key and field."""

    kind: DifferenceKind
    where: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What differs, and how many files, values and trials' figures were compared."""

    found: tuple[Difference, ...]
    compared: Mapping[DifferenceKind, int]
    altered: tuple[str, ...] = ()  # files of the recorded run that don't match its own record
    misrecorded: tuple[str, ...] = ()  # those that match the replay, so that the record itself is wrong

    @property
    def equal(self) -> bool:
        return not self.found and not self.altered

    def counts(self) -> str:
        """Return `15 of 15 files, 1,204 of 1,204 recorded values and 90 of 90 trials' figures are equal`."""
        words: dict[DifferenceKind, str] = {"file": "files", "value": "recorded values", "trial": "trials' figures"}
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
        except_: dotted keys of result.json that differ on purpose.
    """
    recorded, replayed = results
    pairs: dict[DifferenceKind, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "file": (recorded.files, replayed.files),
        "value": (_values(recorded, except_), _values(replayed, except_)),
        "trial": (_trials(run), _trials(again)),
    }
    differences = [d for kind, (one, two) in pairs.items() for d in _differences(kind, one, two)]
    compared = {kind: len({*one, *two}) for kind, (one, two) in pairs.items()}
    present = hashes(run)
    altered = sorted(name for name, digest in recorded.files.items() if present.get(name) != digest)
    misrecorded = [name for name in altered if name in present and present[name] == replayed.files.get(name)]
    return Differences(
        found=tuple(differences), compared=compared, altered=tuple(altered), misrecorded=tuple(misrecorded)
    )


def _differences(kind: DifferenceKind, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    for name in [*one, *(n for n in two if n not in one)]:
        recorded = one.get(name, ABSENT)
        replayed = two.get(name, ABSENT)
        if recorded != replayed:
            yield Difference(kind=kind, where=name, recorded=str(recorded), replayed=str(replayed))


def _values(result: RunResult, except_: Sequence[str]) -> dict[str, Any]:
    kept = {k: v for k, v in without_volatile(result).items() if k not in SEPARATE}
    left_out = (*PROSE, *except_)
    return {key: value for key, value in _plain_values(kept, "") if not any(_is_within(key, out) for out in left_out)}


def _is_within(key: str, parent: str) -> bool:
    return key == parent or key.startswith((f"{parent}.", f"{parent}["))


def _trials(run: Path) -> dict[str, Any]:
    """Read every figure of trials.jsonl, by the trial's key and the figure's name."""
    path = run / "trials.jsonl"
    figures: dict[str, Any] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            trial = dict(parse_json(line))
            kept = {k: v for k, v in trial.items() if k not in TIMES}
            figures.update(_plain_values(kept, str(trial["key"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} can't be read as trials.", "Put it back as the run wrote it.") from error
    return figures


def _plain_values(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield plain values with their dotted keys; an empty object or list counts as a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _plain_values(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _plain_values(item, f"{where}[{index}]")
    else:
        yield where, value


def difference_lines(differences: Differences) -> list[str]:
    """List the first differences of each kind, one per line, with how many more there are."""
    lines = []
    for name in differences.altered[:SHOWN_PER_KIND]:
        why = "it was changed"
        if name in differences.misrecorded:
            why = "the replay wrote the same file, so the record was changed"
        lines.append(f"{name} isn't the file that its own record names: {why}.")
    kinds: tuple[DifferenceKind, ...] = ("value", "trial", "file")
    for kind in kinds:
        of_kind = [d for d in differences.found if d.kind == kind]
        for d in of_kind[:SHOWN_PER_KIND]:
            recorded = _shortened(kind, d.recorded)
            replayed = _shortened(kind, d.replayed)
            lines.append(f"{kind} {d.where}: {recorded} recorded, {replayed} replayed")
        if len(of_kind) > SHOWN_PER_KIND:
            lines.append(f"{kind}: {len(of_kind) - SHOWN_PER_KIND:,} more")
    return lines


def _shortened(kind: DifferenceKind, text: str) -> str:
    if kind == "file" and text != ABSENT:
        return text[:12]
    if len(text) > 60:
        return f"{text[:57]}..."
    return text
