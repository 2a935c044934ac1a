"""What a report reads of a RUN folder: the record and the files beside it, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.base.cells import read_cells
from frostline.base.errors import BundleError
from frostline.base.files import parse_json, read_regular
from frostline.bundle.runfolder import read_result

Values = Mapping[str, Any]


def verdict_of(result: Values) -> Values:
    """Return the entry of the strategy that a record's verdict names."""
    name = result["verdict"]["strategy"]
    entry: Values = next(s for s in result["strategies"] if s["name"] == name)
    return entry


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A finished run, read: `result` is result.json; the others are empty where the folder lacks their file.

    `trials` are the lines of trials.jsonl, `ledger` the tensors of ledger.json, `predictions` and `samples` the rows
    of predictions.csv and samples.csv, `examples` what examples.json holds.
    """

    path: Path
    result: Values
    trials: Sequence[Values] = ()
    ledger: Sequence[Values] = ()
    predictions: Sequence[Mapping[str, str]] = ()
    samples: Sequence[Mapping[str, str]] = ()
    examples: Values = field(default_factory=dict)

    @property
    def verdict(self) -> Values:
        """The entry of the strategy that the verdict names."""
        return verdict_of(self.result)

    def counts(self, part: str) -> Counter[str]:
        """Count the samples of a part by class."""
        return Counter(sample["label"] for sample in self.samples if sample["part"] == part)


def read_stored(run: Path) -> Stored:
    """Read a RUN folder. Raises BundleError where it is none, or where a file beside the record can't be read."""
    result = read_result(run).model_dump(mode="json", by_alias=True)
    present = {name: run / file for name, (file, _) in FILES.items() if (run / file).is_file()}
    return Stored(path=run, result=result, **{name: _read_file(path, FILES[name][1]) for name, path in present.items()})


def _read_file(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(read_regular(path).decode())  # as it is: line breaks within a name belong to it
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise BundleError(
            f"{path} can't be read as frostline fit wrote it: {error}.",
            "Put it back, or run frostline fit again.",
        ) from error


def _trial_lines(text: str) -> list[Values]:
    trials = _json_objects([parse_json(line) for line in text.splitlines()], "strategy purpose block rate curve")
    for trial in trials:
        _json_objects(trial["curve"], "step train_loss")
    return trials


def _ledger(text: str) -> list[Values]:
    return _json_objects(parse_json(text), "stage shape dtype distance")


def _json_objects(rows: Any, keys: str) -> list[Values]:
    """Return JSON objects, all of which hold these keys. Raises ValueError for anything else."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= {*keys.split()} for row in rows):
        raise ValueError(f"expected objects with {keys}")
    return rows


def _predictions(text: str) -> list[dict[str, str]]:
    rows = _table(text, "id label predicted")
    for row in rows:
        float(row[f"p:{row['predicted']}"])
    return rows


def _samples(text: str) -> list[dict[str, str]]:
    return _table(text, "id label part sha256")


def _table(text: str, columns: str) -> list[dict[str, str]]:
    return read_cells(text, columns.split())


def _example_entries(text: str) -> Values:
    (examples,) = _json_objects([parse_json(text)], "classes doubts mistakes samples")
    labels = [entry["label"] for entry in examples["samples"].values()]
    names = [name for group in ("classes", "doubts", "mistakes") for name in examples[group]]
    if not all(isinstance(word, str) for word in (*labels, *names)):
        raise ValueError("expected names as texts")
    return examples


# Field of Stored: its file, and what reads that.
FILES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "trials": ("trials.jsonl", _trial_lines),
    "ledger": ("ledger.json", _ledger),
    "predictions": ("predictions.csv", _predictions),
    "samples": ("samples.csv", _samples),
    "examples": ("examples.json", _example_entries),
}
