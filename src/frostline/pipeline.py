"""The pipeline, in the order of the diagram in docs/architecture.md. The one module that knows every stage.

files -> Dataset -> sealed test + paired blocks
model spec -> Network -> stage map, verified cuts
recipes x rates x blocks -> trials -> outcomes -> evidence -> verdict -> refit -> sealed test, once -> RUN folder
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frostline.adapt.after_fit import Fitted, adapt_verdict
from frostline.base.clock import Clock
from frostline.base.device import prepare_process
from frostline.base.events import Emit, Event, silent
from frostline.base.packages import package_versions
from frostline.base.records import Dataset
from frostline.bundle import trust
from frostline.bundle.runfolder import RunFolder, next_out
from frostline.bundle.saved import LoadedModel
from frostline.bundle.schema import RunResult
from frostline.bundle.spec import PREFIX, resolve_network
from frostline.conclude.calibrate import calibrate
from frostline.conclude.doubts import find_doubts
from frostline.conclude.elsewhere import predict_target
from frostline.conclude.forgetting import measure_forgetting
from frostline.conclude.learning import learning_curve
from frostline.conclude.sealed import open_seal, save_checked
from frostline.conclude.verdict import conclude
from frostline.data.contract import Samples
from frostline.data.given import list_given
from frostline.data.read import ReadData, read_data
from frostline.data.scan import Listing
from frostline.data.split import make_blocks
from frostline.data.tables import find
from frostline.engines.local import LocalEngine, compute_features, start_meter
from frostline.models.network import Network
from frostline.planning.afford import BudgetedPlan
from frostline.planning.choose import ChosenRecipes
from frostline.planning.foresee import foresee, is_worth_forecasting, may_spare
from frostline.planning.further import FurtherData, read_further
from frostline.planning.plan_race import limit, plan_race
from frostline.planning.prepare import map_network, network_options, with_lengths
from frostline.planning.rehearse import Rehearsal
from frostline.planning.resume import begin, check_measured, check_resumed
from frostline.planning.room import check_memory
from frostline.planning.sources import (
    Entry,
    Mapped,
    ReadSource,
    as_first_read,
    entries_of,
    make_source,
    together,
)
from frostline.pretrain.arm import pretrained_source
from frostline.race.plan import Plan
from frostline.race.race import run_race
from frostline.race.result import RaceResult, raced, standings
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings, keyword_parameters, settings_from
from frostline.record.compose import budget_record, plan_event
from frostline.record.evidence import Evidence
from frostline.record.journal import Journal, keep_journal
from frostline.record.write import RunWriter
from frostline.report.notebook import run_html, run_text
from frostline.report.page import write_report
from frostline.report.stored import read_stored
from frostline.train.study import Study


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record. A notebook shows the answer and the table of strategies."""

    path: Path
    result: RunResult

    def __repr__(self) -> str:
        return run_text(self.path, self.result.model_dump(mode="json", by_alias=True))

    def _repr_html_(self) -> str:
        return run_html(self.path, self.result.model_dump(mode="json", by_alias=True))


def run(
    settings: Settings,
    emit: Emit = silent,
    listing: Listing | None = None,
    clock: Clock | None = None,
    check: StudyCheck | None = None,
    *,
    early: bool = True,
) -> Run:
    """Compare strategies, choose one, refit it, open the sealed test once, write the RUN folder.

    `listing` is what `settings.data` names, if that isn't on disk (data in memory). A budget is counted on `clock`, by
    default from here on. `check` may refuse the data and network that were read. `early`: this process has computed
    nothing yet, so that it may be forked. Raises FrostlineError subclasses for what the user can fix, before anything
    is written where that is possible.
    """
    clock = clock or Clock()
    out = settings.out or next_out(settings.data)
    finished = check_resumed(settings, out)
    if finished:
        return Run(out, finished)
    with keep_journal(emit) as journal:
        ready = prepare(replace(settings, out=out), listing, clock, journal, check, early=early)
        folder = begin(settings, out, ready.study, ready.chosen)
        journal.attach(folder)
        return run_prepared(settings, ready, folder, journal)


