"""Weights for the `hf:` source: the folder's own, or a file of the same architecture, as the library reads them.

The library knows how tensors were called in older files, and how its own files differ from its modules.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.guard import forked_seed
from frostline.models.archives import check_header
from frostline.models.network import NetworkOptions, read_weights
from frostline.models.sources.hf_encoder import TextEncoder
from frostline.models.sources.hf_folder import ADAPTER, adapter_alone, first_line, other_in, quiet
from frostline.models.sources.hf_plan import OWN, HfPlan, Reversed
from frostline.models.weight_files import Weights, in_words
from frostline.models.weight_names import with_own_names

# Modules behind a network's body, for tasks that aren't classification or by the library's own pooling.
OTHER_TASKS = frozenset(
    {
        "cls",
        "discriminator_predictions",
        "generator_lm_head",
        "generator_predictions",
        "lm_head",
        "mlm_head",
        "pooler",
        "predictions",
        "qa_outputs",
        "vocab_layer_norm",
        "vocab_projector",
        "vocab_transform",
    }
)
MOST_VALUES = 4  # of a network, for a byte of its files: twice as many as four bits make
MOST_UNHELD = 1 << 24  # values of a network that its files may lack, whatever their size
MOST_PREFIXES = 3  # wrappers around a file's names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What the library made of a file: the network's tensors by the library's names, which of them the file lacked or
    had in another shape, and which names of the file it had no use for."""

    state: Mapping[str, Tensor]
    missing: frozenset[str]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...]


def hf_weights(
    plan: HfPlan, options: NetworkOptions, build: Callable[[int], nn.Module], *, saved: bool
) -> tuple[Mapping[str, Tensor] | None, str, tuple[str, ...]]:
    """Return weights under the network's own names, what they are called, and which of its tensors they lack.

    Raises ModelError where there are none, where they can't be read, and where they are another network's.
    """
    if options.weights == "random":
        return None, "random", ()
    if options.weights is not None:
        return _weights_of_file(plan, build, read_weights(options.weights)), Path(options.weights).name, ()
    if saved:
        raise ModelError(f"{plan.spec} is the model of a frostline run.", "Give --model run:RUN, the folder above it.")
    if (plan.folder / ADAPTER).is_file() and not list(plan.folder.glob("model*.safetensors")):
        raise adapter_alone(plan.folder)
    if not list(plan.folder.glob("*.safetensors")):
        held = next((f.name for f in sorted(plan.folder.glob("*.bin"))), None)
        found = "holds no weights"
        if held:
            found = f"holds its weights as {held}, which is pickled"
        raise ModelError(
            f"{plan.spec} {found}, and only safetensors are read.",
            "Save it again: model.save_pretrained(FOLDER), or give --weights random.",
        )
    _check_size(plan)
    state, missing = _weights_of_folder(plan, own_arguments=bool(set(options.model_args) - set(OWN)))
    return state, f"hf:{plan.folder.name}/model.safetensors", missing


def _check_size(plan: HfPlan) -> None:
    """Raise ModelError for a configuration that asks for a network many times as large as the files of weights.

    It is built without memory for that; what can't be built so is left to the library.
    """
    held = sum(file.stat().st_size for file in plan.folder.glob("*.safetensors"))
    count = 0
    with contextlib.suppress(Exception), quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        built = plan.automatic().from_config(copy.deepcopy(plan.config), **plan.arguments())
        count = sum(parameter.numel() for parameter in built.parameters())
    if count > MOST_UNHELD + MOST_VALUES * held:
        raise ModelError(
            f"The configuration of {plan.spec} describes a network of {count:,} values, but its files of weights hold "
            f"{held:,} bytes.",
            "Is the folder complete, and as it was published?",
        )


def _weights_of_file(plan: HfPlan, build: Callable[[int], nn.Module], weights: Weights) -> Weights:
    """Return a file's tensors under the network's own names: they have them already, or the library gives them.

    What the library has no use for stays in it, so that the network's own rules judge whether it may be left out.
    """
    built = build(0)
    own = built.state_dict()
    named = with_own_names(own, weights)
    if own.keys() == named.keys():
        return named
    best: dict[str, Tensor] = {}
    for variant in _unwrapped(weights):
        try:
            loaded = _read_by_library(plan, type(_inner(built)), state_dict=dict(variant))
        except ModelError:  # the network's own rules then say what doesn't fit
            continue
        lacking = {*loaded.missing, *loaded.mismatched}
        found = {_prefix(plan) + name: tensor for name, tensor in loaded.state.items() if name not in lacking}
        strange = {name: variant.get(name, torch.empty(0)) for name in loaded.unexpected}
        if len(found) > len(best.keys() & own.keys()):
            best = {**strange, **found}
    if len(best.keys() & own.keys()) > len(named.keys() & own.keys()):
        named = weights.changed(best)
    return _without_other_tasks(own, named)


