"""A network's answers and its features before the head, for all samples of a study, in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, cat, nn

from frostline.base.errors import TrialError
from frostline.base.records import FloatArray
from frostline.features.inference import scores_in_chunks
from frostline.train.feed import EVALUATION_VIEW, reader
from frostline.train.solve import softmax
from frostline.train.study import Study

SPATIAL = 4  # axes of what a head reads that is a 1x1 convolution


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkReading:
    """logits (N, C), not divided by any temperature, and features (N, D) before the head."""

    logits: FloatArray
    features: FloatArray

    def probabilities(self, temperature: float) -> FloatArray:
        return softmax(self.logits / temperature)


class HeadInput:
    """What the head was given last: `features()` (N, D)."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def keep(self, _head: nn.Module, args: tuple[Any, ...]) -> None:
        self.tensor = args[0]

    def features(self) -> Tensor:
        """Return the kept tensor; of maps the mean over places, of tokens the mean over tokens."""
        assert self.tensor is not None
        if self.tensor.ndim == SPATIAL:
            return self.tensor.flatten(2).mean(2)
        if self.tensor.ndim > 2:
            return self.tensor.flatten(1, -2).mean(1)
        return self.tensor


@contextmanager
def keeping_head_input(study: Study, model: nn.Module) -> Iterator[HeadInput]:
    """Keep what the network's head is given, as long as this lasts."""
    kept = HeadInput()
    handle = model.get_submodule(study.stages.head.path).register_forward_pre_hook(kept.keep)
    try:
        yield kept
    finally:
        handle.remove()


def read_study(study: Study, model: nn.Module) -> NetworkReading:
    """Read all samples of a study in inference mode. Raises TrialError for NaN or infinity."""
    model.eval()
    read = reader(study, model, 0)
    rows = study.positions(study.development)
    with keeping_head_input(study, model) as kept:

        def forward(chunk: Tensor) -> Tensor:
            logits = read.forward(read.feed(chunk, EVALUATION_VIEW))
            return cat([logits.float(), kept.features().float()], 1)

        values = scores_in_chunks(forward, rows, study.features.groups(rows), study.compute)
    both = values.cpu().numpy().astype(np.float64)
    if not np.isfinite(both).all():
        raise TrialError("The outputs contain NaN or infinity: the adaptation diverged.")
    return NetworkReading(logits=both[:, : study.classes], features=both[:, study.classes :])
