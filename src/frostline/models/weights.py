"""Weights loaded into a network without ignoring a single key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.models.weight_names import COUNTER

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
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
    def complete(self) -> bool:
        """True where nothing but BatchNorm's counters is missing, and nothing else is there."""
        only_counters = all(name.endswith(COUNTER) for name in self.missing)
        return only_counters and not (self.unexpected or self.mismatched)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


def compare_weights(module: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Report which of the network's keys the weights lack, which are unknown to it, and which have another shape."""
    own = module.state_dict()
    mismatched = tuple(name for name in own if name in state and own[name].shape != state[name].shape)
    places = {_memory_of(own[name]) for name in own if name in state}  # files keep a tensor of two names once
    return LoadReport(
        loaded=len(set(own) & set(state)) - len(mismatched),
        missing=tuple(name for name in own if name not in state and _memory_of(own[name]) not in places),
        unexpected=tuple(name for name in state if name not in own),
        mismatched=mismatched,
    )


def _memory_of(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]] | int:
    """Return what equal places in memory share; something of its own for a tensor without memory."""
    if not tensor.numel() or tensor.is_meta:
        return id(tensor)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, head: str | None = None) -> LoadReport:
    """Load weights into a network, and report what differs.

    Only keys of the layer `head` may have another shape or be absent (they keep the network's own values), and
    BatchNorm's batch counters may be absent. For anything else ModelError lists the first keys, and nothing is loaded.
    """
    report = compare_weights(module, state)
    missing = [name for name in _outside(head, report.missing) if not name.endswith(COUNTER)]
    mismatched = _outside(head, report.mismatched)
    if missing or mismatched or report.unexpected or not report.loaded:
        own = module.state_dict()
        shapes = [f"{name} {_shape_in_words(state[name])} for {_shape_in_words(own[name])}" for name in mismatched]
        differences = (
            _names_in_words("lacking", missing),
            _names_in_words("unexpected", report.unexpected),
            _names_in_words("of another shape", shapes),
        )
        raise ModelError(
            f"The weights belong to another architecture: of the network's {len(own)} keys {report.loaded} fit; "
            f"{'; '.join(filter(None, differences)) or 'there is nothing but a head'}.",
            "Give weights that were saved from this very network (only its head may differ).",
        )
    _refuse_quantised(module.state_dict(), state)
    usable = {name: state[name] for name in module.state_dict() if name in state and name not in report.mismatched}
    module.load_state_dict(usable, strict=False)
    return report


def _refuse_quantised(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise ModelError for tensors that mean something only together with scales: whole numbers, floats of 8 bits."""
    for name, tensor in own.items():
        found = state.get(name)
        if found is None or not tensor.is_floating_point() or found.dtype in FLOATS:
            continue
        raise ModelError(
            f"The weights hold {name} as {str(found.dtype).removeprefix('torch.')}, so they are quantised, and the "
            "network computes with floats.",
            "Give the weights as they were before they were quantised.",
        )


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
