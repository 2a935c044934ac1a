"""Weights on the line from a solved head to the end of training (WiSE-FT), and the solved head put into a network.

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
from frostline.train.feed import predict, reader
from frostline.train.study import Study

if TYPE_CHECKING:
    from frostline.train.trained import TrainedNetwork


def mixed(solved: nn.Module, trained: nn.Module, mix: float) -> nn.Module:
    """(1 - mix) solved + mix trained, parameters and running statistics alike; the ends are exact."""
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
    """The mix with the lowest log loss on `inner` rows (ties to the nearer to the solved head), put into `trained`.

    Without inner rows it is 0.5, the paper's choice where nothing can be looked at.
    """
    assert trained.solved is not None
    labels, losses = study.dataset.labels[inner], []
    for mix in MIXES if len(inner) else ():
        model = mixed(trained.solved, trained.model, mix).eval()
        losses.append(log_loss(predict(study, reader(study, model, 0), study.positions(inner)), labels))
    chosen = MIXES[losses.index(min(losses))] if losses else 0.5
    trained.model.load_state_dict(mixed(trained.solved, trained.model, chosen).state_dict())
    return chosen
