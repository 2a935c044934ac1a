"""Reads a network under training: its frozen prefix from the store (or recomputed, same bits), then its rest."""

from __future__ import annotations

import contextlib
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
from frostline.features.inference import Tap, scores_in_chunks, tapped_chunks
from frostline.features.store import StoreError, canonical
from frostline.models.new_heads import CutNetwork
from frostline.train.study import Study

EVALUATION_VIEW = 0


@dataclass(frozen=True)
class SuffixInputs:
    """An activation with the network's raw inputs of the same samples, some of which the rest of it reads again."""

    activation: Tensor
    inputs: Any  # as `Features.inputs` gives them


@dataclass(frozen=True)
class Reader:
    """`feed(positions, view)` gives the inputs of the trained part, for samples of one group (`Features.groups`);
    `forward` maps them to logits."""

    feed: Callable[[Tensor, int], Any]
    forward: Callable[[Any], Tensor]


def reader(study: Study, model: nn.Module, frozen: int) -> Reader:
    """Return a reader of `model` whose first `frozen` stages don't change."""
    if frozen == 0:
        return Reader(study.features.inputs, lambda inputs: flat_logits(call_of(inputs).run(model)))
    if isinstance(model, CutNetwork):
        return _cut_reader(study, model, frozen)
    split = study.stages.split(model, frozen)
    feed = _activation_feed(study, split, frozen)
    if not reads_inputs(split.cut, cut_short=False):
        return Reader(feed, lambda activation: flat_logits(split.suffix(activation)))

    def forward(suffix: SuffixInputs) -> Tensor:
        return flat_logits(split.rest(suffix.activation, call_of(suffix.inputs)))

    return Reader(_with_inputs(study, feed), forward)


def _cut_reader(study: Study, model: CutNetwork, frozen: int) -> Reader:
    feed = _activation_feed(study, model.split, frozen)
    if not reads_inputs(model.split.cut, cut_short=True):
        return Reader(feed, lambda activation: flat_logits(model.head(model.pooled(activation))))

    def forward(suffix: SuffixInputs) -> Tensor:
        return flat_logits(model.head(model.pooled(suffix.activation, call_of(suffix.inputs).tensors)))

    return Reader(_with_inputs(study, feed), forward)


def reads_inputs(cut: Cut, *, cut_short: bool) -> bool:
    """True where raw inputs are read after a cut too: by the network's own rest, or a new head that pools by a mask."""
    if cut_short:
        return cut.mask is not None
    return bool(cut.needs)


def _activation_feed(study: Study, split: Split, frozen: int) -> Callable[[Tensor, int], Tensor]:
    recomputed = _recomputed(study, split)

    def feed(rows: Tensor, view: int) -> Tensor:
        if study.features.stored(frozen):
            with contextlib.suppress(StoreError):  # its disk is full: from here on they are recomputed
                return study.features.activations(frozen, rows, view)
        return recomputed(rows, view)

    return feed


def _with_inputs(study: Study, feed: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], SuffixInputs]:
    return lambda rows, view: SuffixInputs(feed(rows, view), study.features.inputs(rows, view))


def _recomputed(study: Study, split: Split) -> Callable[[Tensor, int], Tensor]:
    def feed(rows: Tensor, view: int) -> Tensor:
        tap = Tap(split.model, [split.cut], partial(study.features.inputs, view=view), study.compute)
        (group,) = study.features.groups(rows)
        chunks = tapped_chunks(tap, rows, group.chunk)
        parts = [tapped.activations[0][: tapped.count] for tapped in chunks]
        if len(parts) == 1:
            return parts[0]
        return canonical(torch.cat(parts))

    return feed


def predict_rows(study: Study, read: Reader, rows: Tensor) -> FloatArray:
    """Return class probabilities (N, C) of the evaluation view, in fixed chunks; the network has to be in eval mode."""
    if len(rows) == 0:
        return np.zeros((0, study.classes))

    def forward(chunk: Tensor) -> Tensor:
        return read.forward(read.feed(chunk, EVALUATION_VIEW))

    scores = scores_in_chunks(forward, rows, study.features.groups(rows), study.compute)
    probabilities: FloatArray = scores.float().softmax(1).cpu().numpy().astype(np.float64)
    if not np.isfinite(probabilities).all():
        raise TrialError("The outputs contain NaN or infinity: training diverged.", "Give a lower --lr.")
    return probabilities