def run_prepared(settings: Settings, ready: Prepared, folder: RunFolder, journal: Journal) -> Run:
    """Do what was planned, and write the RUN folder."""
    plan = ready.plan
    study = ready.study.with_checkpoints(folder.work)
    ready = replace(ready, study=study)
    announce(plan, ready.limits, folder, journal)
    guard = ready.limits.guard if ready.limits else None
    forecast_first = is_worth_forecasting(settings, study, plan)
    meter = start_meter(plan, journal.emit, short=forecast_first and may_spare(settings))
    engine = LocalEngine(study, folder, journal.emit, meter, plan.trial_operations, guard)
    with journal.phase("compute features"):
        compute_features(study, plan, meter, stepped=not forecast_first)
    forecast = None
    foresight = None
    if forecast_first:
        with journal.phase("forecast"):
            forecast, foresight = foresee(settings, study, plan, journal.emit)
    with journal.phase("race"):
        labels = study.dataset.labels
        run_trials = engine.known if settings.conclude else engine.run
        race = run_race(plan, run_trials, labels=labels, margin=settings.margin, emit=meter.watch, foresight=foresight)
    if settings.conclude:
        check_measured(race, folder)

    evidence = draw_conclusions(settings, ready, race, engine, journal)
    evidence = replace(evidence, forecast=forecast, foresight=foresight)
    return write_run(settings, ready, evidence, folder, journal)


def write_run(settings: Settings, ready: Prepared, evidence: Evidence, folder: RunFolder, journal: Journal) -> Run:
    """Write the record and the page, with the network that the verdict starts from, and tell the verdict."""
    study = ready.study
    winner = ready.plan.row(evidence.verdict.strategy).recipe
    sealed = ready.sealed_for(winner)
    result = RunWriter(folder, settings, study.of(winner), sealed, evidence, journal, main=study).write()
    write_page_of(folder, journal)
    journal.emit(verdict_event(result, folder))
    return Run(folder.path, result)


def write_page_of(folder: RunFolder, journal: Journal) -> None:
    """Write report.html; a run is complete without it, so a full disk is no reason to fail here."""
    try:
        write_report(read_stored(folder.path))
    except OSError as error:
        text = f"report.html couldn't be written ({error}). Once that is mended: frostline report {folder.path}"
        journal.emit(Event(kind="warning", text=text))


def verdict_event(result: RunResult, folder: RunFolder) -> Event:
    """Say which strategy to use, and in which folder everything lies."""
    data = {"strategy": result.verdict.strategy, "run": str(folder.path)}
    return Event(kind="verdict", text=result.verdict.reason, data=data)


def draw_conclusions(
    settings: Settings, ready: Prepared, race: RaceResult, engine: LocalEngine, journal: Journal
) -> Evidence:
    """Follow the race up to the sealed test: verdict, refit, saved model, learning curve, doubts, the seal opened."""
    study = ready.study
    plan = raced(ready.plan, race)
    labels = study.dataset.labels
    with journal.phase("refit"):
        verdict, refits, race = conclude(settings, study, plan, race, journal.emit)
        winner = study.of(plan.row(verdict.strategy).recipe)
        calibration = calibrate(race.outcomes, verdict.strategy, labels, settings.abstain)
        loaded = save_checked(engine.folder, winner, refits[verdict.strategy], calibration)
    with journal.phase("learning curve"):
        limited = ready.limits is not None or settings.conclude
        learning = learning_curve(study, plan, race, verdict, engine.run_more, limited=limited)
    with journal.phase("look for doubts"):
        doubts = find_doubts(winner, race.outcomes, verdict.strategy)
    with journal.phase("sealed test"):
        tests = open_seal(settings, study, plan, refits, loaded, ready.sealed_for)
    evidence = Evidence(
        plan=plan,
        labels=labels,
        race=race,
        standings=standings(plan, race, labels),
        accuracies=standings(plan, race, labels, "accuracy"),
        verdict=verdict,
        margin=settings.margin,
        packages=ready.packages,
        budget=budget_record(ready.limits, race),
        concluded=tuple(race.left_out) if settings.conclude else None,
        refits=refits,
        tests=tests,
        calibration=calibration,
        learning=learning,
        doubts=doubts,
    )
    return with_further_data(evidence, settings, ready, loaded, engine.folder, journal)


