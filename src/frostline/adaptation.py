"""`frostline adapt`: fit a run's network to data of another distribution, and choose how without looking at its labels.

Everything is checked before anything is written. Each finished arm is on disk before it counts.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frostline.adapt.arms import ARMS, LABELLED
from frostline.adapt.choice import AS_IS
from frostline.adapt.diagnosed import diagnose_target, found_of
from frostline.adapt.judge import Found, open_labels
from frostline.adapt.kept import KeptArms
from frostline.adapt.labelled import adapt_by_labels, label_folds
from frostline.adapt.save import copy_model, save_adapted
from frostline.adapt.study import AdaptStudy, adapt_world
from frostline.adapt.target import TARGET_LABELS, Target, read_adapt_target
from frostline.adapt.world import SourceOutputs, World
from frostline.base.device import prepare_process
from frostline.base.errors import BundleError, ModelError, RecipeError, nearest
from frostline.base.events import Emit, Event, silent
from frostline.base.files import write_atomic, write_json
from frostline.base.hashing import hash_values
from frostline.base.version import VERSION
from frostline.bundle.adapt_record import ADAPT_FILE, AdaptResult, read_adapted
from frostline.bundle.predict import predict_samples
from frostline.bundle.runfolder import RunFolder, check_out, make_next_out, open_run
from frostline.bundle.spec import PREFIX
from frostline.data.unlabelled_listing import UnlabelledListing, list_unlabelled
from frostline.features.store import open_store
from frostline.planning.domain import domain_study
from frostline.planning.prepare import placed_network
from frostline.planning.run_source import RunSource, development_study, read_run, sealed_study
from frostline.recipe.settings import Settings, keyword_parameters, settings_from
from frostline.record.adapted import Adaptation, adapt_result, predictions_csv
from frostline.record.compose import dataset_hash
from frostline.record.journal import Journal, keep_journal
from frostline.report.adapt_page import write_adapt_page
from frostline.shift.findings import Diagnosis
from frostline.shift.study import Place

USED = ("out", "seed", "device", "threads", "trust_code", "resume")  # settings of `fit` that say something here
AUTO = ("auto",)


@dataclass(frozen=True)
class AdaptRun:
    """A finished adaptation: its folder and its record. `frostline.load(path)` predicts with the chosen network."""

    path: Path
    result: AdaptResult


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """What is asked for.

    Attributes:
        common: `data` is the target, `model` is `run:RUN`; of the others those in USED.
        target_labels: None: `sealed` where the target names the run's classes, else `none`.
        arms: names of arms, or `auto`: those that fit the kind of shift.
        source: where the run's own data are now, or the same data in memory; None: where its record says.
    """

    common: Settings
    target_labels: str | None = None
    arms: tuple[str, ...] = AUTO
    source: Any = None

    @property
    def run(self) -> Path:
        return Path(self.common.model.removeprefix(PREFIX))

    def identity(self) -> dict[str, Any]:
        """Return what has to be equal for an adaptation to be resumed."""
        kept = ("data", "model", "seed", "device", "threads")
        values = {name: value for name, value in self.common.identity().items() if name in kept}
        return {**values, "target_labels": self.target_labels, "strategies": list(self.arms)}


def adapt_network(
    target: Any,
    model: str,
    *,
    source: Any = None,
    target_labels: str | None = None,
    strategies: str | Sequence[str] = "auto",
    emit: Emit = silent,
    **options: Any,
) -> AdaptRun:
    """Fit a run's network to data of another distribution, as `frostline adapt` does.

    Args:
        target: a folder of images, with or without class folders; a table; an `.npy` file; a `.txt` file of texts; or
            in memory an array of images, a list of texts, a pair (X, y) or a mapping.
        model: `run:RUN`, a network that `frostline.fit` left behind.
        source: where the run's own data are now (or these data); by default where its record says.
        target_labels: `none`; `few`: the labels that there are decide; `sealed`: they are opened once, after the
            choice. By default `sealed` where the target names the run's classes, else `none`.
        strategies: arms, such as "adabn,coral"; "auto": those that fit the kind of shift. The network as it is always
            takes part.
        emit: called with every event (base.events).
        options: `out`, `seed`, `device`, `threads`, `trust_code`, `resume`.

    Returns:
        AdaptRun: `path` of the RUN folder and `result`, the record.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    for name in options:
        if name not in USED:
            raise RecipeError(f"adapt_network() has no option {name!r}.", nearest(name, USED))
    listing = None
    path = target
    if not isinstance(target, (str, Path)):
        listing = list_unlabelled(target, partly=True)
        path = listing.listing.root
    names = strategies.split(",") if isinstance(strategies, str) else list(strategies)
    settings = AdaptSettings(
        common=settings_from(path, model, options),
        target_labels=target_labels,
        arms=tuple(names),
        source=source,
    )
    prepare_process(settings.common.threads)
    return run_adaptation(settings, emit, listing)


