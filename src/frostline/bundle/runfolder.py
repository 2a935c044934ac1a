"""The RUN folder: made only once all input has been checked; every finished trial is on disk before it counts."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from frostline.base import lock, worker
from frostline.base.cells import csv_text
from frostline.base.errors import BundleError
from frostline.base.files import json_text, parse_json, read_regular, write_atomic, write_json
from frostline.base.hashing import hash_bytes, hash_file
from frostline.base.records import AuditCount, Block, CurvePoint, Dataset, FloatArray, Outcome
from frostline.bundle.schema import RunResult

RESULT = "result.json"
RECORDS = ("result.json", "pretrain.json", "adapt.json")  # those with a saved model beside them
PRETRAINED = "pretrain.json"  # the record of a network that learnt without labels
STUDY = "study.json"  # in WORK: what the run was begun with
WORK = ".work"  # what is needed to resume; gone once the run is complete
TENSORBOARD = "tensorboard"  # what `--track tensorboard` writes: it holds times, and a run is the same without
VARYING = (
    "result.json",
    "log.jsonl",
    "trials.jsonl",
    "report.html",
    "model/README.md",
)  # hold times, or are made from those that do

LEFT_BEHIND = {"log.jsonl", "shift.html"}  # by a command that can't be resumed and couldn't write its record


@dataclass(frozen=True)
class RunFolder:
    """A RUN folder that is being written."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / WORK

    def hold(self) -> None:
        """Hold the folder until this process ends, so that no other one writes in it.

        Raises BundleError where another process does.
        """
        owner = lock.hold(self.work)
        if owner is not None:
            number = f" (process {owner})" if owner else ""
            raise BundleError(
                f"Another frostline process{number} is writing in {self.path}.",
                "Wait until it has ended, or give another --out.",
            )
        worker.begun(str(self.path))

    @property
    def complete(self) -> bool:
        return (self.path / RESULT).exists() or (self.path / PRETRAINED).exists()

    def load_outcome(self, key: str) -> Outcome | None:
        """A trial that an interrupted run finished; a damaged file counts as not finished."""
        try:
            note = parse_json(self._outcome_path(key).read_text(encoding="utf-8"))
            body = json.dumps(note["outcome"], sort_keys=True)
            if hash_bytes(body.encode()) != note["sha256"]:
                return None
            return outcome_from(note["outcome"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save_outcome(self, outcome: Outcome) -> None:
        value = asdict(outcome)
        body = json.dumps(value, sort_keys=True)
        write_json(self._outcome_path(outcome.key), {"sha256": hash_bytes(body.encode()), "outcome": json.loads(body)})

    def _outcome_path(self, key: str) -> Path:
        return self.work / "outcomes" / f"{hash_bytes(key.encode())[:24]}.json"

    def close(self, result: RunResult) -> None:
        """Write the record last: a folder with result.json is complete."""
        write_atomic(self.path / "result.json", (result.model_dump_json(indent=1, by_alias=True) + "\n").encode())
        self.clear_work()

    def clear_work(self) -> None:
        """Remove what was needed to resume the run, now that it is complete."""
        shutil.rmtree(self.work, ignore_errors=True)
        lock.release(self.work)


def is_begun(path: Path) -> bool:
    """True where a run was begun in this folder, interrupted or complete."""
    return (path / WORK / STUDY).exists() or RunFolder(path).complete


def check_out(path: Path, *, resume: bool) -> None:
    """Refuse a folder that holds another run or other files (before anything is computed)."""
    if path.exists() and not path.is_dir():
        raise BundleError(f"--out {path} is a file.", "Give a folder that doesn't exist yet.")
    if not path.exists() or {file.name for file in path.iterdir()} <= LEFT_BEHIND:
        return
    if not (path / WORK).exists() and not RunFolder(path).complete:
        raise BundleError(f"--out {path} is a folder with other files.", "Give a folder that doesn't exist yet.")
    if not resume:
        raise BundleError(f"--out {path} holds another run.", "Give another folder, or --resume to go on with it.")
    if (path / WORK).exists():
        RunFolder(path).hold()


def open_run(path: Path, identity: Mapping[str, Any], *, inputs: str, resume: bool) -> RunFolder:
    """Make the folder, or take up an interrupted run. Raises BundleError.

    Args:
        identity: the settings that can change a result; they have to be those of the interrupted run.
        inputs: hash of images, network code and weights, which have to be the same too.
    """
    check_out(path, resume=resume)
    folder = RunFolder(path)
    study = folder.work / STUDY
    if study.exists():
        settings, begun_with = _begun_with(study)
        _same_settings(path, settings, identity)
        if begun_with != inputs:
            raise BundleError(
                f"--resume: the images, the network's code or its weights have changed since {path} was begun.",
                "Put them back, or give another --out.",
            )
        return folder
    folder.work.mkdir(parents=True, exist_ok=True)
    folder.hold()
    write_json(study, {"settings": dict(identity), "inputs": inputs})
    return folder


def _begun_with(study: Path) -> tuple[dict[str, Any], str]:
    """Settings and hash of the inputs that a run was begun with. Raises BundleError where the file is damaged."""
    try:
        stored = parse_json(study.read_text(encoding="utf-8"))
        return dict(stored["settings"]), str(stored["inputs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{study} is damaged, so it can't be told which run was begun here.", "Give another --out."
        ) from error


def finished_run(path: Path, identity: Mapping[str, Any]) -> RunResult | None:
    """The record of a run that is complete already; BundleError where it had other settings, None where it isn't."""
    if not RunFolder(path).complete:
        return None
    result = read_result(path)
    _same_settings(path, result.settings, identity)
    return result


def _same_settings(path: Path, stored: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(identity))
    changed = sorted(k for k in {*stored, *wanted} if stored.get(k) != wanted.get(k))
    if changed:
        raise BundleError(
            f"--resume: {path} was begun with other settings ({', '.join(changed[:4])}).",
            "Give the settings of that run, or another --out.",
        )


def next_out(data: Path, root: Path = Path("runs")) -> Path:
    """The default RUN folder: runs/DATA-N with the first free N."""
    name = data.resolve().name or "data"
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def make_next_out(data: Path) -> Path:
    """Make the default RUN folder and return it; of two processes that begin at once, each gets its own."""
    while True:
        out = next_out(data)
        out.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            out.mkdir()
            return out


def read_result(run: Path) -> RunResult:
    """The record of a run. Raises BundleError where there is none or it isn't one of ours."""
    path = run / RESULT
    if (run / PRETRAINED).is_file() and not path.is_file():
        raise BundleError(
            f"{run} holds a network that was pre-trained without labels: it compared nothing and knows no classes.",
            f"Start from it: frostline fit DATA --model run:{run}. What it learnt: frostline show {run}.",
        )
    if not path.is_file():
        unfinished = (run / WORK).exists()
        raise BundleError(
            f"{run} is not a finished run: it holds no result.json.",
            "Go on with the same frostline fit command and --resume."
            if unfinished
            else "Give a folder that frostline fit wrote.",
        )
    try:
        return RunResult.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is not a record of this version: {where}: {first['msg']}.",
            "Run frostline fit again with this version.",
        ) from error


def outcome_from(value: Mapping[str, Any]) -> Outcome:
    """An Outcome from its JSON form."""
    fields = dict(value)
    fields["rows"] = tuple(fields["rows"])
    fields["probabilities"] = tuple(tuple(row) for row in fields["probabilities"])
    fields["curve"] = tuple(CurvePoint(**point) for point in fields["curve"])
    fields["audit"] = AuditCount(**{**fields["audit"], "no_gradient": tuple(fields["audit"]["no_gradient"])})
    return Outcome(**fields)


def write_trials(path: Path, outcomes: Iterable[Outcome]) -> None:
    """trials.jsonl: every trial with its curve (probabilities are in oof.parquet)."""
    lines = []
    for outcome in outcomes:
        value = asdict(replace(outcome, probabilities=(), rows=()))
        del value["probabilities"], value["rows"]
        lines.append(json.dumps(value, sort_keys=True))
    write_atomic(path, ("\n".join(lines) + "\n").encode() if lines else b"")


def write_oof(path: Path, outcomes: Iterable[Outcome], ids: Sequence[str], classes: Sequence[str]) -> None:
    """oof.parquet: out-of-fold probabilities, one row a (strategy, block, sample)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    blocks = [o for o in outcomes if o.purpose == "block" and o.ok]
    columns: dict[str, Any] = {
        "strategy": [o.strategy for o in blocks for _ in o.rows],
        "block": pa.array([o.block for o in blocks for _ in o.rows], pa.int32()),
        "id": [ids[row] for o in blocks for row in o.rows],
    }
    for index, name in enumerate(classes):
        columns[f"p:{name}"] = pa.array([p[index] for o in blocks for p in o.probabilities], pa.float64())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write_atomic(path, buffer.getvalue())


def write_predictions(
    path: Path, ids: Sequence[str], labels: Sequence[int], probabilities: FloatArray, classes: Sequence[str]
) -> None:
    """predictions.csv: the sealed rows."""
    header = ("id", "label", "predicted", *(f"p:{name}" for name in classes))
    rows = (
        (name, classes[label], classes[int(row.argmax())], *(f"{p:.9g}" for p in row))
        for name, label, row in zip(ids, labels, probabilities, strict=True)
    )
    write_atomic(path, csv_text(header, rows).encode())


def write_samples(path: Path, dataset: Dataset, blocks: Sequence[Block]) -> None:
    """samples.csv: every sample that took part, with its bytes' hash and the blocks that it was validated in."""
    validated: dict[int, list[str]] = {}
    for block in blocks:
        for row in block.validation:
            validated.setdefault(int(row), []).append(str(block.index))
    header = ("id", "label", "part", "group", "sha256", "validated_in")
    rows = (
        (s.id, dataset.classes[s.label], s.part, s.group, s.sha256, " ".join(validated.get(row, ())))
        for row, s in enumerate(dataset.samples)
    )
    write_atomic(path, csv_text(header, rows).encode())


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files in a RUN folder that equal runs write equally, by their path in it."""
    aside = (folder / WORK, folder / TENSORBOARD)
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not any(place in f.parents for place in aside)]
    names = {f.relative_to(folder).as_posix(): f for f in files}
    return {name: hash_file(file) for name, file in names.items() if name not in VARYING}


def check_recorded(model: Path) -> None:
    """Raise BundleError where a file of a RUN's saved model isn't the one that the RUN's record names by its hash.

    Code is another matter (`bundle.trust`), and a folder without a record beside it can't be checked.
    """
    for record in RECORDS:
        for name, digest in _recorded_files(model.parent / record).items():
            file = model.parent / name
            if file.parent != model or file.suffix == ".py" or not file.is_file():
                continue
            if hash_file(file) != digest:
                raise BundleError(
                    f"{file} isn't what the run wrote: {record} names another SHA-256 of it.",
                    "Put it back, or run the command again that made it.",
                )


def _recorded_files(record: Path) -> dict[str, str]:
    """The hashes in a record, by the files' names; none where there is no record that can be read."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        return {str(name): str(digest) for name, digest in parse_json(read_regular(record))["files"].items()}
    return {}


def write_value(path: Path, value: Any) -> None:
    write_atomic(path, json_text(value).encode())
