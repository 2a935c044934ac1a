"""`frostline curve`: how well features transfer at every depth of a network (Yosinski et al. 2014)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frostline.base.errors import BundleError, ModelError, RecipeError, nearest
from frostline.base.events import Emit, silent
from frostline.base.files import write_atomic
from frostline.bundle.curve_record import CURVE_FILE, CURVE_PAGE, TransferCurveRecord, read_curve
from frostline.bundle.runfolder import RunFolder, next_out, open_run
from frostline.curve import applied, full
from frostline.curve.applied import AppliedPlan
from frostline.curve.compose import Finished, compose
from frostline.curve.full import FullPlan
from frostline.curve.measured import Measured
from frostline.curve.protocol import STEPS, readings_of
from frostline.curve.splits import ClassSplit, check_held_out, class_splits
from frostline.curve.training import Bench, Given
from frostline.data.scan import Listing
from frostline.engines.local import Meter
from frostline.features.store import open_store
from frostline.models.network import Network
from frostline.pipeline import read_arguments, read_inputs
from frostline.planning.prepare import batch_size, input_hash, map_network, with_lengths
from frostline.recipe.settings import Settings
from frostline.record.journal import Journal, keep_journal
from frostline.report.curve_page import curve_page
from frostline.report.page import write_page

FULL_SEEDS = 2
APPLIED_SEEDS = 1
# Settings of fit that a curve has, beside those of Protocol.
USED = (
    *("data", "model", "weights", "model_args", "mean", "std", "size", "stages", "labels_per_class", "min_per_class"),
    *("pool_validation", "blocks", "seed", "epochs", "lr", "class_weights", "batch_size", "augment", "out", "device"),
    *("precision", "threads", "store", "trust_code", "resume"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Which protocol is run: the applied one, or with `split_classes` (`auto` or a file) the full one."""

    split_classes: str | None = None
    splits: int | None = None
    seeds: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return what has to be equal for a run to be resumed."""
        return {"split_classes": self.split_classes, "splits": self.splits, "seeds": self.seeds}


@dataclass(frozen=True)
class Curve:
    """A finished curve: its folder and its record."""

    path: Path
    record: TransferCurveRecord


def transferability_curve(data: Any, model: str, *, emit: Emit = silent, **options: Any) -> Curve:
    """Measure how well the features of a network transfer at every depth, as `frostline curve` does.

    Args:
        data, model: as in :func:`frostline.fit`.
        emit: called with every event (base.events).
        options: `split_classes`, `splits` and `seeds` for the protocol, and the fields of
            :class:`frostline.recipe.settings.Settings` that concern data, network, training and machine.

    Returns:
        Curve: `path` of the RUN folder and `record`, the content of curve.json.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    own = {name: options.pop(name) for name in ("split_classes", "splits", "seeds") if name in options}
    for name in options:
        if name not in USED:
            known = (*USED, "split_classes", "splits", "seeds")
            raise RecipeError(f"transferability_curve() has no option {name!r}.", nearest(name, known))
    settings, listing = read_arguments(data, model, options)
    return run_curve(settings, Protocol(**own), emit, listing)


def run_curve(settings: Settings, protocol: Protocol, emit: Emit = silent, listing: Listing | None = None) -> Curve:
    """Do the work of :func:`transferability_curve`."""
    check_options(settings, protocol)
    out = settings.out or next_out(settings.data)
    identity = {**settings.identity(), **protocol.identity()}
    finished = finished_curve(out, identity, resume=settings.resume, named=settings.out is not None)
    if finished:
        return Curve(out, finished)
    with keep_journal(emit) as journal:
        started = time.perf_counter()
        if protocol.split_classes is not None:
            settings = replace(settings, weights="random")
        given, plan = plan_run(settings, protocol, listing, journal)
        study = applied.whole_study(given)
        splits: tuple[ClassSplit, ...] = ()
        if isinstance(plan, FullPlan):
            splits = plan.splits
        described = [{"A": split.a, "B": split.b} for split in splits]
        inputs = input_hash(study, {"splits": json.dumps(described).encode()})
        folder = open_run(out, identity, inputs=inputs, resume=settings.resume)
        journal.attach(folder)
        done = Finished(
            given=given,
            measured=measure(given, plan, folder, journal),
            splits=splits,
            seeds=plan.seeds,
            trunk=study.trunk,
            seconds=time.perf_counter() - started,
        )
        record = compose(done, identity)
        close(folder, record)
        return Curve(out, record)


def check_options(settings: Settings, protocol: Protocol) -> None:
    """Refuse options without effect in the protocol that was asked for. Raises RecipeError or ModelError."""
    for name in ("splits", "seeds"):
        value = getattr(protocol, name)
        if value is not None and (type(value) is not int or value < 1):
            raise RecipeError(f"--{name} {value!r} is not a number of {name}.", "Give a whole number of at least 1.")
    if protocol.split_classes is None:
        if protocol.splits is not None:
            raise RecipeError(
                "--splits doesn't apply: without --split-classes the classes aren't split.", "Add --split-classes auto."
            )
        if settings.weights == "random":
            raise ModelError(
                "--weights random: the applied curve asks what given weights are worth, and random ones hold nothing.",
                "Give --weights FILE, or --split-classes auto to train base networks here.",
            )
        return
    if settings.weights is not None:
        raise RecipeError(
            f"--weights {settings.weights} doesn't apply: with --split-classes both base networks are trained here, "
            "from random weights.",
            "Leave --weights out, or --split-classes.",
        )
    for name, value in (("--blocks", settings.blocks), ("--pool-validation", settings.pool_validation or None)):
        if value is not None:
            raise RecipeError(
                f"{name} doesn't apply: with --split-classes arms learn from all that isn't sealed.",
                "Leave it out.",
            )


