"""A network as a source gives it: how it is built, its weights, its preprocessing, and what identifies it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.base.hashing import hash_tensors, hash_values
from frostline.cutting.guard import forked_seed
from frostline.cutting.heads import find_head
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.outputs import tensors_of
from frostline.cutting.recorder import Recording, record
from frostline.data.contract import Contract
from frostline.data.preprocess import Preprocess
from frostline.data.texts import example_ids, ids_and_mask
from frostline.models.reheaded import Scored, ends_in_features, head_to_read, heads_to_leave_out, reheaded_builder
from frostline.models.weights import LoadReport, compare_weights, load_weights, read_weights

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """The user's own code, as it was when it ran."""

    path: str
    sha256: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What a user may say about a network: `weights` is a file's path or `random`; `size` in pixels."""

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
        first_line = (str(cause).strip().splitlines() or [""])[0].rstrip(".")
        raise ModelError(
            f"{network.spec} can't read {_inputs_in_words(contract)} ({type(cause).__name__}: {first_line}).",
            "Give another --size, or none for the network's own.",
        ) from cause


def _inputs_in_words(contract: Contract) -> str:
    if isinstance(contract, Preprocess):
        height, width = contract.size
        return f"images of {height} x {width} pixels and {contract.channels} channel(s)"
    return f"texts of {contract.length} tokens"


def tried(network: Network, *, identity: Mapping[str, Any]) -> Network:
    """Load the network's weights and run it once, and return it with what was found out.

    Raises ModelError where the weights don't fit, or where the network can't read its own inputs. `identity` holds what
    defines the architecture: the spec's lasting form, arguments, versions of packages. With the code and the weights it
    makes the fingerprint.
    """
    report = None
    head = None
    module = network.build(0)
    recording = _recorded(network, module)
    if network.weights is not None:
        if not compare_weights(module, network.weights).clean:
            head = _head_path(recording)
        report = load_weights(module, network.weights, head=head)
    code = None
    if network.code:
        code = network.code.sha256
    if network.weights_name == "random":
        contents = "random"
    else:
        contents = hash_tensors(module.state_dict())
    fingerprint = hash_values(identity, code, contents, torch.__version__)
    checked = replace(network, fingerprint=fingerprint, load_report=report, loaded_head=head)
    return _with_one_head(checked, recording)


def _head_path(recording: Recording) -> str:
    try:
        return find_head(recording).path
    except ModelError:
        path = head_to_read(recording)
        if path is None:
            raise
        return path


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
