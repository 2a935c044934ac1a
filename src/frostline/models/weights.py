"""Weights read from files without ever unpickling, and loaded without ignoring a single key."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError

SAVE_STATE_DICT = (
    "Where the network's code is available, save a state_dict: safetensors.torch.save_file(model.state_dict(), FILE)."
)
WRAPPERS = ("state_dict", "model", "model_state_dict")
COUNTER = ".num_batches_tracked"  # plays no part in inference; files from before torch 0.4.1 and other tools lack it
KEYS_SHOWN = 4  # of each kind, in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """How weights fit a network: how many of its keys were loaded, and which were not.

    Weights are loaded only where those that don't fit are the head's keys or BatchNorm's counters.
    """

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def head_differs(self) -> bool:
        """True where the weights' head has another shape, or is absent, and wasn't loaded."""
        return bool(self.mismatched) or any(not name.endswith(COUNTER) for name in self.missing)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read tensors by name, from safetensors or from a state_dict that torch reads with `weights_only=True`.

    A state_dict under the key `state_dict`, `model` or `model_state_dict` is taken out of it, and a common prefix
    `module.` is stripped. Raises ModelError for anything else, such as a pickled model: nothing is ever unpickled.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"There is no weights file {file}.", "Give --weights FILE, or --weights random.")
    if file.suffix.lower() == ".safetensors":
        return _stripped(_read_safetensors(file))
    with file.open("rb") as handle:
        start = handle.read(64)
    if not start.startswith((b"PK", b"\x80")):
        raise ModelError(f"{file} is neither a safetensors file nor a saved state_dict.", SAVE_STATE_DICT)
    return _stripped(_tensors_by_name(_read_torch(file), file))


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} can't be read as safetensors ({error}).", "Is the file complete?") from error


def _read_torch(file: Path) -> Any:
    if _is_scripted(file):
        raise ModelError(
            f"{file} holds a scripted network (TorchScript), not a state_dict, and reading it could run any code.",
            SAVE_STATE_DICT,
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file} holds pickled Python objects, not only tensors, and reading it could run any code.",
            SAVE_STATE_DICT,
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError ... for broken files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{file} can't be read as a state_dict ({reason}).", "Is the file complete?") from error


def _is_scripted(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _tensors_by_name(value: Any, file: Path) -> dict[str, Tensor]:
    """Take the state_dict out of what a file holds; raises ModelError where there is none."""
    state = _unwrapped(value)
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{file} holds a {type(state).__name__}, not tensors by name.", SAVE_STATE_DICT)
    tensors: dict[str, Tensor] = {}
    for name, entry in state.items():
        if not (isinstance(name, str) and isinstance(entry, Tensor)):
            kind = type(entry).__name__
            raise ModelError(f"{file} holds {name!r}, which is a {kind}, not a tensor.", SAVE_STATE_DICT)
        tensors[name] = entry.detach()
    return tensors


def _unwrapped(value: Any) -> Any:
    """Return the mapping under the first of :data:`WRAPPERS` that there is, or the value itself."""
    if isinstance(value, Mapping):
        for key in WRAPPERS:
            if isinstance(value.get(key), Mapping):
                return value[key]
    return value


def _stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the `module.` that data-parallel wrappers put before every name."""
    if state and all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def compare_weights(module: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Report which of the network's keys the weights lack, which are unknown to it, and which have another shape."""
    own = module.state_dict()
    mismatched = tuple(name for name in own if name in state and own[name].shape != state[name].shape)
    return LoadReport(
        loaded=len(set(own) & set(state)) - len(mismatched),
        missing=tuple(name for name in own if name not in state),
        unexpected=tuple(name for name in state if name not in own),
        mismatched=mismatched,
    )


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, head: str | None = None) -> LoadReport:
    """Load weights into a network, and report what differs.

    Only keys of the layer `head` may have another shape or be absent (they keep the network's own values), and
    BatchNorm's batch counters may be absent. For anything else ModelError lists the first keys, and nothing is loaded.
    """
    report = compare_weights(module, state)
    missing = [name for name in _outside(head, report.missing) if not name.endswith(COUNTER)]
    mismatched = _outside(head, report.mismatched)
    if missing or mismatched or report.unexpected:
        own = module.state_dict()
        shapes = [f"{name} {_shape_in_words(state[name])} for {_shape_in_words(own[name])}" for name in mismatched]
        differences = (
            _names_in_words("lacking", missing),
            _names_in_words("unexpected", report.unexpected),
            _names_in_words("of another shape", shapes),
        )
        raise ModelError(
            f"The weights belong to another architecture: of the network's {len(own)} keys {report.loaded} fit; "
            f"{'; '.join(filter(None, differences))}.",
            "Give weights that were saved from this very network (only its head may differ).",
        )
    usable = {name: state[name] for name in module.state_dict() if name in state and name not in report.mismatched}
    module.load_state_dict(usable, strict=False)
    return report


def _outside(head: str | None, names: Iterable[str]) -> list[str]:
    """Select the names that don't belong to the layer `head`."""
    if not head:
        return list(names)
    return [name for name in names if not name.startswith(f"{head}.")]


def _shape_in_words(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _names_in_words(difference: str, names: Sequence[str]) -> str:
    """Return `2 lacking (a, b)`, or nothing where there are no names."""
    if not names:
        return ""
    more = ""
    if len(names) > KEYS_SHOWN:
        more = f" and {len(names) - KEYS_SHOWN} more"
    return f"{len(names)} {difference} ({', '.join(names[:KEYS_SHOWN])}{more})"
