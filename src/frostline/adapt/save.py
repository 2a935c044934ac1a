"""The chosen network on disk: saved, read back and compared, before it counts as saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from frostline.adapt.world import Adapted, World
from frostline.base.device import Compute
from frostline.base.events import Emit, Event
from frostline.base.files import write_atomic
from frostline.bundle.saved import LoadedModel, SavedModel, load_model, save_model, training_entry
from frostline.conclude.sealed import same_outputs
from frostline.models.new_heads import HeadForm
from frostline.train.refit import FIRST_CLASSES, RefitResult
from frostline.train.start import tensors_by_name

CARD = "README.md"  # of a run's model: it tells of the run's own data


def copy_model(run: Path, folder: Path, compute: Compute) -> LoadedModel:
    """Copy the model of a run as it is, without its card, and read it back onto the device in use."""
    for file in sorted((run / "model").rglob("*")):
        name = file.relative_to(run / "model")
        if file.is_file() and str(name) != CARD:
            write_atomic(folder / name, file.read_bytes())
    loaded = load_model(folder, trust_code=True, device=compute.device)
    return replace(loaded, compute=replace(loaded.compute, threads=compute.threads))


def save_adapted(folder: Path, world: World, adapted: Adapted, emit: Emit) -> LoadedModel:
    """Save an arm's network with its factors of the classes, and read it back.

    Raises BundleError where it then predicts otherwise.
    """
    study = world.target
    model = adapted.model or study.trunk.model
    names = tensors_by_name(model)
    if adapted.ledger:
        names = {row["tensor"]: names[row["tensor"]] for row in adapted.ledger}
    temperature = world.temperature
    saved = SavedModel(
        model=model,
        recipe=adapted.recipe,
        form=HeadForm(),
        rate=adapted.rate,
        network=study.network,
        head=study.stages.head,
        cut=None,
        compute=study.compute,
        classes=study.dataset.classes,
        tensors=frozenset(names),
        temperature=None if temperature == 1.0 else temperature,
        prior=adapted.prior,
        entry=_adapt_entry(world, adapted),
        method=adapted.arm,
    )
    save_model(folder, saved)
    loaded = replace(load_model(folder, trust_code=True, device=study.compute.device), compute=study.compute)
    same_outputs(study, RefitResult(saved=saved, ledger=adapted.ledger or [], audit=adapted.audit), loaded)
    emit(Event(kind="note", text="the saved model reads back with the same answers"))
    return loaded


def _adapt_entry(world: World, adapted: Adapted) -> dict[str, object]:
    """What this adaptation adds to the history of the weights."""
    classes = world.target.dataset.classes
    labelled = 0 if world.labelled is None else len(world.labelled)
    return training_entry(
        "adapt",
        world.target.network,
        arm=adapted.arm,
        n=len(world.target.development),
        labelled=labelled,
        classes=len(classes),
        first_classes=list(classes[:FIRST_CLASSES]),
        steps=adapted.steps or None,
        rate=adapted.rate,
    )
