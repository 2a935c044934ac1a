"""`frostline shift`: how do two data sets differ, as a network sees them, and what helps? Nothing is trained.

Nothing is written before the answer is there; what was computed lies in the store, so that a second call is quick.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process
from frostline.base.errors import DataError, ModelError, RecipeError, nearest
from frostline.base.events import Emit, Event, ProgressEvent, silent
from frostline.base.files import write_atomic
from frostline.bundle.origin import read_samples
from frostline.bundle.runfolder import RunFolder, check_out, next_out
from frostline.bundle.shift_record import SHIFT_FILE, ShiftResult
from frostline.bundle.spec import PREFIX
from frostline.data.unlabelled import Unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.features.store import open_store
from frostline.models.network import Network
from frostline.pipeline import read_network
from frostline.planning.prepare import placed_network
from frostline.planning.run_source import RunSource, read_run
from frostline.recipe.settings import Settings, keyword_parameters, settings_from
from frostline.record.journal import Journal, keep_journal
from frostline.record.shifted import Cards, Shifted, shift_result, typical_cards
from frostline.report.shift_page import write_shift_page
from frostline.shift.inputs import list_source, list_target, read_both, read_target, refuse_same
from frostline.shift.study import Compared, Place, compare_data, compare_with_run, diagnose_compared

# Settings of `fit` that say something here too; the others are refused.
USED = (
    *("data", "model", "weights", "model_args", "mean", "std", "size", "stages", "out"),
    *("seed", "device", "precision", "threads", "store", "trust_code"),
)
BROUGHT = ("weights", "model_args", "mean", "std", "size", "stages")  # by a run


@dataclass(frozen=True)
class Diagnosed:
    """A finished diagnosis: its folder and its record."""

    path: Path
    result: ShiftResult


@dataclass(frozen=True, kw_only=True)
class ShiftSettings:
    """What is asked for.

    Attributes:
        common: `data` names the target; of the others those in USED.
        source: a path or data in memory; None: a run's own.
        target: as `common.data`, or data in memory.
        examples: the page shows samples.
    """

    common: Settings
    source: Any = None
    target: Any = None
    examples: bool = True

    @property
    def run(self) -> Path | None:
        """The run that the network is from."""
        if self.common.model.startswith(PREFIX):
            return Path(self.common.model.removeprefix(PREFIX))
        return None

    def identity(self) -> dict[str, Any]:
        """Return what the record keeps of the settings."""
        values = {name: value for name, value in self.common.identity().items() if name in USED}
        source = str(self.source) if isinstance(self.source, Path) else None
        return {**values, "source": source, "examples": self.examples}


def diagnose_shift(
    source: Any, target: Any, model: str, *, examples: bool = True, emit: Emit = silent, **options: Any
) -> Diagnosed:
    """Say how two data sets differ as a network sees them, as `frostline shift` does.

    Args:
        source: a folder of images, with or without class folders; a table; an `.npy` file; a `.txt` file of texts; or
            in memory an array of images, a list of texts, a pair (X, y) or a mapping. None with `run:RUN`: the run's
            own data.
        target: likewise. Its labels are optional; so are the source's, but without them little can be said.
        model: a spec such as `torch:FILE.py:factory` or `run:RUN`.
        examples: show the samples that are most typical of either side on the page.
        emit: called with every event (base.events).
        options: `out`, `weights`, `model_args`, `mean`, `std`, `size`, `stages`, `seed`, `device`, `precision`,
            `threads`, `store`, `trust_code`.

    Returns:
        Diagnosed: `path` of the folder and `result`, the record.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    for name in options:
        if name not in USED:
            raise RecipeError(f"diagnose_shift() has no option {name!r}.", nearest(name, USED[2:]))
    path = target
    if not isinstance(target, (str, Path)):
        path = list_unlabelled(target, partly=True).listing.root
    settings = ShiftSettings(
        common=settings_from(path, model, options),
        source=Path(source) if isinstance(source, str) else source,
        target=Path(target) if isinstance(target, str) else target,
        examples=examples,
    )
    prepare_process(settings.common.threads)
    return run_shift(settings, emit)


def run_shift(settings: ShiftSettings, emit: Emit = silent) -> Diagnosed:
    """Do the work of :func:`diagnose_shift`."""
    begun = time.perf_counter()
    _check(settings)
    name = settings.common.data.resolve().name or "target"
    out = settings.common.out or next_out(Path(f"{name}-shift"))
    check_out(out, resume=False)
    notes = _Notes(emit)
    with keep_journal(notes.emit) as journal:
        read = _read_given(settings, journal)
        with journal.phase("compute features"):
            compared = _compare_sides(settings, read, journal)
        with journal.phase("diagnose the shift"):
            diagnosis = diagnose_compared(compared, seed=settings.common.seed, progress=_progress(journal.emit))
        made = Shifted(
            compared=compared,
            diagnosis=diagnosis,
            paths=read.paths,
            found=read.found,
            notes=notes.texts,
            run=str(settings.run) if settings.run else None,
            seconds=time.perf_counter() - begun,
            phases=tuple(journal.phases),
        )
        result = shift_result(made, settings.identity())
        cards = typical_cards(compared, result) if settings.examples else {}
        _write_folder(out, result, cards, journal)
        journal.emit(
            Event(kind="verdict", text=result.sentences[0], data={"situation": result.situation, "run": str(out)})
        )
        return Diagnosed(out, result)


@dataclass
class _Notes:
    """Passes events on, and keeps the sentences of notes and warnings."""

    listener: Emit
    texts: list[str] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        if event.kind in ("note", "warning"):
            self.texts.append(event.text)
        self.listener(event)


