"""`frostline rank`: which of several sources to start from, and at which depth; nothing is trained without --measure.

Every source meets the same samples, sealed part and blocks. One source is freed before the next is read.
"""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError
from frostline.base.events import Emit, Event, ProgressEvent, silent
from frostline.base.hashing import hash_values
from frostline.base.memory import give_back_memory
from frostline.base.records import Block
from frostline.base.version import VERSION
from frostline.bundle.runfolder import RunFolder, next_out, open_run
from frostline.bundle.schema import PhaseRecord
from frostline.data.read import ReadData, read_data
from frostline.data.scan import Listing
from frostline.data.split import make_blocks
from frostline.data.tables import find
from frostline.data.texts import TextPreprocess
from frostline.models.network import Network
from frostline.pipeline import read_arguments, read_network
from frostline.planning.sources import as_first_read
from frostline.rank.advice import recommend
from frostline.rank.compose import agreement_records, measured_agreement_records
from frostline.rank.folder import close_ranking, finished_ranking, load_source, save_source
from frostline.rank.measure import measure_source, measured_strategies
from frostline.rank.record import MeasuredRecord, RankCostRecord, RankDataRecord, RankResult
from frostline.rank.source import Progress, RankedSource, rank_source, scored_rows, source_study
from frostline.recipe.settings import Settings, option
from frostline.recipe.sources import SourceSpec, parse_sources
from frostline.record.compose import dataset_hash
from frostline.record.journal import Journal, keep_journal
from frostline.report.rank_page import write_rank_page

FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What is to be ranked: `settings` hold for all sources; `measure` names strategies that each is trained with."""

    settings: Settings
    sources: tuple[SourceSpec, ...]
    measure: tuple[str, ...] = ()
    foresees: bool = True

    def settings_of(self, source: SourceSpec) -> Settings:
        """Return the settings with which a source is read: a length of training says nothing of its probe."""
        return replace(self.settings, model=source.spec, weights=source.weights, epochs=None)

    def identity(self) -> dict[str, Any]:
        """Return what has to be equal for a ranking to be resumed."""
        return {**self.settings.identity(), "measure": list(self.measure), "forecast": self.foresees}


@dataclass(frozen=True)
class Ranked:
    """A finished ranking: its folder and its record."""

    path: Path
    result: RankResult


def rank_sources(
    data: Any,
    models: str,
    *,
    measure: Sequence[str] = (),
    forecast: bool = True,
    emit: Emit = silent,
    **options: Any,
) -> Ranked:
    """Rank networks to start from on `data`, and the depths of each, as `frostline rank` does.

    Args:
        data: as in :func:`frostline.fit`; the sealed part isn't touched.
        models: specs with commas between, each with its weights: `SPEC,SPEC=FILE,SPEC=random`.
        measure: strategies that every source is then trained with, such as `finetune`.
        forecast: also forecast what training would reach.
        emit: called with every event (base.events).
        options: the fields of :class:`frostline.recipe.settings.Settings` that concern data, machine and output.

    Returns:
        Ranked: `path` of the RUN folder and `result`, the record.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    settings, listing = read_arguments(data, models, options)
    return run_rank(ranking_of(settings, measure, foresees=forecast), emit, listing)


def ranking_of(settings: Settings, measure: Sequence[str], *, foresees: bool) -> Ranking:
    """Check what is asked for; `settings.model` is the list of sources.

    Raises ModelError for a list of fewer than two, RecipeError for strategies that can't be measured.
    """
    sources = parse_sources(settings.model)
    if len(sources) < FEWEST:
        raise ModelError(
            f"--models names one network ({sources[0].text}), but a ranking needs two or more.",
            "As in --models SPEC,SPEC=random. For one network: frostline fit, or frostline forecast.",
        )
    if measure:
        measure = measured_strategies(measure)
    elif settings.epochs is not None:
        raise ModelError("--epochs doesn't apply: nothing is trained.", "Add --measure finetune, or leave it out.")
    return Ranking(settings=settings, sources=sources, measure=tuple(measure), foresees=foresees)


