"""How a network under training is read: its frozen prefix from the store (or recomputed, same bits), then its rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.errors import TrialError
from frostline.base.records import FloatArray
from frostline.cutting.cuts import Cut
from frostline.cutting.inputs import call_of
from frostline.cutting.outputs import flat_logits
from frostline.cutting.split import Split
from frostline.features.inference import scores_in_chunks, tapped_chunks
from frostline.features.store import canonical
from frostline.models.new_heads import CutNetwork
from frostline.train.study import Study

EVALUATION_VIEW = 0


@dataclass(frozen=True)
class SuffixInputs:
    """An activation with the network's raw inputs of the same samples, of which the rest of it reads some again."""

    activation: Tensor
    inputs: Any  # as `Features.inputs` gives them


@dataclass(frozen=True)
class Reader:
    """`feed(positions, view)` gives what the moving part reads; `forward` maps that to logits."""

    feed: Callable[[Tensor, int], Any]
    forward: Callable[[Any], Tensor]


def reader(study: Study, model: nn.Module, frozen: int) -> Reader:
    """A reader of `model` whose first `frozen` stages don't move."""
    if frozen == 0:
        return Reader(study.features.inputs, lambda inputs: flat_logits(call_of(inputs).run(model)))
    cut = model if isinstance(model, CutNetwork) else None
    split = cut.split if cut else study.stages.split(model, frozen)
    feed = _recomputed(study, split)
    if study.features.stored(frozen):
        feed = partial(study.features.activations, frozen)
    if not reads_inputs(split.cut, cut_short=cut is not None):
        return Reader(
            feed, lambda activation: flat_logits(cut.head(cut.pooled(activation)) if cut else split.suffix(activation))
        )

    def forward(given: SuffixInputs) -> Tensor:
        call = call_of(given.inputs)
        if cut:
            return flat_logits(cut.head(cut.pooled(given.activation, call.tensors)))
        return flat_logits(split.rest(given.activation, call))

    return Reader(lambda rows, view: SuffixInputs(feed(rows, view), study.features.inputs(rows, view)), forward)


def reads_inputs(cut: Cut, *, cut_short: bool) -> bool:
    """Whether what follows a cut reads raw inputs too: the network's own rest, or a new head that pools by a mask."""
    return cut.mask is not None if cut_short else bool(cut.needs)


def _recomputed(study: Study, split: Split) -> Callable[[Tensor, int], Tensor]:
    def feed(rows: Tensor, view: int) -> Tensor:
        inputs = partial(study.features.inputs, view=view)
        chunks = tapped_chunks(split.model, [split.cut], inputs, rows, study.compute)
        parts = [tapped.activations[0][: tapped.count] for tapped in chunks]
        return parts[0] if len(parts) == 1 else canonical(torch.cat(parts))

    return feed


def predict(study: Study, read: Reader, rows: Tensor) -> FloatArray:
    """Class probabilities (N, C) of the evaluation view, in fixed chunks; the network has to be in eval mode."""
    if not len(rows):
        return np.zeros((0, study.classes))

    def forward(chunk: Tensor) -> Tensor:
        return read.forward(read.feed(chunk, EVALUATION_VIEW))

    chunks = scores_in_chunks(forward, rows, study.compute)
    parts = [scores.float().softmax(1).cpu().numpy() for scores in chunks]
    probabilities = np.concatenate(parts).astype(np.float64)
    if not np.isfinite(probabilities).all():
        raise TrialError("The network's answers are no numbers any more: it diverged.", "Give a lower --lr.")
    return probabilities
