"""From a network and data to a Study: stage map, compute rule, trunk and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from frostline.base.device import apply_threads, choose_compute, place
from frostline.base.hashing import hash_bytes, hash_values
from frostline.base.memory import allowed_memory
from frostline.base.records import Dataset
from frostline.base.version import VERSION
from frostline.cutting.named import read_named
from frostline.cutting.stages import StageMap, stage_map
from frostline.data.contract import Samples, policy_for
from frostline.data.texts import TextPreprocess
from frostline.features.extract import Features, Trunk
from frostline.features.source import ViewSource
from frostline.features.store import Store
from frostline.models.lengths import usable_lengths
from frostline.models.network import Network, NetworkOptions, example_call, pretrained
from frostline.recipe.settings import Settings
from frostline.train.audit import tensor_hashes
from frostline.train.study import Study

# Few samples train in small batches, which gives more steps per epoch.
SMALL_DATA = 500
SMALL_BATCH = 16
LARGE_BATCH = 32


def batch_size(settings: Settings, rows: int) -> int:
    """Return the user's batch size, or by default 32, and 16 for fewer than 500 development samples."""
    if settings.batch_size:
        return settings.batch_size
    if rows < SMALL_DATA:
        return SMALL_BATCH
    return LARGE_BATCH


def network_options(settings: Settings) -> NetworkOptions:
    """Return what the settings say about the network."""
    return NetworkOptions(
        weights=settings.weights,
        model_args=settings.model_args,
        mean=settings.mean,
        std=settings.std,
        size=settings.size,
    )


def map_network(network: Network, named: Path | None = None, *, headless: bool = False) -> tuple[nn.Module, StageMap]:
    """Return the pre-trained network and its stage map, every offered cut verified; `named`: stages by hand."""
    model = pretrained(network)
    stages = read_named(named) if named else ()
    call = example_call(network.preprocess)
    return model, stage_map(model, call=call, named=stages, verify="all", headless=headless)


def with_lengths(network: Network, model: nn.Module, stages: StageMap) -> Network:
    """Return the network with the lengths at which it reads texts, tried on `model`; one of images as it is."""
    contract = network.preprocess
    if not isinstance(contract, TextPreprocess):
        return network
    return replace(network, preprocess=replace(contract, lengths=usable_lengths(model, stages, contract)))


def make_trunk(settings: Settings, network: Network, model: nn.Module, stages: StageMap, rows: int) -> Trunk:
    """Place the network on its device, in the layout and precision of the written rule."""
    compute = choose_compute(
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        chunk=min(LARGE_BATCH, batch_size(settings, rows)),
        model=model,
        operations=stages.operations,
    )
    apply_threads(compute)
    model = place(model, compute).eval()
    hashes = tensor_hashes(model)
    fingerprint = hash_values(network.fingerprint, hashes)
    if isinstance(network.preprocess, TextPreprocess):
        fingerprint = hash_values(fingerprint, network.preprocess.length, network.preprocess.lengths)
    return Trunk(model=model, stages=stages, fingerprint=fingerprint, compute=compute, hashes=hashes)


def placed_network(settings: Settings, network: Network, rows: int) -> tuple[Network, Trunk]:
    """Map a network and place it on its device; the network then has the lengths at which it reads texts.

    Several data sets may be read by the one trunk. Raises ModelError as :func:`map_network` does.
    """
    model, stages = map_network(network, settings.stages)
    network = with_lengths(network, model, stages)
    return network, make_trunk(settings, network, model, stages, rows)


def make_study(
    settings: Settings, dataset: Dataset, samples: Samples, network: Network, trunk: Trunk, store: Store | None
) -> Study:
    """Collect everything that trials share. `samples` are the contents of all samples of the data set, in order."""
    policy = policy_for(settings.augment, network.preprocess)
    memory = allowed_memory(settings.max_memory)
    rows = dataset.development
    source = ViewSource(
        images=samples.select(rows),
        samples=[dataset.samples[i].sha256 for i in rows],
        preprocess=network.preprocess,
        policy=policy,
        seed=settings.seed,
        threads=trunk.compute.threads,
    )
    return Study(
        dataset=dataset,
        network=network,
        trunk=trunk,
        features=Features(source=source, trunk=trunk, store=store, memory=memory),
        development=rows,
        batch_size=batch_size(settings, len(rows)),
        epochs=settings.epochs,
        augmented=not policy.still,
        seed=settings.seed,
        weigh_classes=settings.class_weights,
        memory=memory,
    )


def input_hash(study: Study, files: Mapping[str, bytes]) -> str:
    """Hash what a run reads and computes with: an interrupted one can only continue with the same."""
    samples = [(s.id, s.sha256, s.part, s.label) for s in study.dataset.samples]
    groups = [one.class_map.groups if one.class_map else () for one in study.every()]
    file_hashes = {name: hash_bytes(content) for name, content in files.items()}
    networks = [(one.trunk.fingerprint, asdict(one.compute)) for one in study.every()]
    return hash_values(networks, VERSION, samples, groups, file_hashes)