def with_further_data(
    evidence: Evidence, settings: Settings, ready: Prepared, loaded: LoadedModel, folder: RunFolder, journal: Journal
) -> Evidence:
    """Test the refitted strategies on the target and on the network's first task, as far as these were given."""
    study = ready.study
    plan = evidence.plan
    refits = evidence.refits
    if ready.further.target is not None:
        winner = plan.row(evidence.verdict.strategy).recipe
        with journal.phase("test on the target"):
            on_target = predict_target(settings, study, plan, refits, loaded, ready.further.target)
        with journal.phase("adapt to the target"):
            fitted = Fitted(
                study=study.of(winner),
                sealed=ready.sealed_for(winner),
                tested=evidence.tests[evidence.verdict.strategy],
                loaded=loaded,
                outcomes=tuple(evidence.race.outcomes),
                path=folder.path,
            )
            adapted = adapt_verdict(settings, fitted, on_target, journal.emit)
        evidence = replace(evidence, on_target=on_target, adapted=adapted)
    if ready.further.source_task is not None:
        with journal.phase("look back at the source task"):
            trained = {name: (plan.row(name).recipe, refits[name].saved.model) for name in refits}
            forgetting = measure_forgetting(settings, study, ready.further.source_task, trained)
        evidence = replace(evidence, forgetting=forgetting)
    return evidence


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything is written: the study, its plan, and the sealed samples (unopened)."""

    packages: Mapping[str, str]  # versions of what the run computes with
    study: Study
    plan: Plan
    chosen: ChosenRecipes
    limits: BudgetedPlan | None
    sealed: Mapping[str, Samples]  # as each source reads them, by its label
    further: FurtherData  # what --target and --source-data name

    def sealed_for(self, recipe: Recipe) -> Samples:
        """Return the sealed samples as the network of a recipe reads them."""
        first = next(iter(self.sealed.values()))
        return self.sealed.get(recipe.source, first)


StudyCheck = Callable[[Study], None]


def prepare(
    settings: Settings,
    listing: Listing | None,
    clock: Clock,
    journal: Journal,
    check: StudyCheck | None = None,
    *,
    early: bool = True,
) -> Prepared:
    """Read networks and data, find the cuts, try the saved forms, choose the recipes, plan the race.

    `early`: this process has computed nothing yet, so that it may be forked.
    """
    packages = package_versions()
    entries = entries_of(settings)
    listing = listing or find(settings.data)
    sources: list[ReadSource] = []
    with ExitStack() as stack:
        rehearsals = [stack.enter_context(Rehearsal(e.settings, early=early and e is entries[0])) for e in entries]
        for entry, rehearsal in zip(entries, rehearsals, strict=True):
            first = sources[0].study.dataset if sources else None
            sources.append(read_source(entry, listing, journal, rehearsal, first))
        if settings.pretrain:
            with journal.phase("pre-train on own data"):
                work = RunFolder(settings.out or next_out(settings.data)).work
                sources.append(pretrained_source(settings, sources[0], work, journal.emit))
        study, chosen = together(sources)
        if check:
            check(study)
        further = read_further(settings, study.dataset, study.network.preprocess, journal.emit)
        cheap = all(not recipe.takes_steps for recipe in chosen.recipes)
        blocks = make_blocks(study.dataset, count=settings.blocks, seed=settings.seed, cheap=cheap)
        plan = plan_race(settings, study, blocks, chosen)
        check_memory(settings, study, plan)
        for rehearsal in rehearsals:
            rehearsal.finish(journal.emit)
    with journal.phase("measure the speed") if settings.budget else nullcontext():
        plan, limits = limit(settings, study, plan, clock)
    sealed = {source.entry.label: source.sealed for source in sources}
    return Prepared(packages, study, plan, chosen, limits, sealed, further)


def read_source(
    entry: Entry, listing: Listing, journal: Journal, rehearsal: Rehearsal, first: Dataset | None
) -> ReadSource:
    """Read a network, and the data as it reads them; `first`: the data as the first of several sources met them."""
    network, read = read_inputs(entry.settings, listing, journal)
    if first is not None:
        read = as_first_read(read, first, network.spec)
    with journal.phase("map the network"):
        model, stages = map_network(network, entry.settings.stages)
        network = with_lengths(network, model, stages)
        rehearsal.begin(network, model, stages, read.dataset.classes)
    read = replace(read, contract=network.preprocess)
    return make_source(entry, read, network, Mapped(model, stages), first=first is None)


def read_inputs(settings: Settings, listing: Listing | None, journal: Journal) -> tuple[Network, ReadData]:
    """Read network and data; the network's preprocessing is then that which the data were read with."""
    with journal.phase("read the network"):
        listing = listing or find(settings.data)
        network = read_network(settings)
        for note in network.notes:
            journal.emit(Event(kind="warning", text=note))
    with journal.phase(f"read the {listing.noun}"):
        read = read_data(settings, listing, network.preprocess, journal.emit)
    return replace(network, preprocess=read.contract), read


