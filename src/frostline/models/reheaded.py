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
# What may be done to the scores of these heads: averages, and what a convolution as a head has behind it.
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
        """Compute class scores (N, classes)."""
        scores: Tensor = self.head(_features(self.base(*inputs, **keywords)))
        return scores


class Scored(Wrapped):
    """`base`, of which only the output of its module `head` is returned: not the softmax behind it, nor what else
    `base` returns."""

    def __init__(self, base: nn.Module, head: str) -> None:
        super().__init__(base)
        self._head = head

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Compute class scores (N, classes)."""
        outputs: list[Tensor] = []
        head = self.base.get_submodule(self._head)
        handle = head.register_forward_hook(lambda _module, _args, scores: outputs.append(scores))
        try:
            self.base(*inputs, **keywords)
        finally:
            handle.remove()
        return outputs[-1]


def head_to_read(recording: Recording) -> str | None:
    """Find the layer whose scores the network returns with a softmax behind them, or beside other tensors.

    It is a linear layer or a 1x1 convolution. None where the last layer with weights is not one, or where scores of
    another such layer are returned too.
    """
    path = find_end(recording).path
    if not _is_head(recording, path) or _scores_many_positions(recording, path):
        return None
    scores = set(recording.first("out", path).tensors)
    other_scores = {
        key
        for b in recording.boundaries
        if b.where == "out" and b.module and b.module != path and _is_head(recording, b.module)
        for key in b.tensors
    }
    returned = [id(tensor) for tensor in tensors_of(recording.output)]
    if any(_comes_from(recording, key, other_scores) for key in returned):
        return None
    if any(_comes_from(recording, key, scores) for key in returned):
        return path
    return None


def _scores_many_positions(recording: Recording, path: str) -> bool:
    """Return True where the layer gives scores for many positions of a sample: nothing says which of them counts."""
    (key, *_) = recording.first("out", path).tensors
    shape = recording.tensors[key].tensor.shape
    return len(shape) not in (2, 4) or shape[0] != recording.batch or any(n > 1 for n in shape[2:])


def _is_head(recording: Recording, path: str) -> bool:
    module = recording.model.get_submodule(path)
    pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return (isinstance(module, nn.Linear) or pointwise) and recording.calls[path] == 1


def _comes_from(recording: Recording, key: int, scores: set[int]) -> bool:
    """Return True where the tensor is one of `scores`, reshaped or with a softmax behind it."""
    while key not in scores:
        entry = recording.tensors.get(key)
        if entry is None or not entry.parents or not _consists_of(entry.operation, (*RESHAPES, "softmax")):
            return False
        key = entry.parents[0]
    return True


def _consists_of(operation: str, words: Sequence[str]) -> bool:
    """Return True where each operation of a chain has one of the words in its name."""
    return all(any(word in name for word in words) for name in operation.split())


def ends_in_features(recording: Recording) -> bool:
    """Return True where the last layer with weights normalises: then the network has no head at all."""
    return bool(kinds_of(recording.model.get_submodule(find_end(recording).path)).norm)


def heads_to_leave_out(recording: Recording) -> tuple[str, ...]:
    """Find the heads that a new one would replace together.

    They are the outermost modules with weights after the last cut whose activation isn't the scores yet. Empty where
    one of them gives anything but scores, or where what comes behind them would spoil features.
    """
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
    scores = {key for path in heads for key in recording.first("out", path).tensors}
    shapes = [tuple(recording.tensors[key].tensor.shape) for key in scores]
    fits = all(len(shape) > 1 and shape[1] == classes for shape in shapes) and len(shapes) == len(heads)
    if 0 < len(heads) <= MOST_HEADS and fits and _is_harmless_after(recording, scores):
        return heads
    return ()


def _outermost_with_weights(recording: Recording, start: int) -> tuple[str, ...]:
    """List the modules with parameters that are entered after the boundary `start`, none within another."""
    modules = dict(recording.model.named_modules())
    outermost: list[str] = []
    for boundary in recording.boundaries[start + 1 :]:
        name = boundary.module
        if boundary.where != "in" or recording.calls[name] != 1:
            continue
        has_weights = next(modules[name].parameters(), None) is not None
        if has_weights and not any(other in outermost for other in (name, *ancestors(name))):
            outermost.append(name)
    return tuple(outermost)


def _is_harmless_after(recording: Recording, scores: set[int]) -> bool:
    """Return True where nothing but :data:`HARMLESS` operations lies between these scores and the output."""
    queue = [id(logits(recording.output))]
    seen = set[int]()
    while queue:
        key = queue.pop()
        if key in scores or key in seen:
            continue
        seen.add(key)
        entry = recording.tensors[key]
        if not entry.parents or not _consists_of(entry.operation, HARMLESS):
            return False
        queue.extend(entry.parents)
    return True


def reheaded_builder(
    build: Callable[[int], nn.Module], heads: Sequence[str], call: Call
) -> Callable[[int], nn.Module] | None:
    """Return a builder of the network with another head, or None where it doesn't run without its own."""
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
    """Return features (N, D); of a feature map (N, D, H, W) the mean over positions."""
    features = logits(output)
    if features.ndim == 4:
        return features.mean((2, 3))
    return features
