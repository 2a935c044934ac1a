"""Mixes weights on the line from a solved head to the end of training (WiSE-FT).

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models". Where the classes are new there is no zero-shot
head, so the line starts from the linear probe.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from frostline.base.records import IntArray
from frostline.recipe.schedule import MIXES
from frostline.stats.metrics import log_loss
from frostline.train.feed import predict_rows, reader
from frostline.train.study import Study

if TYPE_CHECKING:
    from frostline.train.trained import TrainedNetwork


DEFAULT_MIX = 0.5  # the paper's choice where there are no samples to choose by


def mixed(solved: nn.Module, trained: nn.Module, mix: float) -> nn.Module:
    """Return (1 - mix) solved + mix trained, parameters and running statistics alike; the ends are exact."""
    result = copy.deepcopy(trained)
    with torch.no_grad():
        for pairs in (
            zip(result.parameters(), solved.parameters(), strict=True),
            zip(result.buffers(), solved.buffers(), strict=True),
        ):
            for target, start in pairs:
                if target.is_floating_point():
                    target.copy_(torch.lerp(start, target, mix))
    return result


def choose_mix(study: Study, trained: TrainedNetwork, inner: IntArray) -> float:
    """Put the mix with the lowest log loss on the `inner` samples into `trained`, and return it.

    Ties go to the mix nearer to the solved head. Without inner samples the mix is DEFAULT_MIX.
    """
    assert trained.solved is not None
    chosen = DEFAULT_MIX
    if len(inner) > 0:
        losses = [_mix_loss(study, mixed(trained.solved, trained.model, mix), inner) for mix in MIXES]
        chosen = MIXES[losses.index(min(losses))]
    trained.model.load_state_dict(mixed(trained.solved, trained.model, chosen).state_dict())
    return chosen


def _mix_loss(study: Study, model: nn.Module, inner: IntArray) -> float:
    read = reader(study, model.eval(), 0)
    return log_loss(predict_rows(study, read, study.positions(inner)), study.dataset.labels[inner])
