"""The whole network as it trains with everything before a cut frozen: what a suffix is compared with."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from frostline.models.cuts import Cut
from frostline.models.guard import may_have_gradients
from frostline.models.inputs import Call


class _NoHistory(TorchFunctionMode):
    """Operations keep no gradients, whereas the network's own code finds them switched on: a `no_grad` of its own,
    entered before the cut and left after it, then ends as it does in training."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._set_grad_enabled:
            return func(*args, **(kwargs or {}))
        with torch.no_grad():
            return func(*args, **(kwargs or {}))


def whole_run(model: nn.Module, cut: Cut, call: Call) -> Any:
    """The whole network's output, gradients being kept from the cut on only: attention chooses other kernels, which
    round otherwise, where it may have to go back. A frozen prefix never has to."""
    target = model.get_submodule(cut.module)

    def begin(*_: Any) -> None:
        marks.close()

    marks = contextlib.ExitStack()
    if cut.where == "in":
        handle = target.register_forward_pre_hook(begin, prepend=True)
    else:
        handle = target.register_forward_hook(begin, prepend=True)
    try:
        with torch.enable_grad(), marks:
            marks.enter_context(may_have_gradients(model))
            marks.enter_context(_NoHistory())
            return call.run(model)
    finally:
        handle.remove()
