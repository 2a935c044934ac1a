"""A network after its training phases."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from frostline.base.records import AuditCount
from frostline.train.loop import LoopState


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network after its phases, with the audit of which tensors changed."""

    model: nn.Module
    done: LoopState
    audit: AuditCount
    before: nn.Module | None = None
    solved: nn.Module | None = None  # after the solved phase, where the result is mixed with it
