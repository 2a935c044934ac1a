"""Networks whose own head can't be replaced as it is.

One that has a softmax behind its scores, or returns more than them, is read at its head (:class:`Scored`). Of one with
two heads that are averaged (distilled transformers), with ReLU and pooling behind a convolution (SqueezeNet), or with
no head at all, a new head is put behind what is left (:class:`Reheaded`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut, find_cuts
from frostline.cutting.heads import RESHAPES, find_end
from frostline.cutting.inputs import Call
from frostline.cutting.named import Wrapped
from frostline.cutting.outputs import flat_logits, logits, tensors_of
from frostline.cutting.recorder import Recording
from frostline.cutting.skeleton import ancestors
from frostline.models.kinds import kinds_of

MOST_HEADS = 4
# What may be done to the scores of such heads: averages, and what a convolution as a head has behind it.
HARMLESS = (
    "add",
    "div",
    "mul",
    "mean",
    "relu",
    "pool",
    "view",
    "reshape",
    "flatten",
    "squeeze",
    "stack",
    "clone",
    "dropout",
    "detach",
    "alias",
    "t.default",
    "contiguous",
)


class Reheaded(Wrapped):
    """`base` with nn.Identity in the place of its heads, if it has any, and a linear layer on what it then returns."""

    def __init__(self, base: nn.Module, heads: Iterable[str], features: int, classes: int) -> None:
        super().__init__(base)
        for path in heads:
            owner, _, name = path.rpartition(".")
            setattr(base.get_submodule(owner), name, nn.Identity())
        self.head = nn.Linear(features, classes, device="meta").to_empty(device="cpu")  # nothing is drawn for it
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Class scores (N, classes)."""
        scores: Tensor = self.head(_features(self.base(*inputs, **keywords)))
        return scores


class Scored(Wrapped):
    """What the module `head` of `base` gives, of all that `base` returns or makes of it: scores before a softmax, the
    first of a tuple."""

    def __init__(self, base: nn.Module, head: str) -> None:
        super().__init__(base)
        self._head = head

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Class scores (N, classes)."""
        found: list[Tensor] = []
        handle = self.base.get_submodule(self._head).register_forward_hook(lambda _m, _a, scores: found.append(scores))
        try:
            self.base(*inputs, **keywords)
        finally:
            handle.remove()
        return found[-1]


def head_to_read(recording: Recording) -> str | None:
    """The linear layer (or 1x1 convolution) whose scores the network returns with a softmax behind them, or beside
    other tensors; None where the last layer with weights is not one, or another such layer's scores are returned
    too."""
    end = find_end(recording)
    if not _is_head(recording, end.path) or _of_many_places(recording, end.path):
        return None
    made = set(recording.first("out", end.path).tensors)
    others = {
        key
        for b in recording.boundaries
        if b.where == "out" and b.module and b.module != end.path and _is_head(recording, b.module)
        for key in b.tensors
    }
    returned = [id(tensor) for tensor in tensors_of(recording.output)]
    reached = [_comes_from(recording, key, made) for key in returned]
    rivals = any(_comes_from(recording, key, others) for key in returned)
    if any(reached) and not rivals:
        return end.path
    return None


def _of_many_places(recording: Recording, path: str) -> bool:
    """Whether the layer gives scores for many places of a sample: which of them counts isn't told here."""
    (key, *_) = recording.first("out", path).tensors
    shape = recording.tensors[key].tensor.shape
    return len(shape) not in (2, 4) or shape[0] != recording.batch or any(n > 1 for n in shape[2:])


def _is_head(recording: Recording, path: str) -> bool:
    module = recording.model.get_submodule(path)
    pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return (isinstance(module, nn.Linear) or pointwise) and recording.calls[path] == 1


def _comes_from(recording: Recording, key: int, made: set[int]) -> bool:
    """Whether the tensor is one of `made`, reshaped or with a softmax behind it."""
    while key not in made:
        entry = recording.tensors.get(key)
        harmless = entry and all(any(w in op for w in (*RESHAPES, "softmax")) for op in entry.operation.split())
        if entry is None or not entry.parents or not harmless:
            return False
        key = entry.parents[0]
    return True


def ends_in_features(recording: Recording) -> bool:
    """Whether the last layer with weights normalises, so that the network has no head at all."""
    return bool(kinds_of(recording.model.get_submodule(find_end(recording).path)).norm)


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
    if 0 < len(heads) <= MOST_HEADS and fits and _harmless(recording, made):
        return heads
    return ()


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
    queue = [id(logits(recording.output))]
    seen = set[int]()
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
    if found.ndim == 4:
        return found.mean((2, 3))
    return found
