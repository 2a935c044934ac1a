"""Finding the network's own head: the last layer with weights, if the network returns its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from frostline.base.errors import ModelError
from frostline.cutting.outputs import HEAD_HINT, logits
from frostline.cutting.recorder import Recording

RESHAPES = (
    "view",
    "reshape",
    "squeeze",
    "flatten",
    "clone",
    "alias",
    "detach",
    "select",
    "_to_copy",
    "slice",
    "index",
    "gather",
    "unbind",
    "split",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSite:
    """Where the classifier sits: its module path, and the features and classes it maps between."""

    path: str
    kind: Literal["linear", "conv", "other"]  # other: no head that could be replaced, only the last layer with weights
    in_features: int
    out_features: int

    def owns(self, name: str) -> bool:
        """True where a parameter or module of that name belongs to the head."""
        return name == self.path or name.startswith(self.path + ".")


def find_end(recording: Recording) -> HeadSite:
    """Return the head, or (kind `other`) the last layer with weights, for networks that are only to be cut."""
    try:
        return find_head(recording)
    except ModelError:
        return HeadSite(path=_last_with_weights(recording), kind="other", in_features=0, out_features=0)


def find_head(recording: Recording) -> HeadSite:
    """Return the last module with weights that ran: a linear layer, called once, whose output is the network's.

    Raises ModelError with what was found instead.
    """
    path = _last_with_weights(recording)
    module = recording.model.get_submodule(path)
    kind = type(module).__name__
    if isinstance(module, nn.Linear):
        site = HeadSite(path=path, kind="linear", in_features=module.in_features, out_features=module.out_features)
    elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        site = HeadSite(path=path, kind="conv", in_features=module.in_channels, out_features=module.out_channels)
    else:
        raise ModelError(f"The last layer with weights, {path}, is a {kind}, not a linear layer.", HEAD_HINT)
    if recording.calls[path] != 1:
        raise ModelError(f"The last layer, {path}, is called {recording.calls[path]} times in one run.", HEAD_HINT)
    between = _after_head(recording, path)
    if between:
        raise ModelError(f"The network's output isn't the output of its last layer {path}: {between}.", HEAD_HINT)
    return site


def _last_with_weights(recording: Recording) -> str:
    """Return the last module with parameters of its own that the recorded run left."""
    modules = dict(recording.model.named_modules())
    for boundary in reversed(recording.boundaries):
        owner = modules[boundary.module]
        if boundary.where == "out" and boundary.module and any(True for _ in owner.parameters(recurse=False)):
            return boundary.module
    raise ModelError("The network has no layer with weights inside it.", HEAD_HINT)


def _after_head(recording: Recording, path: str) -> str:
    """Say what stands between the head's output and the network's; empty where only the shape may change."""
    head_outputs = set(recording.first("out", path).tensors)
    try:
        key = id(logits(recording.output))
    except ModelError as error:
        return error.message
    while key not in head_outputs:
        record = recording.tensors[key]
        if not record.parents or not any(word in record.operation for word in RESHAPES):
            return _operation_after(record.operation)
        key = record.parents[0]
    return ""


def _operation_after(operation: str) -> str:
    """Say which operation (such as `aten.add.Tensor`) follows the head."""
    words = operation.split(".")
    if len(words) > 1:
        return f"{words[1]} comes after it"
    return "it comes from elsewhere"