def _check(settings: ShiftSettings) -> None:
    """Refuse what can't be meant."""
    common = settings.common
    refuse_same(settings.source, settings.target)
    if settings.run is None:
        if settings.source is None:
            raise DataError(
                "One data set was given, but a difference needs two.",
                "As in frostline shift SOURCE TARGET --model SPEC; a run brings its own source: --model run:RUN.",
            )
        if "," in common.model:
            raise ModelError(
                f"--model {common.model} names several networks, but data are compared by one.", "Give one network."
            )
        return
    for name in BROUGHT:
        if getattr(common, name) not in (None, {}):
            raise ModelError(
                f"--{name.replace('_', '-')} doesn't apply to {common.model}: the run brings its own.", "Leave it out."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _GivenSides:
    """The network and both sides, as it reads them; `source` None: that of `run`."""

    network: Network
    run: RunSource | None
    source: Unlabelled | None
    target: Unlabelled
    paths: tuple[str, str]
    found: tuple[int, int]


def _read_given(settings: ShiftSettings, journal: Journal) -> _GivenSides:
    common = settings.common
    emit = journal.emit
    target = list_target(settings.target, common.seed, emit)
    source = None
    if settings.source is not None:
        source = list_source(settings.source, common.seed, emit)
    with journal.phase("read the network"):
        run = None
        if settings.run is None:
            network = read_network(common)
        else:
            run = _run_with_source(settings, settings.run, emit)
            network = run.network
        for note in network.notes:
            emit(Event(kind="warning", text=note))
    with journal.phase(f"read the {target.listing.listing.noun}"):
        if run is not None and (source is None or run.dataset is not None):
            read = read_target(target, network.preprocess, common, emit)
            return _GivenSides(
                network=network,
                run=run,
                source=None,
                target=read,
                paths=(_run_data(run, settings.source), str(read.path)),
                found=(_run_count(run), target.found),
            )
        assert source is not None
        if run is not None:
            common = replace(common, size=_length_of(run))
        first, second = read_both(source, target, network.preprocess, common, emit)
    if run is not None:
        _warn_learnt(run, first, emit)
    return _GivenSides(
        network=replace(network, preprocess=first.contract),
        run=None,
        source=first,
        target=second,
        paths=(str(first.path), str(second.path)),
        found=(source.found, target.found),
    )


def _run_with_source(settings: ShiftSettings, path: Path, emit: Emit) -> RunSource:
    """Read a run; a source that was given is the run's own where its samples are those of the record."""
    if settings.source is None:
        return read_run(path, settings.common, emit)
    try:
        return read_run(path, settings.common, emit, settings.source)
    except DataError:
        return replace(read_run(path, settings.common, silent), dataset=None, samples=None)


def _length_of(run: RunSource) -> int | None:
    return getattr(run.network.preprocess, "length", None)


def _run_data(run: RunSource, given: Any) -> str:
    if isinstance(given, Path):
        return str(given)
    return run.result.data.path


def _run_count(run: RunSource) -> int:
    return run.result.data.n_development + run.result.data.n_test


def _warn_learnt(run: RunSource, source: Unlabelled, emit: Emit) -> None:
    """Warn where the network was trained on samples of the source: it sees these otherwise than new ones."""
    learnt = {note.sha256 for note in read_samples(run.run).values() if note.part != "sealed"}
    count = sum(sha256 in learnt for sha256 in source.hashes)
    if count and run.recipe.frozen_stages < len(run.recipe.origins):
        text = (
            f"{count} of {len(source)} source samples are among those that the network of {run.run} was trained on, "
            "which alone can make a difference. Leave SOURCE out to compare with the run's own held-out samples."
        )
        emit(Event(kind="warning", text=text))


def _compare_sides(settings: ShiftSettings, read: _GivenSides, journal: Journal) -> Compared:
    common = settings.common
    if read.run is not None:
        common = replace(common, stages=read.run.stages)
    rows = len(read.target)
    network, trunk = placed_network(common, read.network, rows)
    place = Place(settings=common, network=network, trunk=trunk, store=open_store(common.store))
    if read.run is not None:
        compared = compare_with_run(place, read.run, read.target, journal.emit)
    else:
        assert read.source is not None
        compared = compare_data(place, read.source, read.target, journal.emit)
    if compared.copies:
        text = f"{compared.copies} of {rows} target samples are exact copies of source samples: the two overlap there."
        journal.emit(Event(kind="note", text=text))
    return compared


def _progress(emit: Emit) -> Any:
    begun = time.perf_counter()

    def tell(share: float, text: str) -> None:
        left = None
        if share > 0:
            left = (time.perf_counter() - begun) / share * (1 - share)
        emit(ProgressEvent(kind="progress", text=text, done=share, total=1.0, seconds_left=left))

    return tell


def _write_folder(out: Path, result: ShiftResult, cards: Cards, journal: Journal) -> None:
    """Write the page, and the record last: a folder with shift.json is complete. A full disk spoils the page alone."""
    out.mkdir(parents=True, exist_ok=True)
    journal.attach(RunFolder(out))
    try:
        write_shift_page(result.model_dump(mode="json", by_alias=True), cards, out)
    except OSError as error:
        journal.emit(Event(kind="warning", text=f"shift.html couldn't be written ({error})."))
    write_atomic(out / SHIFT_FILE, (result.model_dump_json(indent=1, by_alias=True) + "\n").encode())


# what `help` and editors show is the one list of settings
diagnose_shift.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(diagnose_shift).parameters.values())[:5],
        *(p for p in keyword_parameters(without=("data", "model")) if p.name in USED),
    ],
    return_annotation="Diagnosed",
)
