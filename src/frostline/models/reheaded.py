"""Networks whose own head can't be replaced as it is: two heads that are averaged (distilled transformers), or a
convolution with ReLU and pooling behind it (SqueezeNet). A new head is put behind what is left without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.models.cuts import Cut, find_cuts
from frostline.models.heads import find_end, flat_logits, logits
from frostline.models.inputs import Call
from frostline.models.recorder import Recording
from frostline.models.skeleton import ancestors

MOST_HEADS = 4
# What may be done to the scores of such heads: averages, and what a convolution as a head has behind it.
HARMLESS = ("add", "div", "mul", "mean", "relu", "pool", "view", "reshape", "flatten", "squeeze", "stack", "clone",
            "dropout", "detach", "alias", "t.default", "contiguous")  # fmt: skip


class Reheaded(nn.Module):
    """`base` with nn.Identity in the place of its heads, and a linear layer on what it then returns."""

    def __init__(self, base: nn.Module, heads: Iterable[str], features: int, classes: int) -> None:
        super().__init__()
        for path in heads:
            owner, _, name = path.rpartition(".")
            setattr(base.get_submodule(owner), name, nn.Identity())
        self.base = base
        self.head = nn.Linear(features, classes, device="meta").to_empty(device="cpu")  # nothing is drawn for it
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Class scores (N, classes)."""
        scores: Tensor = self.head(_features(self.base(*inputs, **keywords)))
        return scores


def heads_to_leave_out(recording: Recording) -> tuple[str, ...]:
    """Outermost modules with weights after the last cut whose activation isn't the scores yet; empty where one of them
    gives anything but scores, or what comes behind them would spoil features."""
    try:
        classes = flat_logits(recording.output).shape[1]
    except (ModelError, IndexError):
        return ()
    end = recording.first("in", find_end(recording).path).index
    cuts = [c for c in find_cuts(recording).values() if isinstance(c, Cut) and c.index < end]
    cuts = [c for c in cuts if c.shape[c.channel_axis] != classes]
    if not cuts:
        return ()
    start = max(c.index for c in cuts)
    heads = _outermost_with_weights(recording, start)
    made = {key for path in heads for key in recording.first("out", path).tensors}
    shapes = [tuple(recording.tensors[key].tensor.shape) for key in made]
    fits = all(len(s) > 1 and s[1] == classes for s in shapes) and len(shapes) == len(heads)
    return heads if 0 < len(heads) <= MOST_HEADS and fits and _harmless(recording, made) else ()


def _outermost_with_weights(recording: Recording, start: int) -> tuple[str, ...]:
    """Modules entered after the boundary `start`, and not within one another, that hold parameters."""
    modules = dict(recording.model.named_modules())
    found: list[str] = []
    for boundary in recording.boundaries[start + 1 :]:
        name = boundary.module
        if boundary.where != "in" or recording.calls[name] != 1 or not any(True for _ in modules[name].parameters()):
            continue
        if not any(other in found for other in (name, *ancestors(name))):
            found.append(name)
    return tuple(found)


def _harmless(recording: Recording, made: set[int]) -> bool:
    queue, seen = [id(logits(recording.output))], set[int]()
    while queue:
        key = queue.pop()
        if key in made or key in seen:
            continue
        seen.add(key)
        entry = recording.tensors[key]
        if not entry.parents or not all(any(w in op for w in HARMLESS) for op in entry.operation.split()):
            return False
        queue.extend(entry.parents)
    return True


def rebuilt(build: Callable[[int], nn.Module], heads: Sequence[str], call: Call) -> Callable[[int], nn.Module] | None:
    """A builder of the network with another head, or None where it doesn't run without its own."""
    try:
        base = Reheaded(build(0).eval(), heads, 1, 1).base
        with torch.no_grad():
            features = _features(call.run(base))
        classes = flat_logits(call.run(build(0).eval())).shape[1]
    except Exception:  # whatever its code raises without its heads
        return None
    if features.ndim != 2 or features.shape[0] != call.batch or not features.is_floating_point():
        return None
    width = features.shape[1]
    return lambda seed: Reheaded(build(seed), heads, width, classes)


def _features(output: Any) -> Tensor:
    """(N, D): the mean over places of a feature map (N, D, H, W)."""
    found = logits(output)
    return found.mean((2, 3)) if found.ndim == 4 else found