def _without_other_tasks(own: Mapping[str, Tensor], weights: Weights) -> Weights:
    """Leave out the layers behind the body that the library's classes for other tasks have."""
    layers = [name for name in weights if name not in own and OTHER_TASKS.intersection(name.split("."))]
    if not layers:
        return weights
    return weights.changed(
        {name: tensor for name, tensor in weights.items() if name not in layers},
        f"{weights.origin} also holds layers of another task, {in_words(layers)}, which were left out.",
    )


def _unwrapped(weights: Weights) -> Iterator[Mapping[str, Tensor]]:
    """Yield the tensors as they are called, then without the first part of their names while all share it."""
    names: Mapping[str, Tensor] = weights
    for _ in range(MOST_PREFIXES):
        yield names
        first = {name.partition(".")[0] for name in names}
        if len(first) != 1 or not all("." in name for name in names):
            return
        names = {name.partition(".")[2]: tensor for name, tensor in names.items()}


def _weights_of_folder(plan: HfPlan, *, own_arguments: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the folder's weights and what they lack; raises ModelError where they are another network's."""
    for file in plan.folder.glob("*.safetensors"):
        check_header(file)
    loaded = _read_by_library(plan, plan.automatic(), folder=plan.folder)
    if loaded.mismatched:
        raise ModelError(
            f"The weights of {plan.spec} have other shapes than --size or --model-args ask for, such as "
            f"{loaded.mismatched[0]}.",
            "Leave these options out, or give --weights random.",
        )
    lacking = loaded.missing
    if plan.kind == "text-encoder" and lacking:
        raise ModelError(
            f"The weights of {plan.spec} lack {sorted(lacking)[0]} and {len(lacking) - 1} more tensors.",
            "Is the folder complete? --weights random goes without.",
        )
    more = _further_layers(loaded.state, loaded.unexpected)
    if more and not own_arguments:
        raise ModelError(
            f"The weights of {plan.spec} have layers that its config.json doesn't know, such as {more[0]}.",
            "Take the config.json that was saved with these weights.",
        )
    state = {_prefix(plan) + name: tensor for name, tensor in loaded.state.items() if name not in lacking}
    return state, tuple(sorted(lacking))


def _further_layers(state: Iterable[str], unexpected: Iterable[str]) -> list[str]:
    """List the unexpected names that are a known one's but for the numbers in them: one more of the same blocks."""
    known = {re.sub(r"\d+", "#", name) for name in state if re.search(r"\.\d+\.", name)}
    endings = tuple(f".{name}" for name in known)
    return [name for name in sorted(unexpected) if f".{re.sub(r'[0-9]+', '#', name)}".endswith(endings)]


def _inner(built: nn.Module) -> nn.Module:
    """Return the library's network in what frostline puts around it."""
    if isinstance(built, TextEncoder):
        return built.encoder
    if isinstance(built, Reversed):
        return built.network
    return built


def _read_by_library(
    plan: HfPlan, kind: Any, *, folder: Path | None = None, state_dict: Mapping[str, Tensor] | None = None
) -> _Loaded:
    """Let a class of the library read a folder, or tensors that were read already."""
    with quiet(), forked_seed(0):
        try:
            model, info = kind.from_pretrained(
                folder,
                config=copy.deepcopy(plan.config),
                state_dict=state_dict,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **plan.arguments(),
            )
        except Exception as error:  # the library raises dozens of kinds
            damaged = ModelError(
                f"The weights of {plan.spec} can't be read ({first_line(error)}).",
                "Is the folder complete? --weights random goes without.",
            )
            other = other_in(folder, "*.safetensors", "*.safetensors.index.json") if folder else None
            raise other or damaged from error
    return _Loaded(
        state={name: tensor.detach() for name, tensor in model.state_dict().items()},
        missing=frozenset(info["missing_keys"]),
        mismatched=tuple(sorted(m[0] for m in info["mismatched_keys"])),
        unexpected=tuple(sorted(info["unexpected_keys"])),
    )


def _prefix(plan: HfPlan) -> str:
    """Return what frostline's wrapper puts before the library's names."""
    if plan.kind == "text-encoder":
        return "encoder."
    return "network." if plan.reverse else ""