def finished_curve(out: Path, identity: Mapping[str, Any], *, resume: bool, named: bool) -> TransferCurveRecord | None:
    """Return the record of a run that is complete already; None where there is none. Raises BundleError."""
    if resume and not named:
        raise RecipeError("--resume without --out doesn't say which run is meant.", "Give --out RUN as well.")
    if not (out / CURVE_FILE).is_file():
        return None
    if not resume:
        raise BundleError(f"--out {out} holds another run.", "Give another folder, or --resume to go on with it.")
    record = read_curve(out)
    stored = record.settings.given
    wanted = json.loads(json.dumps(identity))
    changed = sorted(name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name))
    if changed:
        raise BundleError(
            f"--resume: {out} was made with other settings ({', '.join(changed[:4])}).",
            "Give the settings of that run, or another --out.",
        )
    return record


def plan_run(
    settings: Settings, protocol: Protocol, listing: Listing | None, journal: Journal
) -> tuple[Given, FullPlan | AppliedPlan]:
    """Read network and data, find the cuts, plan splits or folds, and fix batch size and length for all trainings."""
    network, read = read_inputs(settings, listing, journal)
    dataset = read.dataset
    check_source(network, full=protocol.split_classes is not None)
    with journal.phase("map the network"):
        mapped, stages = map_network(network, settings.stages)
        network = with_lengths(network, mapped, stages)
    if not any(stage.cuttable for stage in stages.stages):
        raise ModelError(
            f"{network.spec} can't be cut after any stage, so there is no depth to compare.",
            f"frostline stages {network.spec} --why tells the reasons.",
        )
    plan: FullPlan | AppliedPlan
    if protocol.split_classes is None:
        plan = applied.plan_applied(settings, dataset, protocol.seeds or APPLIED_SEEDS)
        rows = len(dataset.development)
    else:
        splits = class_splits(protocol.split_classes, protocol.splits, dataset.classes, settings.seed)
        check_held_out(dataset)
        plan = FullPlan(splits=splits, seeds=protocol.seeds or FULL_SEEDS)
        rows = full.largest_half(plan, dataset)
    given = Given(
        settings=replace(settings, batch_size=batch_size(settings, rows)),
        dataset=dataset,
        samples=read.samples,
        network=network,
        stages=stages,
        store=open_store(settings.store),
        steps=STEPS,
        readings=readings_of(STEPS),
    )
    return with_length(given, plan), plan


def check_source(network: Network, *, full: bool) -> None:
    """Raise ModelError for a network that has no weights to measure, or that can't be built without them."""
    if network.self_loading:
        raise ModelError(
            f"{network.spec} loads its weights itself, so stages can't be re-initialised.",
            "Let the factory build an untrained network, and give its weights with --weights FILE.",
        )
    if not full and network.weights is None:
        raise ModelError(
            f"{network.spec} has no pre-trained weights, and the applied curve asks what they are worth.",
            "Give --weights FILE, or --split-classes auto to train base networks here.",
        )


def with_length(given: Given, plan: FullPlan | AppliedPlan) -> Given:
    """Return the run with the length that `--epochs` asks for: of the largest part to learn from, for all trainings."""
    if given.settings.epochs is None:
        return given
    if isinstance(plan, FullPlan):
        rows = full.largest_half(plan, given.dataset)
    else:
        rows = max(len(block.train) for block in plan.blocks)
    steps = given.settings.epochs * applied.whole_study(given).steps_per_epoch(rows)
    return replace(given, steps=steps, readings=readings_of(steps))


def measure(given: Given, plan: FullPlan | AppliedPlan, folder: RunFolder, journal: Journal) -> Measured:
    """Choose the rate and run all trainings."""
    lr = given.settings.lr
    if isinstance(plan, FullPlan):
        total = full.full_operations(given, plan, tuned=lr is None)
        bench = Bench(folder=folder, emit=journal.emit, meter=Meter(journal.emit, total))
        with journal.phase("choose the rate"):
            rate = full.choose_base_rate(given, plan, bench, lr)
        with journal.phase("train bases and arms"):
            return full.run_full(given, plan, bench, rate)
    total = applied.applied_operations(given, plan, tuned=lr is None)
    bench = Bench(folder=folder, emit=journal.emit, meter=Meter(journal.emit, total))
    with journal.phase("choose the rate"):
        rate = applied.choose_scratch_rate(given, plan, bench, lr)
    with journal.phase("train the arms"):
        return applied.run_applied(given, plan, bench, rate)


def close(folder: RunFolder, record: TransferCurveRecord) -> None:
    """Write the page and then the record: a folder with curve.json is complete."""
    write_page(folder.path / CURVE_PAGE, curve_page(record.model_dump(mode="json", by_alias=True)))
    write_atomic(folder.path / CURVE_FILE, (record.model_dump_json(indent=1, by_alias=True) + "\n").encode())
    folder.clear_work()
