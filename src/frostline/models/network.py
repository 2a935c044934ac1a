"""A network as a source gives it: how it is built, its weights, its preprocessing, and what identifies it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.base.hashing import hash_tensors, hash_values
from frostline.cutting.guard import forked_seed
from frostline.cutting.heads import find_end, find_head
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.outputs import flat_logits, tensors_of
from frostline.cutting.recorder import Recording, record
from frostline.cutting.refuse import refuse_unwatchable
from frostline.data.contract import Contract
from frostline.data.preprocess import Preprocess
from frostline.data.texts import example_ids, ids_and_mask
from frostline.models.reheaded import Scored, ends_in_features, head_to_read, heads_to_leave_out, reheaded_builder
from frostline.models.trials import check_answers, check_training, check_values
from frostline.models.weight_files import as_weights, in_words, read_weights
from frostline.models.weight_names import OwnHead, with_own_names, without_other_head
from frostline.models.weights import LoadReport, compare_weights, load_weights

__all__ = [
    "CodeFile",
    "LoadReport",
    "Network",
    "NetworkOptions",
    "example_call",
    "example_input",
    "load_weights",
    "pretrained",
    "read_weights",
    "seeded",
    "tried",
]

NARROW = (torch.float16, torch.bfloat16)
IN_FP32 = "; they were brought to float32."  # how the note about it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """The user's own code, as it was when it ran.

    `siblings` are the files that it imports from its folder and below: relative names (with `/`) and texts. The hash
    covers them.
    """

    path: str
    sha256: str
    text: str
    siblings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What a user may say about a network: `weights` is a file (or FILE:KEY) or `random`; `size` in pixels."""

    weights: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that can be built any number of times.

    `build(seed)` gives a fresh one, its weights drawn under a forked generator: the global one isn't disturbed.
    `weights` is None where the factory loads its own (`self_loading`: two seeds give the same weights, so training
    from scratch isn't possible) or where random ones were asked for. `fingerprint` is a hash of the spec, code,
    arguments, the packages that define the architecture, and the weights.
    """

    spec: str
    source: str
    build: Callable[[int], nn.Module]
    weights: Mapping[str, Tensor] | None
    weights_name: str
    self_loading: bool
    preprocess: Contract
    classes: tuple[str, ...] | None
    code: CodeFile | None
    fingerprint: str = ""
    load_report: LoadReport | None = None  # how the weights fit; None where none were loaded
    loaded_head: str | None = None  # the head's path, where it had to be looked at to load the weights
    model_args: Mapping[str, Any] = field(default_factory=dict)  # for the factory, as the user gave them
    architecture: str | None = None  # JSON that builds it, where it came from a file: saved with the model
    files: Mapping[str, bytes] = field(default_factory=dict)  # what `build` reads, kept with a saved model
    headless: str | None = None  # why the network has no classes of its own, where that is so
    history: tuple[Mapping[str, Any], ...] = ()  # what its weights were trained on and how, oldest first
    notes: tuple[str, ...] = ()  # sentences for the user: what was chosen, left out or changed when it was read

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the names and values of the weights that are loaded; None where none are."""
        if self.weights is None:
            return None
        return hash_tensors(self.weights)


def seeded(factory: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """Return a builder that draws the factory's weights from a seed."""

    def build(seed: int) -> nn.Module:
        with forked_seed(seed):
            return factory()

    return build


def example_input(preprocess: Preprocess, rows: int = 2) -> Tensor:
    """Draw inputs (rows, C, H, W) for recording a run: standard normal, of the network's size, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn((rows, preprocess.channels, *preprocess.size), generator=generator)


def example_call(contract: Contract, rows: int = 2) -> Call:
    """Make the call by which a run of the network is recorded; texts differ in length, so that there is padding."""
    if isinstance(contract, Preprocess):
        return call_of(example_input(contract, rows))
    return call_of(ids_and_mask(torch.from_numpy(example_ids(contract, rows)), contract.pad, "cpu"))


def pretrained(network: Network) -> nn.Module:
    """Build the network with its weights loaded, in inference mode. Raises ModelError where they don't fit."""
    module = network.build(0)
    if network.weights is not None:
        load_weights(module, network.weights, head=network.loaded_head)
    return module.eval()


def _recorded(network: Network, module: nn.Module) -> Recording:
    """Record a run on inputs of the contract's size; ModelError in one sentence where the network can't read them."""
    contract = network.preprocess
    try:
        with forked_seed(0):
            return record(module.eval(), example_call(contract))
    except ModelError as error:
        cause = error.__cause__  # what the network's code raised
        if cause is None:
            raise
        further = _further_inputs(module, contract)
        if further:
            raise _several_inputs(network.spec, further) from cause
        first_line = (str(cause).strip().splitlines() or [""])[0].rstrip(".")
        raise ModelError(
            f"{network.spec} can't read {_inputs_in_words(contract)} ({type(cause).__name__}: {first_line}).",
            _hint_on_reading(network, cause),
        ) from cause


def _further_inputs(module: nn.Module, contract: Contract) -> list[str]:
    """Names of what a network's forward needs beside the images; none for networks of texts."""
    if not isinstance(contract, Preprocess):
        return []
    parameters = inspect.signature(module.forward).parameters.values()
    needed = [p for p in parameters if p.default is p.empty]
    positional = [p.name for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return positional[1:] + [p.name for p in needed if p.kind is p.KEYWORD_ONLY]


def _several_inputs(spec: str, further: Sequence[str]) -> ModelError:
    names = in_words(further)
    return ModelError(
        f"{spec} needs {len(further) + 1} inputs, the images and {names}, and frostline gives it the images alone.",
        f"Return a network that takes the images alone: an nn.Module around it whose forward(self, x) gives {names} "
        "itself.",
    )


def _hint_on_reading(network: Network, cause: BaseException) -> str:
    if any(note.endswith(IN_FP32) for note in network.notes):
        return "Take what casts to another type, such as .half(), out of its code."
    if isinstance(network.preprocess, Preprocess) and not isinstance(cause, (RuntimeError, ValueError, AssertionError)):
        return "Its forward has to take the images as one tensor (N, C, H, W), and nothing else."
    return "Give another --size, or none for the network's own."


def _inputs_in_words(contract: Contract) -> str:
    if isinstance(contract, Preprocess):
        height, width = contract.size
        return f"images of {height} x {width} pixels and {contract.channels} channel(s)"
    return f"texts of {contract.length} tokens"


def tried(network: Network, *, identity: Mapping[str, Any]) -> Network:
    """Load the network's weights and try it on a few samples, and return it with what was found out.

    Raises ModelError where the weights don't fit or hold NaN, where the network can't read its own inputs, where its
    answers depend on the batch or on chance, and where it returns something else in training. `identity` holds what
    defines the architecture: the spec's lasting form, arguments, versions of packages. With the code and the weights it
    makes the fingerprint.
    """
    module = network.build(0)
    refuse_unwatchable(module)
    network, module = _in_fp32(network, module, NARROW)
    network = _with_complete_weights(network, module)
    loaded = network.weights is None or network.load_report is not None
    if loaded:
        check_values(network.spec, module)
    network, module, recording = _recorded_in_fp32(network, module)
    if not loaded:
        network = _with_fitting_weights(network, module, recording)
        check_values(network.spec, module)
    code = None
    if network.code:
        code = network.code.sha256
    if network.weights_name == "random":
        contents = "random"
    else:
        contents = hash_tensors(module.state_dict())
    fingerprint = hash_values(identity, code, contents, torch.__version__)
    finished = _with_one_head(replace(network, fingerprint=fingerprint), recording)
    _try_answers(network, module, recording, loaded=loaded)
    return finished


def _in_fp32(network: Network, module: nn.Module, kinds: Collection[torch.dtype]) -> tuple[Network, nn.Module]:
    """Bring a network with weights of these types to fp32, in which frostline keeps weights; autocast comes later."""
    found = {p.dtype for p in module.parameters() if p.dtype in kinds}
    if not found:
        return network, module
    build = network.build
    words = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in found))
    note = f"{network.spec} is built with weights in {words}{IN_FP32}"
    converted = replace(network, build=lambda seed: build(seed).float(), notes=(*network.notes, note))
    return converted, module.float()


def _recorded_in_fp32(network: Network, module: nn.Module) -> tuple[Network, nn.Module, Recording]:
    """Record a run; a network in fp64 that doesn't read fp32 is brought to it first."""
    try:
        return network, module, _recorded(network, module)
    except ModelError:
        converted, widened = _in_fp32(network, module, (torch.float64,))
        if converted is network:
            raise
        return converted, widened, _recorded(converted, widened)


def _with_complete_weights(network: Network, module: nn.Module) -> Network:
    """Bring the weights to the network's own names, and load them into a module of it where all of them fit."""
    if network.weights is None:
        return network
    weights = with_own_names(module.state_dict(), network.weights)
    notes = tuple(dict.fromkeys((*network.notes, *weights.notes)))
    network = replace(network, weights=weights, notes=notes)
    if not compare_weights(module, weights).complete:
        return network
    return replace(network, load_report=load_weights(module, weights))


def _with_fitting_weights(network: Network, module: nn.Module, recording: Recording) -> Network:
    """Load weights that differ from the network's own in the head; raises ModelError where they differ elsewhere."""
    assert network.weights is not None
    head = _own_head(recording)
    weights = without_other_head(module.state_dict(), as_weights(network.weights), head)
    report = load_weights(module, weights, head=head.path)
    notes = tuple(dict.fromkeys((*network.notes, *weights.notes)))
    return replace(network, weights=weights, load_report=report, loaded_head=head.path, notes=notes)


def _own_head(recording: Recording) -> OwnHead:
    """Find the head that the network has for itself; one without a path where it ends in features, or in none."""
    path = _head_path(recording)
    if path is not None:
        module = recording.model.get_submodule(path)
        return OwnHead(path=path, features=getattr(module, "in_features", getattr(module, "in_channels", 0)))
    try:
        return OwnHead(path=None, features=flat_logits(recording.output).shape[1])
    except (ModelError, IndexError):
        return OwnHead(path=None, features=0)


def _head_path(recording: Recording) -> str | None:
    try:
        return find_head(recording).path
    except ModelError:
        return head_to_read(recording)


def _try_answers(network: Network, module: nn.Module, recording: Recording, *, loaded: bool) -> None:
    """Raise ModelError where a network with its weights doesn't answer for each sample alone, or answers otherwise in
    training (models.trials). `loaded`: its weights were in it when it was recorded."""
    call = example_call(network.preprocess)
    end = find_end(recording).path
    check_answers(network.spec, module, call, end, recording if loaded else None)
    path = None if _ends_in_its_head(recording) else head_to_read(recording)
    if path is None:
        check_training(network.spec, module, call, list(tensors_of(recording.output)))
        return
    keys = recording.first("out", path).tensors
    check_training(network.spec, Scored(module, path), call, [recording.tensors[key].tensor for key in keys])


def _with_one_head(network: Network, recording: Recording) -> Network:
    """Return the network with a head that can be replaced (models.reheaded), or as it is where that can't be done."""
    if _ends_in_its_head(recording):
        return network
    path = head_to_read(recording)
    if path is not None:
        return _read_at_head(network, path)
    if ends_in_features(recording):
        return _reheaded(network, (), "it has no classes of its own")
    heads = heads_to_leave_out(recording)
    if heads:
        reason = f"its own scores are made of {' and '.join(heads)}, which can't be given other classes"
        return _reheaded(network, heads, reason)
    return network


def _ends_in_its_head(recording: Recording) -> bool:
    """Return True where the scores of the network's head are all that it returns."""
    try:
        find_head(recording)
    except ModelError:
        return False
    return len(list(tensors_of(recording.output))) == 1


def _read_at_head(network: Network, path: str) -> Network:
    build = network.build
    weights = network.weights and {f"base.{name}": tensor for name, tensor in network.weights.items()}
    loaded_head = network.loaded_head and f"base.{network.loaded_head}"
    return replace(network, build=lambda seed: Scored(build(seed), path), weights=weights, loaded_head=loaded_head)


def _reheaded(network: Network, heads: Sequence[str], reason: str) -> Network:
    """Return the network with a new head in the place of `heads`, or as it is where it doesn't run without them."""
    build = reheaded_builder(network.build, heads, example_call(network.preprocess))
    if build is None:
        return network
    weights = network.weights and _weights_of_base(network.weights, heads, build(0))
    return replace(network, build=build, weights=weights, loaded_head=None, headless=reason, classes=None)


def _weights_of_base(weights: Mapping[str, Tensor], heads: Iterable[str], module: nn.Module) -> dict[str, Tensor]:
    """Return the weights without those of `heads`, and with the new head's own, which are zero."""
    prefixes = tuple(f"{path}." for path in heads)
    base = {f"base.{name}": tensor for name, tensor in weights.items() if not name.startswith(prefixes)}
    return base | {name: tensor for name, tensor in module.state_dict().items() if name.startswith("head.")}
