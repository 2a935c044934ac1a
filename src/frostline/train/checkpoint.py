"""Where a training stands, in one file: enough to go on with the same bits.

The file holds the tensors of network, adapters and optimiser, and the weight average; its metadata hold the phase, the
steps and the curve. Nothing random is kept: every draw is seeded by its step. Layouts in memory are those of the
network that is restored into, since kernels are chosen by them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.files import write_atomic
from frostline.base.hashing import hash_tensor, hash_texts

SECONDS_BETWEEN = 60.0  # a training that is shorter is done again
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # what AdamW and SGD keep of a parameter


@dataclass
class Checkpoint:
    """The place of a training's checkpoint; one is due every `seconds`. The next training's takes the same place."""

    path: Path
    key: str  # of all that decides what the training gives
    seconds: float = SECONDS_BETWEEN
    _saved: float = field(default_factory=time.perf_counter)

    def due(self) -> bool:
        """True once `seconds` have gone by since the last one."""
        return time.perf_counter() - self._saved >= self.seconds

    def save(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Replace the checkpoint. One that finds no room on the disk isn't worth ending the training for."""
        with contextlib.suppress(OSError):
            write_checkpoint(self.path, tensors, {"key": self.key, "note": note})
        self._saved = time.perf_counter()

    def find(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the note; None where there is no checkpoint of this training, or it is damaged."""
        found = read_checkpoint(self.path)
        if found is None or found[1].get("key") != self.key:
            return None
        return found[0], found[1]["note"]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors, and beside them a state of numbers and words. Raises OSError."""
    from safetensors.torch import save

    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(state)
    write_atomic(path, save(held, metadata={"state": text, "sha256": _hash(held, text)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and the state; None where there is no file or it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        if _hash(tensors, metadata["state"]) != metadata["sha256"]:
            return None
        state: dict[str, Any] = json.loads(metadata["state"])
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    return tensors, state


def _hash(tensors: Mapping[str, Tensor], text: str) -> str:
    return hash_texts([text, *(f"{name} {hash_tensor(tensors[name])}" for name in sorted(tensors))])


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, each once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser keeps of its parameters, named by their place."""
    found: dict[str, Tensor] = {}
    for number, parameter in enumerate(_optimised(optimiser)):
        kept = optimiser.state[parameter]
        found |= {f"optimiser.{number}.{name}": kept[name] for name in MOMENTS if kept.get(name) is not None}
    return found


def restore_moments(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`moments` gave."""
    for number, parameter in enumerate(_optimised(optimiser)):
        start = f"optimiser.{number}."
        found = {name: tensors[start + name] for name in MOMENTS if start + name in tensors}
        if found:
            optimiser.state[parameter] = {name: _beside(parameter, name, value) for name, value in found.items()}


def _optimised(optimiser: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimiser.param_groups:
        yield from group["params"]


def _beside(parameter: nn.Parameter, name: str, value: Tensor) -> Tensor:
    """Return a moment on the parameter's device, in its layout in memory."""
    if name == "step":
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)
