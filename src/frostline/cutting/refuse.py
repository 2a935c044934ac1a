"""Networks whose run can't be watched: scripted, compiled, or with layers that have no weights yet."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from frostline.base.errors import ModelError


def scripted(module: nn.Module) -> bool:
    """True where its calls run as TorchScript, which calls no hook and whose forward can't be swapped."""
    return isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction)


def refuse_unwatchable(model: nn.Module) -> None:
    """Raise ModelError, with a hint on what to give instead, for a network that can't be recorded or cut.

    A scripted part of a network is not refused: it is one piece, whose operations are seen.
    """
    if scripted(model):
        raise ModelError(
            "The network is scripted (torch.jit), so frostline can't see which of its parts run.",
            "Give the network as it was before torch.jit.script or torch.jit.trace.",
        )
    for name, module in model.named_modules():
        subject = "The network"
        if name:
            subject = f"The part {name} of the network"
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(
                f"{subject} is compiled (torch.compile), so frostline can't see which of its parts run.",
                "Give the network as it was before torch.compile, which keeps it as the attribute _orig_mod.",
            )
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors):
            raise ModelError(
                f"{subject} is a {type(module).__name__} that has no weights before its first run.",
                "Run the network once on an example before you give it to frostline.",
            )
