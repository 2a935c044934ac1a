"""L2-SP: trained weights are pulled towards their pre-trained values, a new head towards zero, instead of weight decay.

Source: Li, Grandvalet & Davoine 2018, "Explicit inductive bias for transfer learning with convolutional networks":
alpha/2 |w - w0|^2 + beta/2 |head|^2 is added to the loss. Its gradient is added here, which is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frostline.recipe.recipe import Phase


@dataclass(frozen=True, slots=True)
class Anchor:
    """A parameter, where it is pulled to (None: to zero), and how strongly."""

    parameter: nn.Parameter
    start: Tensor | None
    strength: float


def anchors_of(model: nn.Module, trained: Mapping[str, int], phase: Phase,
               start: Mapping[str, Tensor] | None = None) -> tuple[Anchor, ...]:  # fmt: skip
    """Anchors of the trained parameters (`trained`: name -> stage, S + 1 is the head); none where nothing pulls.

    `start`: values before training, of those that an earlier phase may have moved.
    """
    if not (phase.pull or phase.head_pull):
        return ()
    parameters, last = dict(model.named_parameters()), len(phase.stages)
    known = start or {}
    return tuple(
        Anchor(parameters[name], known[name] if name in known else parameters[name].detach().clone(), phase.pull)
        if stage <= last
        else Anchor(parameters[name], None, phase.head_pull)
        for name, stage in trained.items()
    )


def pull_back(anchors: Sequence[Anchor]) -> None:
    """Add the penalty's gradient to that of the loss."""
    with torch.no_grad():
        for anchor in anchors:
            if anchor.parameter.grad is not None:
                away = anchor.parameter if anchor.start is None else anchor.parameter - anchor.start
                anchor.parameter.grad.add_(away, alpha=anchor.strength)
