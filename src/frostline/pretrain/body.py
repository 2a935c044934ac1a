"""The part of any network that is pre-trained: all of it up to the features that its head reads.

Shapes: N samples, D features, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.device import Compute, autocast
from frostline.cutting.cuts import Cut, read_features
from frostline.cutting.guard import exact
from frostline.cutting.heads import HeadSite
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.split import run_to
from frostline.cutting.stages import StageMap
from frostline.features.inference import Group, in_order, padded_chunks

MAP_AXES = 4  # of a feature map (N, C, H, W)


@dataclass(frozen=True)
class Body:
    """A network without its head. It is read in whatever mode it is in, with gradients where those are kept."""

    model: nn.Module
    stages: StageMap

    @property
    def width(self) -> int:
        """D, the number of features that the head reads."""
        return self.stages.head.in_features

    def features(self, inputs: Any) -> Tensor:
        """Return what the head would read of a batch (inputs, or a whole call), (N, D) in fp32."""
        call = inputs if isinstance(inputs, Call) else call_of(inputs)
        cut = self.stages.cut(len(self.stages))
        if cut is None:
            return head_input(self.model, self.stages.head, call)
        return read_features(cut, run_to(self.model, [cut], call)[0], call.tensors)

    def map_cut(self) -> Cut | None:
        """Return the last cut with a feature map of more than one place, if no stage behind it has weights; else None,
        as in transformers and where dense layers follow."""
        for stage in reversed(self.stages.stages):
            cut = self.stages.cut(stage.index)
            if cut is not None and _is_map(cut):
                return cut
            if stage.parameters:
                return None
        return None


def _is_map(cut: Cut) -> bool:
    return len(cut.shape) == MAP_AXES and cut.channel_axis % MAP_AXES == 1 and max(cut.shape[2:]) > 1


def head_input(model: nn.Module, site: HeadSite, call: Call) -> Tensor:
    """Return what the network hands to its head, (N, D) in fp32; for networks without a cut there."""
    seen: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        seen.extend(value for value in (*args, *keywords.values()) if isinstance(value, Tensor))

    handle = model.get_submodule(site.path).register_forward_pre_hook(note, with_kwargs=True)
    try:
        call.run(model)
    finally:
        handle.remove()
    return seen[0].float().flatten(1)


def plain_features(
    body: Body, inputs: Callable[[Tensor], Any], rows: Tensor, groups: Sequence[Group], compute: Compute
) -> Tensor:
    """Return the features (N, D) of samples in inference mode, on the CPU.

    In chunks of one fixed size, so that a sample's don't depend on the others. `inputs` maps row indices of one group
    to the network's inputs.
    """
    body.model.eval()
    parts = []
    for group in groups:
        for wanted, chunk in padded_chunks(rows[group.places], group.chunk):
            with torch.no_grad(), autocast(compute), exact():
                found = body.features(inputs(chunk))
            parts.append(found[:wanted].float().cpu())
    return in_order(parts, groups)
