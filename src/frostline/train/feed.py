"""How a network under training is read: its frozen prefix from the store (or recomputed, same bits), then its rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.device import autocast
from frostline.base.errors import TrialError
from frostline.base.records import FloatArray
from frostline.features.extract import pad
from frostline.features.store import canonical
from frostline.models.guard import exact
from frostline.models.heads import flat_logits
from frostline.models.new_heads import CutNetwork
from frostline.models.split import Split
from frostline.train.study import Study

EVALUATION_VIEW = 0


@dataclass(frozen=True)
class Reader:
    """`feed(positions, view)` gives what the moving part reads; `forward` maps that to logits."""

    feed: Callable[[Tensor, int], Tensor]
    forward: Callable[[Tensor], Tensor]


def reader(study: Study, model: nn.Module, frozen: int) -> Reader:
    """A reader of `model` whose first `frozen` stages don't move."""
    if frozen == 0:
        return Reader(study.features.inputs, lambda inputs: flat_logits(model(inputs)))
    cut = model if isinstance(model, CutNetwork) else None
    split = cut.split if cut else study.trunk.stages.split(model, frozen)

    def forward(activation: Tensor) -> Tensor:
        return flat_logits(cut.head(cut.pooled(activation)) if cut else split.suffix(activation))

    if study.features.stored(frozen):
        return Reader(lambda rows, view: study.features.activations(frozen, rows, view), forward)
    return Reader(_recomputed(study, split), forward)


def _recomputed(study: Study, split: Split) -> Callable[[Tensor, int], Tensor]:
    def feed(rows: Tensor, view: int) -> Tensor:
        parts = []
        for chunk in torch.split(rows, study.compute.chunk):
            inputs = study.features.inputs(pad(chunk, study.compute.chunk), view)
            with torch.no_grad(), autocast(study.compute):
                parts.append(canonical(split.prefix(inputs))[: len(chunk)])
        return parts[0] if len(parts) == 1 else canonical(torch.cat(parts))

    return feed


def predict(study: Study, read: Reader, rows: Tensor) -> FloatArray:
    """Class probabilities (N, C) of the evaluation view, in fixed chunks; the network has to be in eval mode."""
    if not len(rows):
        return np.zeros((0, study.classes))
    parts = []
    for chunk in torch.split(rows, study.compute.chunk):
        with torch.inference_mode(), autocast(study.compute), exact():
            logits = read.forward(read.feed(pad(chunk, study.compute.chunk), EVALUATION_VIEW))[: len(chunk)]
        parts.append(logits.float().softmax(1).cpu().numpy())
    probabilities = np.concatenate(parts).astype(np.float64)
    if not np.isfinite(probabilities).all():
        raise TrialError("The network's answers are no numbers any more: it diverged.", "Give a lower --lr.")
    return probabilities