def announce(plan: Plan, limits: BudgetedPlan | None, folder: RunFolder, journal: Journal) -> None:
    """Emit what will be run, and what a budget left out."""
    planned = plan_event(plan)
    journal.emit(Event(kind="plan", text=planned["sentence"], data=planned))
    if limits:
        limits.remember(folder)
        data = {"seconds": limits.seconds, "forecast_seconds": limits.forecast.total(), "left_out": limits.left_out}
        journal.emit(Event(kind="budget", text=limits.sentence(), data=data))


def read_network(settings: Settings) -> Network:
    """Resolve the model spec; code that the user names here is trusted from now on."""
    network = resolve_network(settings.model, network_options(settings), trust_code=settings.trust_code)
    if network.code and not settings.model.startswith(PREFIX):
        trust.remember(network.code.sha256)
    return network


def fit(data: Any, model: str, *, emit: Emit = silent, **options: Any) -> Run:
    """Compare strategies on `data` with `model`, as `frostline fit` does.

    Args:
        data: a folder of class folders, or of train/ val/ test/ folders of them; a table of them
            (:func:`frostline.data.tables.read_table`); or, in memory, a pair (X, y) or a mapping with `image` or
            `text`, with `label` and optionally `split` and `group` (:func:`frostline.data.given.list_given`).
        model: a spec such as `timm:resnet18` or `torch:FILE.py:factory`.
        emit: called with every event (base.events).
        options: the fields of :class:`frostline.recipe.settings.Settings`; paths may be strings.

    Returns:
        Run: `path` of the RUN folder and `result`, the record.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    settings, listing = read_arguments(data, model, options)
    return run(settings, emit, listing)


def read_arguments(data: Any, model: str, options: Mapping[str, Any]) -> tuple[Settings, Listing | None]:
    """Make settings from what a public function is given, and the listing of data in memory; prepare the process."""
    listing = None
    if not isinstance(data, (str, Path)):
        listing = list_given(data)
        data = listing.root
    settings = settings_from(data, model, options)
    prepare_process(settings.threads)
    return settings, listing


# what `help` and editors show is the one list of settings
fit.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(fit).parameters.values())[:3],
        *keyword_parameters(without=("data", "model")),
    ],
    return_annotation="Run",
)