def run_adaptation(settings: AdaptSettings, emit: Emit = silent, listing: UnlabelledListing | None = None) -> AdaptRun:
    """Do the work of :func:`adapt_network`; an interrupted adaptation goes on with `resume`."""
    _check_asked(settings)
    done = _finished_adaptation(settings)
    if done is not None:
        assert settings.common.out is not None
        return AdaptRun(settings.common.out, done)
    begun = time.perf_counter()
    with keep_journal(emit) as journal:
        placed = _place_both(settings, journal, listing)
        world, target = placed.world, placed.target
        out = settings.common.out or make_next_out(settings.common.data)
        folder = open_run(out, settings.identity(), inputs=placed.inputs, resume=settings.common.resume)
        journal.attach(folder)
        diagnosis = None
        if not target.nothing_to_do:
            with journal.phase("diagnose the shift"):
                diagnosis = diagnose_target(placed.place, placed.source, target.visible, journal.emit)
        study = _choose(settings, placed, diagnosis, folder, journal)
        journal.emit(
            Event(kind="verdict", text=study.choice.reason, data={"strategy": study.choice.arm, "run": str(out)})
        )
        opened = {}
        if target.mode == "sealed" and target.labels is not None:
            opened = open_labels(study.arms, target.labels, world.classes)
        with journal.phase("save the model"):
            history = _write_model(folder, settings, placed, study, journal.emit)
        made = Adaptation(
            world=world,
            source=placed.source,
            target=target,
            study=study,
            diagnosis=diagnosis,
            opened=opened,
            history=history,
            seconds=time.perf_counter() - begun,
            phases=tuple(journal.phases),
        )
        result = adapt_result(made, settings.identity(), folder.path)
        _close_adaptation(folder, result, journal.emit)
        return AdaptRun(out, result)


# -- what is asked for


def _check_asked(settings: AdaptSettings) -> None:
    """Refuse what can't be meant. Raises RecipeError, ModelError and BundleError."""
    common = settings.common
    if not common.model.startswith(PREFIX):
        raise ModelError(
            f"--model {common.model} is no run: what is adapted is a network that was fitted to labelled data.",
            f"First: frostline fit DATA --model {common.model}. Then give --model run:RUN.",
        )
    if (settings.run / ADAPT_FILE).is_file():
        raise BundleError(
            f"{settings.run} holds a network that was adapted already.",
            "Start from the run that it was adapted from: adapt.json names it under source.run.",
        )
    if settings.target_labels not in (None, *TARGET_LABELS):
        raise RecipeError(
            f"--target-labels {settings.target_labels} is not known.",
            nearest(str(settings.target_labels), TARGET_LABELS),
        )
    if not settings.arms:
        raise RecipeError("--strategies is empty.", "Give names with commas between, or auto.")
    for name in settings.arms:
        if settings.arms != AUTO and name not in ARMS:
            raise RecipeError(f"frostline adapt has no arm {name!r}.", nearest(name, ARMS))
    labelled = [name for name in settings.arms if name in LABELLED]
    if labelled and settings.target_labels != "few":
        raise RecipeError(
            f"--strategies {labelled[0]} learns from target labels, and none may be learnt from.",
            "Add --target-labels few, or leave it out.",
        )


def _finished_adaptation(settings: AdaptSettings) -> AdaptResult | None:
    """Return the record of an adaptation that is complete already; None where there is work to do."""
    common = settings.common
    if common.out is None:
        if common.resume:
            raise RecipeError("--resume without --out doesn't say which run is meant.", "Give --out RUN as well.")
        return None
    if not (common.out / ADAPT_FILE).is_file():
        check_out(common.out, resume=common.resume)
        return None
    if not common.resume:
        raise BundleError(
            f"--out {common.out} holds another adaptation.", "Give another folder, or --resume to see it again."
        )
    result = read_adapted(common.out)
    wanted = json.loads(json.dumps(settings.identity()))
    changed = sorted(k for k in {*result.settings, *wanted} if result.settings.get(k) != wanted.get(k))
    if changed:
        raise BundleError(
            f"--resume: {common.out} was made with other settings ({', '.join(changed[:4])}).",
            "Give the settings of that run, or another --out.",
        )
    return result


# -- source and target in one network


