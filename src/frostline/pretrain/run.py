"""`frostline pretrain` with a method that needs no labels: data and network in, a RUN folder out."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from frostline.base.device import default_threads, machine, prepare_process
from frostline.base.errors import BundleError, RecipeError, nearest
from frostline.base.events import Emit, Event, PhaseEvent, silent
from frostline.base.files import write_atomic
from frostline.base.hashing import hash_values
from frostline.base.memory import peak_rss_mb
from frostline.base.packages import package_versions
from frostline.base.version import VERSION
from frostline.bundle import trust
from frostline.bundle.pretrain_record import (
    PretrainCostRecord,
    PretrainResult,
    ReadingRecord,
    SourceNetworkRecord,
    UnlabelledRecord,
    read_pretrained,
)
from frostline.bundle.runfolder import PRETRAINED, RESULT, RunFolder, check_out, hashes, next_out, open_run
from frostline.bundle.runlog import RunLog, logged
from frostline.bundle.saved import SavedModel, named_tensors, save_model
from frostline.bundle.spec import PREFIX, resolve_network
from frostline.data.texts import TextPreprocess, Texts
from frostline.data.unlabelled import Unlabelled, read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.models.network import Network, NetworkOptions, example_call, pretrained
from frostline.models.new_heads import HeadForm
from frostline.planning.prepare import network_options
from frostline.pretrain.body import Body
from frostline.pretrain.loop import point_record
from frostline.pretrain.objectives import check_reads, find_method
from frostline.pretrain.pretraining import HEADLESS, PURPOSE, Pretrained, PretrainPlan, told_start, train_network
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings, keyword_parameters, settings_from

# Settings of `fit` that say something here too; the others are refused.
USED = (
    *("data", "model", "weights", "model_args", "mean", "std", "size", "out", "epochs", "lr", "batch_size"),
    *("seed", "device", "precision", "threads", "trust_code", "resume"),
)
ROUNDING = 1e-4  # of the largest feature: layouts in memory choose kernels, which round differently
TEXT_METHOD = "mlm"
IMAGE_METHOD = "simclr"


@dataclass(frozen=True)
class PretrainRun:
    """A finished pre-training: its folder and its record. The network is `run:` and the path."""

    path: Path
    record: PretrainResult

    @property
    def spec(self) -> str:
        """What to give as --model."""
        return f"{PREFIX}{self.path}"


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """Settings of a pre-training: those of `fit` that apply, the method (None: by what the network reads), and its own
    arguments."""

    common: Settings
    method: str | None = None
    arguments: Mapping[str, float] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """Return what has to be equal for a run to be resumed."""
        values = {name: value for name, value in self.common.identity().items() if name in USED}
        return {**values, "method": self.method, "method_args": dict(self.arguments)}


def pretrain_network(
    data: Any,
    model: str,
    *,
    method: str | None = None,
    method_args: Mapping[str, float] | None = None,
    emit: Emit = silent,
    **options: Any,
) -> PretrainRun:
    """Pre-train a network on data without labels, as `frostline pretrain --method simclr` does.

    Args:
        data: a folder of images, with or without folders in it; a table with a column `image` or `text`; an `.npy`
            file of images (N, H, W) or (N, H, W, C); a `.txt` file with one text a line; or in memory an array of
            images, a list of texts, a pair (X, y) or a mapping with `image` or `text` and optionally `label`.
            Labels, where there are any, are read by the monitor alone.
        model: a spec such as `torch:FILE.py:factory`. Its weights are drawn at random; `run:RUN` and networks of
            texts go on from their own.
        method: `simclr`, `vicreg`, `rotation` or `denoise` for images, `mlm` for texts. Default: simclr, mlm.
        method_args: the method's own numbers, such as {"temperature": 0.2} of simclr; docs/pretraining.md lists them.
        emit: called with every event (base.events).
        options: `out`, `epochs`, `lr`, `batch_size`, `weights`, `model_args`, `mean`, `std`, `size`, `seed`, `device`,
            `precision`, `threads`, `trust_code`, `resume`.

    Returns:
        PretrainRun: `path` of the RUN folder, `record`, and `spec`, which `frostline.fit` takes as its model.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    listing = None
    if isinstance(data, (str, Path)):
        path = Path(data)
    else:
        listing = list_unlabelled(data)
        path = listing.listing.root
    for name in options:
        if name not in USED:
            raise RecipeError(f"pretrain_network() has no option {name!r}.", nearest(name, USED))
    settings = PretrainSettings(
        common=settings_from(path, model, options), method=method, arguments=dict(method_args or {})
    )
    prepare_process(settings.common.threads)
    return run_pretraining(settings, emit, given=data if listing is not None else None)


