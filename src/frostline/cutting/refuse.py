"""Networks whose run can't be watched: scripted, compiled, or with layers that have no weights yet."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from frostline.base.errors import ModelError


def scripted(module: nn.Module) -> bool:
    """Whether its calls run as TorchScript, where no hook hears of them and no forward can be swapped."""
    return isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction)


def refuse_unwatchable(model: nn.Module) -> None:
    """Raise ModelError, which says what to give instead, for a network that can't be recorded or cut.

    A scripted part of a network is none such: it is one piece, whose operations are seen.
    """
    if scripted(model):
        raise ModelError(
            "The network is scripted (torch.jit), so it can't be seen which of its parts run.",
            "Give the network as it was before torch.jit.script or torch.jit.trace.",
        )
    for name, module in model.named_modules():
        where = "The network"
        if name:
            where = f"The part {name} of the network"
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(
                f"{where} is compiled (torch.compile), so it can't be seen which of its parts run.",
                "Give the network as it was before it was compiled; torch.compile keeps it as the attribute _orig_mod.",
            )
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(isinstance(x, UninitializedParameter | UninitializedBuffer) for x in own):
            raise ModelError(
                f"{where} is a {type(module).__name__} that has no weights before its first run.",
                "Run the network once on an example before it is given to frostline.",
            )
