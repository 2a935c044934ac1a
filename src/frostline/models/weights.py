"""Read weights from files without ever unpickling, and load them without ignoring a single key."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError

CONVERT = "Where its code is at hand, save a state_dict: safetensors.torch.save_file(model.state_dict(), FILE)."
WRAPPERS = ("state_dict", "model", "model_state_dict")
COUNTER = ".num_batches_tracked"  # plays no part in inference; files from before torch 0.4.1 and other tools lack it
SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What loading found. Only the head's keys and BatchNorm's counters can stand here, else nothing was loaded."""

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def head_differs(self) -> bool:
        """The head of the weights is of another shape (or absent), so it wasn't loaded."""
        return bool(self.mismatched) or any(not name.endswith(COUNTER) for name in self.missing)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Tensors by name, from safetensors or from a state_dict that torch reads with `weights_only=True`.

    A state_dict under the key `state_dict`, `model` or `model_state_dict` is taken out of it, and a common prefix
    `module.` is stripped. Raises ModelError for anything else, pickled models among it: nothing is ever unpickled.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"There is no weights file {file}.", "Give --weights FILE, or --weights random.")
    if file.suffix.lower() == ".safetensors":
        return _stripped(_read_safetensors(file))
    with file.open("rb") as handle:
        start = handle.read(64)
    if not start.startswith((b"PK", b"\x80")):
        raise ModelError(f"{file} is neither a safetensors file nor a saved state_dict.", CONVERT)
    return _stripped(_checked_tensors(_read_torch(file), file))


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
            CONVERT,
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file} holds pickled Python objects, not only tensors, and reading it could run any code.", CONVERT
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError ... for broken files
        if str(error):
            first = str(error).splitlines()[0]
        else:
            first = type(error).__name__
        raise ModelError(f"{file} can't be read as a state_dict ({first}).", "Is the file complete?") from error


def _is_scripted(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _checked_tensors(value: Any, file: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
            break
    if not isinstance(value, Mapping) or not value:
        raise ModelError(f"{file} holds a {type(value).__name__}, not tensors by name.", CONVERT)
    wrong = [name for name, entry in value.items() if not (isinstance(name, str) and isinstance(entry, Tensor))]
    if wrong:
        kind = type(value[wrong[0]]).__name__
        raise ModelError(f"{file} holds {wrong[0]!r}, which is a {kind}, not a tensor.", CONVERT)
    return {name: entry.detach() for name, entry in value.items()}


def _stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the `module.` that data-parallel wrappers put before every name."""
    if state and all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def compare_weights(module: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Which of the network's keys the weights lack, which they have besides, and which are of another shape."""
    own = module.state_dict()
    mismatched = tuple(name for name in own if name in state and own[name].shape != state[name].shape)
    return LoadReport(
        loaded=len(set(own) & set(state)) - len(mismatched),
        missing=tuple(name for name in own if name not in state),
        unexpected=tuple(name for name in state if name not in own),
        mismatched=mismatched,
    )


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, head: str | None = None) -> LoadReport:
    """Load weights into a network; the report says what differs.

    Only keys of the layer `head` may be of another shape or absent (they keep the network's own values), and
    BatchNorm's batch counters may be absent. Raises ModelError that lists the first keys for anything else; then
    nothing was loaded.
    """
    report = compare_weights(module, state)
    at_head = f"{head}."
    missing = [n for n in report.missing if not n.endswith(COUNTER) and not (head and n.startswith(at_head))]
    mismatched = [n for n in report.mismatched if not (head and n.startswith(at_head))]
    if missing or mismatched or report.unexpected:
        own = module.state_dict()
        shapes = (f"{n} {_shape_in_words(state[n])} for {_shape_in_words(own[n])}" for n in mismatched)
        found = [
            _names_in_words("lacking", missing),
            _names_in_words("unexpected", report.unexpected),
            _names_in_words("of another shape", list(shapes)),
        ]
        raise ModelError(
            f"The weights are of another architecture: of the network's {len(own)} keys {report.loaded} fit; "
            f"{'; '.join(filter(None, found))}.",
            "Give weights that were saved from this very network (its head alone may differ).",
        )
    usable = {name: state[name] for name in module.state_dict() if name in state and name not in report.mismatched}
    module.load_state_dict(usable, strict=False)
    return report


def _shape_in_words(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _names_in_words(what: str, names: Iterable[str]) -> str:
    every = list(names)
    more = ""
    if len(every) > SHOWN:
        more = f" and {len(every) - SHOWN} more"
    if every:
        return f"{len(every)} {what} ({', '.join(every[:SHOWN])}{more})"
    return ""
