"""`fit --pretrain FOLDER`: a copy of the network is trained on own unlabelled data first, and joins the comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from frostline.base.events import Emit, Event
from frostline.data.unlabelled import read_unlabelled
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.models.network import Network
from frostline.planning.prepare import map_network
from frostline.planning.sources import Mapped, ReadSource, entry_pretrained, make_source
from frostline.pretrain.pretraining import PURPOSE, PretrainPlan, train_network
from frostline.pretrain.run import default_method
from frostline.recipe.settings import Settings

FOLDER = "pretrain"  # of the checkpoint, among what a run needs to be resumed


def pretrained_source(settings: Settings, first: ReadSource, work: Path, emit: Emit) -> ReadSource:
    """Train a copy of the first source's network on the unlabelled data of `--pretrain`, as a further source.

    The data of the comparison stay those of the first source, so its strategies meet the same samples and blocks. What
    equals a sealed sample is left out of that data. The operations that the training took count as costs of its
    strategies. A checkpoint lies in `work`: called again with the same settings, it goes on with the same bits. Raises
    FrostlineError for data that can't be read, a method that doesn't apply and a training that diverges.
    """
    assert settings.pretrain is not None
    entry = entry_pretrained(settings, first.entry)
    network = first.study.network
    dataset = first.read.dataset
    sealed = frozenset(dataset.samples[i].sha256 for i in dataset.sealed)
    data = read_unlabelled(
        list_unlabelled(settings.pretrain),
        network.preprocess,
        replace(PURPOSE, without=sealed),
        threads=first.study.compute.threads,
        emit=emit,
        chosen_length=True,
    )
    trained = train_network(network, data, arm_plan(settings, network), work / FOLDER, emit)
    if trained.collapsed:
        emit(Event(kind="warning", text=f"The training on own unlabelled data collapsed: {trained.collapsed}."))
    network = replace(trained.network, preprocess=network.preprocess)
    mapped = Mapped(*map_network(network, settings.stages))
    source = make_source(entry, first.read, network, mapped, first=False)
    return replace(source, study=replace(source.study, before=trained.operations))


def arm_plan(settings: Settings, network: Network) -> PretrainPlan:
    """Return how the copy is trained: by the method asked for, or the default for what the network reads.

    Rate and batch size are the method's own; the seed is that of the comparison.
    """
    return PretrainPlan(
        method=settings.pretrain_method or default_method(network),
        epochs=settings.pretrain_epochs,
        seed=settings.seed,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
    )