def run_pretraining(settings: PretrainSettings, emit: Emit = silent, given: Any = None) -> PretrainRun:
    """Do the work of :func:`pretrain_network`; `given`: data in memory."""
    common = settings.common
    if settings.method is not None:
        find_method(settings.method)
    out = common.out or next_out(common.data)
    finished = _check_resumed(settings, out)
    if finished:
        return PretrainRun(out, finished)
    log = RunLog(emit)
    with logged(log):
        listing = list_unlabelled(common.data if given is None else given)
        with _phase("read the network", log.emit):
            network = read_start(common)
        for note in network.notes:
            log.emit(Event(kind="warning", text=note))
        method = settings.method or default_method(network)
        check_reads(method, network.preprocess, common.model)
        if method == TEXT_METHOD and network.weights is None:
            raise RecipeError(
                "--method mlm goes on from given weights, and these are random.", "Leave --weights random out."
            )
        with _phase(f"read the {listing.listing.noun}", log.emit):
            data = read_unlabelled(
                listing,
                network.preprocess,
                PURPOSE,
                threads=common.threads or default_threads(),
                emit=log.emit,
                chosen_length=common.size is not None,
            )
        network = replace(network, preprocess=data.contract)
        inputs = hash_values(network.fingerprint, data.sha256, VERSION)
        folder = open_run(out, settings.identity(), inputs=inputs, resume=common.resume)
        log.attach(folder)
        told_start(network, data, method, log.emit)
        with _phase("pre-train", log.emit):
            found = train_network(network, data, plan_of(settings, method), folder.work, log.emit)
        record = _write(folder, settings, network, data, found)
        return PretrainRun(out, record)


@contextlib.contextmanager
def _phase(name: str, emit: Emit) -> Iterator[None]:
    """Say when a part of the work begins and ends."""
    begun = time.perf_counter()
    emit(PhaseEvent(kind="phase", text=name, data={"name": name, "state": "begin", "seconds": 0.0}))
    yield
    seconds = round(time.perf_counter() - begun, 3)
    emit(PhaseEvent(kind="phase", text=name, data={"name": name, "state": "end", "seconds": seconds}))


def plan_of(settings: PretrainSettings, method: str) -> PretrainPlan:
    """Return the plan that the settings describe."""
    common = settings.common
    return PretrainPlan(
        method=method,
        epochs=common.epochs,
        rate=common.lr,
        batch_size=common.batch_size,
        arguments=settings.arguments,
        seed=common.seed,
        device=common.device,
        precision=common.precision,
        threads=common.threads,
    )


def default_method(network: Network) -> str:
    """Return the method for what a network reads."""
    if isinstance(network.preprocess, TextPreprocess):
        return TEXT_METHOD
    return IMAGE_METHOD


def reads_texts(settings: Settings) -> bool:
    """Whether the network of these settings reads texts; its weights don't matter, and may not be there."""
    options = NetworkOptions(weights="random", model_args=settings.model_args, size=settings.size)
    network = resolve_network(settings.model, options, trust_code=settings.trust_code)
    return isinstance(network.preprocess, TextPreprocess)


def read_start(settings: Settings) -> Network:
    """Return the network with the weights that it starts from.

    Random ones, unless the user names others; `run:RUN` brings its own, and so do networks of texts, since masked words
    teach little to random ones. Code that the user names here is trusted from now on.
    """
    options = network_options(settings)
    own = settings.model.startswith(PREFIX) or settings.weights is not None
    if not own and not settings.model.startswith("hf:"):
        options = replace(options, weights="random")
    network = resolve_network(settings.model, options, trust_code=settings.trust_code)
    if not own and network.weights is not None and not isinstance(network.preprocess, TextPreprocess):
        network = resolve_network(settings.model, replace(options, weights="random"), trust_code=settings.trust_code)
    if network.code and not settings.model.startswith(PREFIX):
        trust.remember(network.code.sha256)
    return network


