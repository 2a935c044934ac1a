"""Runs a record again, from its own settings and files, and compares all that it wrote (docs/replay.md)."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process
from frostline.base.errors import DataError, ModelError, RecipeError
from frostline.base.events import Emit, Event, silent
from frostline.base.files import cache_folder
from frostline.bundle import trust
from frostline.bundle.origin import (
    IN_MEMORY,
    KEPT,
    check_samples,
    code_hash,
    code_hash_now,
    code_siblings,
    fit_command,
    read_samples,
    recorded_settings,
)
from frostline.bundle.runfolder import check_out, next_out, read_result
from frostline.bundle.schema import RunResult
from frostline.data.given import list_given
from frostline.data.scan import Listing
from frostline.models.network import Network
from frostline.pipeline import run as run_fit
from frostline.planning.sources import entries_of
from frostline.recipe.settings import Settings
from frostline.report.changes import Change, compute_changes, environment_changes, overruled
from frostline.report.differences import Differences, compare_runs
from frostline.train.study import Study

COMPUTED = ("device", "precision", "threads")  # settings that a rule decided; the record has the values
TORCH = "torch:"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A finished replay: `path` is its folder where that was kept, `result` its record.

    `changes` lists what was known to have changed before anything ran, `differences` what came out differently.
    """

    run: Path
    path: Path | None
    result: RunResult
    changes: tuple[Change, ...]
    differences: Differences

    @property
    def equal(self) -> bool:
        return self.differences.equal

    def sentence(self) -> str:
        """Say what was compared, and what may have made the difference."""
        start = f"The replay of {self.run}"
        differences = self.differences
        if self.equal:
            text = f"{start} is equal: {differences.counts()}"
            if self.changes:
                text += f", although {self._changed()} changed"
            return text + "."
        if not differences.found:
            return (
                f"{start} is equal to its record, but {differences.altered[0]} in the run isn't: that file was "
                "changed after the run."
            )
        first = differences.found[0]
        if {d.where for d in differences.found} <= {*differences.misrecorded}:
            return (
                f"{start} is equal to the files of the run, but the record names another hash of {first.where}: the "
                "record was changed after the run."
            )
        return (
            f"{start} differs: {differences.counts()}; the first difference is in the {first.kind} {first.where}; "
            f"{self._cause()}."
        )

    def _cause(self) -> str:
        if self.changes:
            return f"{self._changed()} changed, which may be the cause"
        return (
            "nothing that the record names has changed, so either the record was edited or there is a bug in frostline "
            "or in the network's code"
        )

    def _changed(self) -> str:
        return ", ".join(change.what for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Where the network and its weights are now (None: where the record says), and where the replay is to be kept."""

    model: str | None = None
    weights: str | None = None
    out: str | Path | None = None
    trust_code: bool = False


def replay(
    run: str | Path,
    *,
    data: Any = None,
    model: str | None = None,
    weights: str | None = None,
    out: str | Path | None = None,
    trust_code: bool = False,
    emit: Emit = silent,
) -> Replay:
    """Run a record again and say what differs, as `frostline replay` does.

    Args:
        run: a RUN folder.
        data: the current location of its data, or the same data in memory, where the run was made from data in memory.
        model: the current spec of its network, if its location has changed.
        weights: the current location of its weights.
        out: the folder to keep the replay in; by default only a replay that differs is kept.
        trust_code: let the run's own copy of the network's code run.
        emit: called with every event.

    Returns:
        Replay: what changed, what differs. The folder is kept if `out` is given or something differs.

    Raises:
        FrostlineError: data, code or weights aren't those of the record (each is named, before anything is computed),
        or the run had a budget or was concluded, so that its plan depended on the machine's speed.
    """
    run = Path(run)
    where = ReplayOptions(model=model, weights=weights, out=out, trust_code=trust_code)
    result = read_result(run)
    prepare_process(result.settings.get("threads"))
    settings, listing = _settings(run, result, where, data)
    code = _check_code(run, settings, named=where.model is not None)
    changes = tuple(environment_changes(result))
    for text in (*(change.sentence() for change in changes), *overruled(result)):
        emit(Event(kind="warning", text=text))
    if where.out:
        check_out(Path(where.out), resume=False)
    cache_folder().mkdir(parents=True, exist_ok=True)  # has room for a store
    with tempfile.TemporaryDirectory(prefix="replay-", dir=cache_folder()) as folder:
        check = _InputCheck(run, result, emit)
        store = settings.store or str(Path(folder) / "store")  # a new one: nothing is taken from the first run
        settings = replace(settings, out=Path(folder) / "run", store=store)
        with _trusting(code, where):
            finished = run_fit(settings, emit, listing, check=check)
        again = read_result(finished.path)
        on_purpose = _on_purpose(result, again, where, data)
        differences = compare_runs(run, finished.path, (result, again), except_=on_purpose)
        kept = _keep(finished.path, run, where.out, equal=differences.equal)
    return Replay(run=run, path=kept, result=again, changes=(*changes, *check.changes), differences=differences)


def _trusting(code: str | None, where: ReplayOptions) -> AbstractContextManager[None]:
    """Let --trust-code hold for this replay only; code that --model names stays trusted."""
    if code is None or where.model is not None:
        return nullcontext()
    return trust.once(code)


def _settings(run: Path, result: RunResult, where: ReplayOptions, data: Any) -> tuple[Settings, Listing | None]:
    """Return the settings to run with, and data in memory as a listing.

    What a rule decided in the run is set, so that this machine's rule doesn't decide again.
    """
    settings = recorded_settings(run, result)
    if result.budget is not None:
        reason = "made with --budget, so its plan depended on the machine's speed then"
        raise _unrepeatable(run, result, settings, reason)
    if result.concluded:
        raise _unrepeatable(run, result, settings, "ended by --conclude, where it happened to be interrupted")
    decided = {name: result.machine[name] for name in COMPUTED}
    settings = replace(settings, **decided, trust_code=where.trust_code)
    if where.model is not None:
        settings = replace(settings, model=where.model)
    if where.weights is not None:
        settings = replace(settings, weights=where.weights)
    if data is not None and not isinstance(data, (str, Path)):
        listing = list_given(data)
        return replace(settings, data=listing.root), listing
    if result.data.kind in IN_MEMORY:
        raise DataError(
            f"{run} was made from data in memory, which no command can find.",
            f'Pass the data in Python: frostline.replay("{run}", data=...).',
        )
    path = settings.data if data is None else Path(data)
    if not path.exists():
        raise DataError(f"The data of {run} are not at {path}.", "Say where they are: --data DIR.")
    return replace(settings, data=path), None


def _unrepeatable(run: Path, result: RunResult, settings: Settings, reason: str) -> RecipeError:
    """Return the error with a command for a run that can be replayed: of the same strategies, and to its end."""
    ran = [s.name for s in result.strategies if s.status in ("raced", "eliminated")]
    own = {Path(name).stem: name for name in settings.strategies if name.endswith(".json")}
    fixed = replace(
        settings,
        budget=None,
        conclude=False,
        strategies=tuple(own.get(name, name) for name in ran),
        blocks=len(result.blocks) or settings.blocks,
    )
    return RecipeError(
        f"{run} was {reason}, and can't be repeated.",
        f"A whole run of the strategies that it had time for can be replayed:\n{fit_command(fixed)}",
    )


def _check_code(run: Path, settings: Settings, *, named: bool) -> str | None:
    """Return the hash of the user's own code; it runs only if it is that of the record, and trusted or named here.

    None where there is no such code, and for several networks, whose code is compared once it was read.
    """
    entries = entries_of(settings)
    if len(entries) > 1:
        own = [entry.settings.model for entry in entries if entry.settings.model.startswith(TORCH)]
        if own and not (named or settings.trust_code):
            raise ModelError(
                f"{run} compares networks with code of their own ({own[0]}).", "Say --trust-code to run it."
            )
        return None
    if not settings.model.startswith(TORCH):
        return None
    file = Path(settings.model.removeprefix(TORCH).rpartition(":")[0])
    if not file.is_file():
        raise ModelError(f"The network's code of {run} is not at {file}.", "Say where it is: --model torch:FILE:NAME.")
    digest = code_hash_now(run, file)
    if digest != code_hash(run):
        what = str(file)
        if code_siblings(run):
            what += " or a file that it imports from beside it"
        raise ModelError(
            f"{what} has changed since {run} was made, so the run can't be replayed.",
            f"Restore it (a copy is {run / 'model' / 'code.py'}), or run frostline fit again.",
        )
    if not named:
        trust.require(file, trust_code=settings.trust_code, sha256=digest)
    return digest


@dataclass
class _InputCheck:
    """Lives for one replay: refuses other data or weights once they are read, and notes changes in how it computes."""

    run: Path
    result: RunResult
    emit: Emit
    changes: tuple[Change, ...] = ()

    def __call__(self, study: Study) -> None:
        check_networks(self.run, self.result, study)
        check_samples(self.run, read_samples(self.run), study.dataset)
        self.changes = tuple(compute_changes(self.result, dataclasses.asdict(study.compute)))
        for change in self.changes:
            self.emit(Event(kind="warning", text=change.sentence()))


def check_networks(run: Path, result: RunResult, study: Study) -> None:
    """Raise ModelError unless code and weights of every network are those of the record."""
    if not result.sources:
        check_network(run, study.network, result.model.weights_sha256, code_hash(run))
        return
    for one, recorded in zip(study.every(), result.sources, strict=True):
        check_network(run, one.network, recorded.weights_sha256, recorded.code_sha256)


def check_network(run: Path, network: Network, weights: str | None, code: str | None) -> None:
    """Raise ModelError unless code and weights of a network have these hashes, which the record of `run` has."""
    found = network.code.sha256 if network.code else None
    if found != code:
        raise ModelError(
            f"The code of {network.spec} isn't the code that {run} was made with.",
            "Restore it, or run frostline fit again.",
        )
    if network.weights_sha256 != weights:
        raise ModelError(
            f"The weights {network.weights_name} aren't those that {run} was made with.",
            "Say where those are: --weights FILE; or run frostline fit again.",
        )


def _on_purpose(result: RunResult, again: RunResult, where: ReplayOptions, data: Any) -> list[str]:
    """List keys of the record that differ because this replay set them: locations, and what a rule had decided."""
    names = {"strategies", *KEPT} & {f.name for f in fields(Settings)}
    names |= {name for name in COMPUTED if result.settings.get(name) != again.settings.get(name)}
    keys = []
    if data is not None:
        keys.append("data.path")
        names.add("data")
    if where.model is not None:
        keys.append("model.spec")
        names.add("model")
    if where.weights is not None:
        names.add("weights")
    return [*keys, *(f"settings.{name}" for name in sorted(names))]


def _keep(again: Path, run: Path, out: str | Path | None, *, equal: bool) -> Path | None:
    """Move the replay to `out`, or, if it differs, to a folder where it can be examined."""
    if out is None and equal:
        return None
    target = Path(out) if out else next_out(Path(f"{run.resolve().name}-replay"))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rmdir()  # empty, as was checked
    shutil.move(again, target)
    return target