@dataclass(frozen=True, kw_only=True, eq=False)
class _Placed:
    """The run, the target and the world of both, in one place; `inputs` is a hash of all that is computed with."""

    place: Place
    source: RunSource
    target: Target
    world: World
    inputs: str


def _place_both(settings: AdaptSettings, journal: Journal, listing: UnlabelledListing | None) -> _Placed:
    common = settings.common
    with journal.phase("read the run"):
        source = read_run(settings.run, common, journal.emit, settings.source)
        for note in source.network.notes:
            journal.emit(Event(kind="warning", text=note))
    with journal.phase("read the target"):
        found = listing or list_unlabelled(common.data, partly=True)
        target = read_adapt_target(found, source, settings.target_labels, threads=common.threads, emit=journal.emit)
    with journal.phase("place the network"):
        common = replace(common, stages=source.stages)
        network, trunk = placed_network(common, source.network, len(target.data))
        store = open_store(None)
        study = domain_study(common, network, trunk, target.visible, source.classes, store)
        outputs = None
        if source.outputs is not None:
            outputs = SourceOutputs(probabilities=source.outputs.probabilities, labels=source.outputs.labels)
        world = World(
            target=study,
            source=development_study(source, common, network, trunk, store),
            held=sealed_study(source, common, network, trunk, store),
            outputs=outputs,
            temperature=source.temperature,
            labelled=target.learnt,
        )
    if target.mode == "few":
        label_folds(world)  # refuses labels that nothing can be chosen by, before anything is written
    own = dataset_hash(source.dataset) if source.dataset is not None else ""
    inputs = hash_values(VERSION, trunk.fingerprint, target.data.sha256, own, target.mode)
    place = Place(settings=common, network=network, trunk=trunk, store=store)
    return _Placed(place=place, source=source, target=target, world=world, inputs=inputs)


# -- the choice, and what is written


def _choose(
    settings: AdaptSettings, placed: _Placed, diagnosis: Diagnosis | None, folder: RunFolder, journal: Journal
) -> AdaptStudy:
    """Run the arms and choose; labels that may be learnt from decide."""
    world, target = placed.world, placed.target
    kept = KeptArms(folder.work / "arms")
    few = target.mode == "few"
    arms = settings.arms
    if arms == AUTO:
        arms = tuple(name for name in ARMS if few or name not in LABELLED)
    with journal.phase("run the arms"):
        if few and not target.nothing_to_do:
            return adapt_by_labels(world, arms, kept=kept, emit=journal.emit)
        found = found_of(diagnosis)
        if target.nothing_to_do:
            found = Found(nothing=target.nothing_to_do)
        return adapt_world(world, arms, found, all_run=settings.arms != AUTO, kept=kept, emit=journal.emit)


def _write_model(
    folder: RunFolder, settings: AdaptSettings, placed: _Placed, study: AdaptStudy, emit: Emit
) -> list[dict[str, Any]]:
    """Write model/, ledger.json and predictions.csv; return the history of the saved weights."""
    target = placed.target
    if study.choice.arm == AS_IS:
        loaded = copy_model(settings.run, folder.path / "model", placed.world.target.compute)
        ledger_of_run = settings.run / "ledger.json"
        if ledger_of_run.is_file():
            write_atomic(folder.path / "ledger.json", ledger_of_run.read_bytes())
    else:
        loaded = save_adapted(folder.path / "model", placed.world, study.chosen, emit)
        write_json(folder.path / "ledger.json", study.chosen.ledger or [])
    probabilities = predict_samples(loaded, target.data.samples)
    content = predictions_csv(target.data.ids, target.labels, target.names, probabilities, placed.source.classes)
    write_atomic(folder.path / "predictions.csv", content)
    return [dict(entry) for entry in loaded.recipe["history"]]


def _close_adaptation(folder: RunFolder, result: AdaptResult, emit: Emit) -> None:
    """Write the page, and the record last: a folder with adapt.json is complete. A full disk spoils the page alone."""

    try:
        write_adapt_page(result.model_dump(mode="json", by_alias=True), folder.path)
    except OSError as error:
        emit(Event(kind="warning", text=f"adapt.html couldn't be written ({error})."))
    write_atomic(folder.path / ADAPT_FILE, (result.model_dump_json(indent=1, by_alias=True) + "\n").encode())
    folder.clear_work()


# what `help` and editors show is the one list of settings
adapt_network.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(adapt_network).parameters.values())[:6],
        *(p for p in keyword_parameters(without=("data", "model")) if p.name in USED),
    ],
    return_annotation="AdaptRun",
)