def _check_resumed(settings: PretrainSettings, out: Path) -> PretrainResult | None:
    """Refuse a folder that can't be written or resumed; return the record of a run that is complete already."""
    resume = settings.common.resume
    if resume and settings.common.out is None:
        raise RecipeError("--resume without --out doesn't say which run is meant.", "Give --out RUN as well.")
    check_out(out, resume=resume)
    if not resume:
        return None
    if (out / RESULT).exists():
        raise BundleError(f"--resume: {out} holds a run of frostline fit.", "Give another --out.")
    found = read_pretrained(out)
    if found is None:
        return None
    wanted = json.loads(json.dumps(settings.identity()))
    changed = sorted(k for k in {*found.settings, *wanted} if found.settings.get(k) != wanted.get(k))
    if changed:
        raise BundleError(
            f"--resume: {out} was begun with other settings ({', '.join(changed[:4])}).",
            "Give the settings of that run, or another --out.",
        )
    return found


def _write(
    folder: RunFolder, settings: PretrainSettings, network: Network, data: Unlabelled, found: Pretrained
) -> PretrainResult:
    """Write model/ and check that it reads back; the record last, so that a folder with it is complete."""
    recipe = make_recipe("scratch" if network.weights_name == "random" else "finetune", found.stages.stages)
    saved = SavedModel(
        model=found.model,
        recipe=recipe,
        form=HeadForm(),
        rate=found.training.rate,
        network=replace(network, preprocess=found.network.preprocess),
        head=found.stages.head,
        cut=None,
        compute=found.compute,
        classes=(),
        tensors=frozenset(named_tensors(found.model)),
        entry=found.entry,
        headless=HEADLESS,
        method=str(found.entry["what"]),
    )
    save_model(folder.path / "model", saved)
    _check_saved(folder.path, found)
    record = _pretrain_record(folder, settings, network, data, found)
    text = record.model_dump_json(indent=1, by_alias=True) + "\n"
    write_atomic(folder.path / PRETRAINED, text.encode())
    folder.clear_work()
    return record


def _check_saved(run: Path, found: Pretrained) -> None:
    """Raise BundleError where the saved network, read back, computes otherwise."""
    again = resolve_network(f"{PREFIX}{run}", trust_code=True)
    call = example_call(again.preprocess)
    with torch.no_grad():
        saved = Body(pretrained(again), found.stages).features(call)
        trained = Body(found.model.cpu().eval(), found.stages).features(call)
    if not float((saved - trained).abs().max()) <= ROUNDING * float(trained.abs().max()):
        raise BundleError(
            "The saved network computes differently after reloading.",
            "It keeps state outside its parameters and buffers, so it can't be saved as it is.",
        )


def _pretrain_record(
    folder: RunFolder, settings: PretrainSettings, network: Network, data: Unlabelled, found: Pretrained
) -> PretrainResult:
    training = found.training
    return PretrainResult(
        version=VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=" ".join(sys.argv),
        method=str(found.entry["what"]),
        seed=training.seed,
        machine={**machine(), **asdict(found.compute)},
        packages=package_versions(),
        settings=settings.identity(),
        data=UnlabelledRecord(
            path=str(data.path),
            n=len(data),
            sealed=data.left_out,
            modality="text" if isinstance(data.samples, Texts) else "image",
            sha256=data.sha256,
            labels_for_monitor=data.labels is not None,
        ),
        model=SourceNetworkRecord(
            spec=settings.common.model,
            parameters=sum(p.numel() for p in found.model.parameters()),
            weights=str(found.entry["weights"]),
            weights_sha256=network.weights_sha256,
            history=[dict(entry) for entry in network.history],
        ),
        training={
            "epochs": training.epochs,
            "steps": found.steps,
            "rate": training.rate,
            "batch_size": training.batch_size,
            "arguments": dict(found.arguments),
        },
        curve=[ReadingRecord(**point_record(point)) for point in found.curve],
        collapsed=found.collapsed is not None,
        collapse=found.collapsed,
        cost=PretrainCostRecord(seconds=found.seconds, operations=found.operations, peak_rss_mb=peak_rss_mb()),
        history=[dict(entry) for entry in found.network.history],
        files=hashes(folder.path),
    )


# what `help` and editors show is the one list of settings
pretrain_network.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(pretrain_network).parameters.values())[:5],
        *(p for p in keyword_parameters(without=("data", "model")) if p.name in USED),
    ],
    return_annotation="PretrainRun",
)
