"""A network pre-trained on samples without labels: the work itself, for a RUN of its own or within another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.base.device import Compute, apply_threads, choose_compute, place
from frostline.base.errors import RecipeError, nearest
from frostline.base.events import Emit, Event
from frostline.base.hashing import hash_tensors, hash_values
from frostline.base.seeds import derive_seed
from frostline.bundle.saved import training_entry
from frostline.cutting.guard import one_thread
from frostline.cutting.stages import StageMap, stage_map
from frostline.data.texts import TextPreprocess
from frostline.data.unlabelled import Purpose, Unlabelled
from frostline.models.network import LoadReport, Network, example_call, pretrained
from frostline.planning.prepare import with_lengths
from frostline.pretrain.body import Body
from frostline.pretrain.loop import EpochPoint, State, Trainer, Training, curve_readings
from frostline.pretrain.monitor import Monitor, collapse
from frostline.pretrain.objectives import Method, Setup, check_reads, find_method

HEADLESS = "it was pre-trained without labels"
CHUNK = 32  # samples of an inference pass
BACKWARD = 3.0  # operations of a training step, as multiples of a forward pass
PURPOSE = Purpose(  # with fewer than 8 samples no batch has anything to compare
    name="pre-training",
    fewest=8,
    nothing_sealed=(
        "Nothing here is sealed: if you fit on the same data later, its test may hold samples that were learnt from, "
        "though without their labels. frostline fit --pretrain leaves them out."
    ),
)


@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """What is to be done, as the user asked for it; None means that the method's own value is taken."""

    method: str
    epochs: int | None = None
    rate: float | None = None
    batch_size: int | None = None
    arguments: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What came of it: the network with its new weights and one more entry in its history, ready to be fitted.

    `model` is the trained module, `collapsed` says how its features degenerated (None: they didn't), `operations` are
    counted, `seconds` those of training alone, over all attempts.
    """

    network: Network
    model: nn.Module
    stages: StageMap
    compute: Compute
    training: Training
    arguments: Mapping[str, float]
    curve: tuple[EpochPoint, ...]
    steps: int
    entry: Mapping[str, Any]
    collapsed: str | None
    operations: float
    seconds: float


def train_network(network: Network, data: Unlabelled, plan: PretrainPlan, folder: Path, emit: Emit) -> Pretrained:
    """Pre-train a network on unlabelled samples; it starts from its own weights, or from random ones where it has none.

    `folder` keeps a checkpoint: called again with the same arguments it goes on, or gives at once what it has finished,
    with the same bits. Raises RecipeError for a method or argument that doesn't apply, ModelError for a network that
    the method can't train, TrialError where training diverges.
    """
    method = find_method(plan.method)
    check_reads(plan.method, network.preprocess, network.spec)
    arguments = arguments_of(plan, method)
    training = training_of(plan, method, network)
    network = replace(network, preprocess=data.contract)
    with one_thread():
        model, stages = start_of(network, plan.seed)
    network = with_lengths(network, model, stages)
    data = replace(data, contract=network.preprocess)
    compute = choose_compute(
        device=plan.device,
        precision=plan.precision,
        threads=plan.threads,
        chunk=CHUNK,
        model=model,
        operations=stages.operations,
    )
    apply_threads(compute)
    body = Body(place(model, compute), stages)
    setup = Setup(network=network, body=body, data=data, compute=compute, seed=plan.seed, arguments=arguments)
    objective = method.build(setup)
    if objective.note:
        emit(Event(kind="warning", text=objective.note))
    trainer = Trainer(
        body=body,
        objective=objective,
        monitor=Monitor(data, compute, plan.seed),
        training=training,
        samples=len(data),
        compute=compute,
        folder=folder,
        key=key_of(network, data, plan.method, training, arguments),
        emit=emit,
        from_random=network.weights_name == "random",
    )
    state = trainer.run()
    return _result(setup, trainer, state, plan.method)


def arguments_of(plan: PretrainPlan, method: Method) -> dict[str, float]:
    """Return the method's own arguments with the user's. Raises RecipeError for one that it doesn't have."""
    for name, value in plan.arguments.items():
        if name not in method.arguments:
            known = nearest(name, method.arguments) if method.arguments else "It has none."
            raise RecipeError(f"--method {plan.method} has no argument {name!r}.", known)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise RecipeError(f"{name} {value!r} of --method {plan.method} is no number of at least 0.", "Give one.")
    return {**method.arguments, **{name: float(value) for name, value in plan.arguments.items()}}


def training_of(plan: PretrainPlan, method: Method, network: Network) -> Training:
    """Return length, rate and batch size: the user's, or the method's own for random or for given weights."""
    rate = method.rate_on
    if network.weights_name == "random":
        rate = method.rate
    return Training(
        epochs=plan.epochs or method.epochs,
        rate=plan.rate or rate,
        batch_size=plan.batch_size or method.batch_size,
        seed=plan.seed,
    )


def start_of(network: Network, seed: int) -> tuple[nn.Module, StageMap]:
    """Return the network as it is before training, in inference mode, and its stage map."""
    if network.weights_name == "random":
        model = network.build(derive_seed(seed, "pretrain", "initialise")).eval()
    else:
        model = pretrained(network)
    return model, stage_map(model, call=example_call(network.preprocess))


def key_of(network: Network, data: Unlabelled, method: str, training: Training, arguments: Mapping[str, float]) -> str:
    """Hash all that decides what a checkpoint goes on with."""
    numbers = (training.epochs, training.rate, training.batch_size, training.seed)
    return hash_values(network.fingerprint, data.sha256, method, numbers, dict(arguments), torch.__version__)


def _result(setup: Setup, trainer: Trainer, state: State, method: str) -> Pretrained:
    model = setup.body.model
    network = setup.network
    training = trainer.training
    found = collapse(curve_readings(state.curve))
    entry = training_entry(
        method,
        network,
        data=setup.data.path.resolve().name or "data",
        data_sha256=setup.data.sha256,
        n=len(setup.data),
        epochs=training.epochs,
        rate=training.rate,
        collapsed=found is not None,
    )
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    history = (*network.history, entry)
    if network.weights_name == "random":
        history = (entry,)
    forward = setup.body.stages.operations * find_method(method).views * len(setup.data)
    return Pretrained(
        network=replace(
            network,
            weights=weights,
            weights_name=method,
            classes=None,
            headless=HEADLESS,
            history=history,
            loaded_head=None,
            load_report=LoadReport(loaded=len(weights)),
            fingerprint=hash_values(network.fingerprint, method, hash_tensors(weights)),
        ),
        model=model,
        stages=setup.body.stages,
        compute=setup.compute,
        training=training,
        arguments=setup.arguments,
        curve=tuple(state.curve),
        steps=trainer.steps,
        entry=entry,
        collapsed=found,
        operations=BACKWARD * forward * training.epochs,
        seconds=state.seconds,
    )


def told_start(network: Network, data: Unlabelled, method: str, emit: Emit) -> None:
    """Emit what is about to be done, in one sentence."""
    noun = "texts" if isinstance(network.preprocess, TextPreprocess) else "images"
    start = "random weights" if network.weights_name == "random" else network.weights_name
    text = f"{method}: {find_method(method).words} ({find_method(method).source}); {len(data):,} {noun}, from {start}."
    emit(Event(kind="note", text=text))