def run_rank(ranking: Ranking, emit: Emit = silent, listing: Listing | None = None) -> Ranked:
    """Do the work of :func:`rank_sources`; an interrupted ranking goes on with `settings.resume`."""
    begun = time.perf_counter()
    done = finished_ranking(ranking.settings, ranking.identity())
    if done is not None:
        assert ranking.settings.out is not None
        return Ranked(ranking.settings.out, done)
    out = ranking.settings.out or next_out(ranking.settings.data)
    ranking = replace(ranking, settings=replace(ranking.settings, out=out))
    with keep_journal(emit) as journal:
        named = _data_words(ranking.settings, in_memory=listing is not None)
        listing = listing or find(ranking.settings.data)
        with journal.phase("read the networks"):
            fingerprints = _fingerprints(ranking, journal)
        with journal.phase(f"read the {listing.noun}"):
            network, read = _read_source_data(ranking, ranking.sources[0], listing, journal.emit)
        blocks = make_blocks(read.dataset, count=ranking.settings.blocks, seed=ranking.settings.seed)
        inputs = hash_values(VERSION, fingerprints, dataset_hash(read.dataset))
        folder = open_run(out, ranking.identity(), inputs=inputs, resume=ranking.settings.resume)
        journal.attach(folder)
        ranked = _rank_all(ranking, _Data(listing, read, network, blocks), fingerprints, folder, journal)
        measured = None
        if ranking.measure:
            with journal.phase("train every source"):
                measured = _measured(ranking, ranked, listing, journal.emit)
        data = _data_record(ranking, read, blocks)
        labels = read.dataset.labels
        result = RankResult(
            version=VERSION,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=shlex.join(sys.argv),
            seed=ranking.settings.seed,
            settings=ranking.identity(),
            data=data,
            sources=[one.record for one in ranked],
            agreement=agreement_records([one.record for one in ranked], seed=ranking.settings.seed),
            measured=measured,
            recommendation=recommend(ranked, labels, blocks, named),
            cost=RankCostRecord(
                wall_seconds=time.perf_counter() - begun,
                phases=[PhaseRecord(name=name, seconds=seconds) for name, seconds in journal.phases],
            ),
        )
        close_ranking(folder, result)
        _write_page(result, out, journal.emit)
        return Ranked(out, result)


def _write_page(result: RankResult, out: Path, emit: Emit) -> None:
    """Write rank.html; a ranking is complete without it, so a full disk is no reason to fail here."""
    try:
        write_rank_page(result.model_dump(mode="json", by_alias=True), out)
    except OSError as error:
        emit(Event(kind="warning", text=f"rank.html couldn't be written ({error})."))


@dataclass(frozen=True, slots=True)
class _Data:
    """The data as the first source reads them, with its network, and the blocks of all."""

    listing: Listing
    first: ReadData
    network: Network
    blocks: tuple[Block, ...]


def _fingerprints(ranking: Ranking, journal: Journal) -> list[str]:
    """Read every network once, so that a mistake in the last one shows before work is done for the first.

    Raises ModelError where some read images and others texts.
    """
    found = []
    texts = []
    for source in ranking.sources:
        network = read_network(ranking.settings_of(source))
        for note in network.notes:
            journal.emit(Event(kind="warning", text=f"{source.label}: {note}"))
        found.append(network.fingerprint)
        texts.append(isinstance(network.preprocess, TextPreprocess))
    if len(set(texts)) > 1:
        reads = ("images", "texts")
        other = ranking.sources[texts.index(not texts[0])]
        raise ModelError(
            f"{ranking.sources[0].label} reads {reads[texts[0]]}, but {other.label} reads {reads[not texts[0]]}.",
            "Rank networks for the same kind of data.",
        )
    return found


def _read_source_data(ranking: Ranking, source: SourceSpec, listing: Listing, emit: Emit) -> tuple[Network, ReadData]:
    settings = ranking.settings_of(source)
    network = read_network(settings)
    read = read_data(settings, listing, network.preprocess, emit)
    return replace(network, preprocess=read.contract), read


