"""What the network still knows of the task that it was trained on, before and after it was fitted to other data.

Two readings: its first head, put back onto the trained layers, and a new linear head on half of the source data, judged
on the other half. The first says what the handed-over network can still do, the second what its features still hold.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from frostline.base.errors import DataError
from frostline.base.hashing import hash_values
from frostline.base.records import IntArray
from frostline.data.class_map import map_classes
from frostline.data.split import inner_split
from frostline.data.unlabelled import Unlabelled
from frostline.features.extract import Features
from frostline.models.new_heads import CutNetwork
from frostline.planning.domain import domain_study
from frostline.recipe.recipe import Recipe
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.stats.intervals import Interval, wilson
from frostline.train.audit import tensor_hashes
from frostline.train.feed import predict_rows, reader
from frostline.train.start import tensors_by_name
from frostline.train.study import Study
from frostline.train.trial import solve_head

JUDGED = 0.5  # share of the source data on which a new head is judged
BLOCK = -4  # stands for a block in seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of samples that were right, with Wilson's interval."""

    accuracy: float
    ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Accuracy on the source task by the network's first head (None: it can't be put back) and by a new linear head."""

    head: Share | None
    probe: Share | None


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Memory before any training, and after that of each strategy. `reason` says why there is no first head."""

    path: str
    samples: int
    classes: tuple[str, ...]
    before: Memory
    after: Mapping[str, Memory]
    reason: str | None


def measure_forgetting(
    settings: Settings, study: Study, data: Unlabelled, trained: Mapping[str, tuple[Recipe, nn.Module]]
) -> Forgetting:
    """Read the source task with the network as it came, and with each of the trained ones.

    Args:
        study: of the comparison; its trunk is the network as it came.
        data: labelled samples of the source task, read by the same contract.
        trained: strategy -> (recipe, network after the refit).
    """
    source = domain_study(settings, study.network, study.trunk, data, data.classes, None)
    groups, reason = _own_classes(study, data.classes)
    before = _memory(source, source.trunk.model, len(study.stages), groups)
    after = {}
    for name, (recipe, model) in trained.items():
        after[name] = _memory_after(source, recipe, model, groups)
    return Forgetting(
        path=str(data.path),
        samples=len(data),
        classes=data.classes,
        before=before,
        after=after,
        reason=reason,
    )


def _own_classes(study: Study, classes: Sequence[str]) -> tuple[tuple[tuple[int, ...], ...] | None, str | None]:
    """Return the outputs of the network's own head for each class, or the reason why they aren't known."""
    network = study.network
    if network.classes is None:
        return None, "the network doesn't name the classes of its own head"
    try:
        mapped, missing = map_classes(network.classes, classes, {})
    except DataError as error:
        return None, str(error)
    if mapped is None:
        return None, f"the network's own head has no class {missing[0]!r}"
    return mapped.groups, None


def _memory(
    source: Study, model: nn.Module, stage: int, groups: Sequence[Sequence[int]] | None, *, whole: bool = True
) -> Memory:
    head = None
    if groups is not None and whole:
        head = _by_first_head(source, model, groups)
    return Memory(head=head, probe=_by_new_head(source, stage))


def _memory_after(source: Study, recipe: Recipe, model: nn.Module, groups: Sequence[Sequence[int]] | None) -> Memory:
    """Read a trained network: a copy of the first one with the tensors that training left, its own head put back."""
    restored = copy.deepcopy(source.trunk.model)
    body = model.base if isinstance(model, CutNetwork) else model
    left = tensors_by_name(body)
    with torch.no_grad():
        for name, tensor in tensors_by_name(restored).items():
            if name in left and not source.stages.head.owns(name):
                tensor.copy_(left[name])
    hashes = tensor_hashes(restored)
    trunk = replace(source.trunk, model=restored.eval(), hashes=hashes, fingerprint=hash_values("after", hashes))
    features = Features(source=source.features.source, trunk=trunk, store=None)
    after = replace(source, trunk=trunk, features=features)
    return _memory(after, restored, recipe.keep, groups, whole=not recipe.cut_short)


def _by_first_head(source: Study, model: nn.Module, groups: Sequence[Sequence[int]]) -> Share:
    everything = source.development
    probabilities = predict_rows(source, reader(source, model.eval(), 0), source.positions(everything))
    by_class = np.stack([probabilities[:, list(group)].sum(axis=1) for group in groups], axis=1)
    return _share(by_class.argmax(axis=1), source.dataset.labels[everything])


def _by_new_head(source: Study, stage: int) -> Share | None:
    """Solve a linear head on one half of the samples, judge it on the other; None where they can't be halved."""
    if source.stages.cut(stage) is None:
        return None
    train, judged = inner_split(source.dataset, source.development, fraction=JUDGED, seed=source.seed, block=BLOCK)
    if not len(judged):
        return None
    still = replace(source, augmented=False)
    still.features.want(raw=(), pooled=(stage,), views=0, pooled_views=(0,))
    name = "probe"
    if stage < len(still.stages):
        name = f"probe@{stage}"
    head = solve_head(still, make_recipe(name, still.stages.stages), train, block=BLOCK)
    features = still.features.pooled(stage, 0).numpy()[still.positions(judged).numpy()]
    return _share(head.logits(features).argmax(axis=1), still.dataset.labels[judged])


def _share(predicted: IntArray, labels: IntArray) -> Share:
    right = int((predicted == labels).sum())
    return Share(accuracy=right / len(labels), ci=wilson(right, len(labels)))