def _rank_all(
    ranking: Ranking, data: _Data, fingerprints: Sequence[str], folder: RunFolder, journal: Journal
) -> list[RankedSource]:
    """Rank one source after another; those that an interrupted ranking finished are taken from the folder."""
    ranked = []
    meter = _Meter(journal.emit, len(ranking.sources))
    for place, (source, fingerprint) in enumerate(zip(ranking.sources, fingerprints, strict=True)):
        one = load_source(folder, source.label, fingerprint)
        if one is None:
            with journal.phase(f"rank {source.label}"):
                one = _rank_one(ranking, source, data, meter.of(source.label, place))
            save_source(folder, one)
            give_back_memory()
        else:
            meter.known += 1
        _tell_found(one, journal.emit)
        ranked.append(one)
    return ranked


def _rank_one(ranking: Ranking, source: SourceSpec, data: _Data, progress: Progress) -> RankedSource:
    network, read = data.network, data.first
    if source is not ranking.sources[0]:
        network, read = _read_source_data(ranking, source, data.listing, silent)
        read = as_first_read(read, data.first.dataset, source.text)
    study = source_study(ranking.settings_of(source), network, read.dataset, read.samples)
    return rank_source(study, data.blocks, source, foresees=ranking.foresees, progress=progress)


def _tell_found(one: RankedSource, emit: Emit) -> None:
    """Say what was found of a source, and what couldn't be forecast."""
    record = one.record
    best = max(record.depths, key=lambda depth: depth.probe.accuracy)
    text = f"{record.label}: best probe {best.probe.accuracy:.3f} after stage {best.stage} of {record.stages}"
    if record.finetune is not None:
        text += f", forecast of finetune {record.finetune.accuracy:.3f}"
    emit(Event(kind="ranked", text=text, data={"label": record.label}))
    for reason in dict.fromkeys(record.no_forecast.values()):
        names = [name for name, why in record.no_forecast.items() if why == reason]
        emit(Event(kind="note", text=f"{record.label}: no forecast of {', '.join(names)}: {reason}"))


@dataclass(slots=True)
class _Meter:
    """Progress in sources, with the time left at the speed so far; `known` sources were taken from the folder."""

    emit: Emit
    total: int
    known: int = 0
    started: float = 0.0

    def of(self, label: str, place: int) -> Progress:
        """Return what tells the progress of one source."""
        self.started = self.started or time.perf_counter()

        def tell(share: float, text: str) -> None:
            done = place + share
            left = None
            if done > self.known:
                left = (time.perf_counter() - self.started) / (done - self.known) * (self.total - done)
            self.emit(
                ProgressEvent(kind="progress", text=f"{label}: {text}", done=done, total=self.total, seconds_left=left)
            )

        return tell


def _measured(ranking: Ranking, ranked: Sequence[RankedSource], listing: Listing, emit: Emit) -> MeasuredRecord:
    trained = [measure_source(ranking.settings, one, ranking.measure, listing, emit) for one in ranking.sources]
    records = [one.record for one in ranked]
    return MeasuredRecord(
        strategies=list(ranking.measure),
        epochs=ranking.settings.epochs,
        sources=trained,
        agreement=measured_agreement_records(records, trained, seed=ranking.settings.seed),
    )


def _data_words(settings: Settings, *, in_memory: bool) -> list[str]:
    """Return the data and what was said about them, as on a command line."""
    words = ["DATA" if in_memory else str(settings.data)]
    for name in ("labels_per_class", "min_per_class", "blocks"):
        if getattr(settings, name) is not None:
            words += [option(name), str(getattr(settings, name))]
    if settings.pool_validation:
        words.append(option("pool_validation"))
    if settings.seed:
        words += [option("seed"), str(settings.seed)]
    return words


def _data_record(ranking: Ranking, read: ReadData, blocks: Sequence[Block]) -> RankDataRecord:
    dataset = read.dataset
    return RankDataRecord(
        path=str(ranking.settings.data),
        classes=list(dataset.classes),
        development=len(dataset.development),
        scored=len(scored_rows(dataset, ranking.settings.seed)),
        blocks=len(blocks),
        modality="text" if isinstance(read.contract, TextPreprocess) else "image",
        sealed=dataset.sealed_from,
        sha256=dataset_hash(dataset),
    )
