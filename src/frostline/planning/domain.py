"""A further data set of the same task, read by a network that is placed already: a study of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frostline.base.records import Dataset, IntArray, Sample
from frostline.data.unlabelled import Unlabelled
from frostline.features.extract import Trunk
from frostline.features.store import Store
from frostline.models.network import Network
from frostline.planning.prepare import make_study
from frostline.recipe.settings import Settings
from frostline.train.study import Study

UNKNOWN = -1  # the label of a sample that has none


def common_labels(data: Unlabelled, classes: Sequence[str]) -> tuple[tuple[str, ...], IntArray | None]:
    """Number the labels of a data set by the classes of another one.

    Returns (all classes: those given, then those that only `data` name; labels (N,), -1 where there is none). No labels
    where none of the names is among `classes`: folders then mean something else.
    """
    if data.labels is None or not set(data.classes) & set(classes):
        return tuple(classes), None
    every = (*classes, *(name for name in data.classes if name not in classes))
    numbers = np.array([every.index(name) for name in data.classes], dtype=np.int64)
    labels = np.where(data.labels < 0, UNKNOWN, numbers[np.maximum(data.labels, 0)])
    return every, labels.astype(np.int64)


def group_numbers(data: Unlabelled) -> IntArray:
    """Number the groups (N,) of samples that stay together: those of the data, and copies of one content."""
    groups = data.groups or ("",) * len(data)
    names = [group or sha256 for group, sha256 in zip(groups, data.hashes, strict=True)]
    found: IntArray = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    return found


def domain_study(
    settings: Settings, network: Network, trunk: Trunk, data: Unlabelled, classes: Sequence[str], store: Store | None
) -> Study:
    """Join a data set with a network: all of its samples are development data, with label -1 where there is none.

    `data` were read by the network's own contract. Labels that aren't among `classes` count as unknown.
    """
    _, labels = common_labels(data, classes)
    if labels is None:
        labels = np.full(len(data), UNKNOWN, dtype=np.int64)
    labels = np.where(labels < len(classes), labels, UNKNOWN)
    groups = group_numbers(data)
    samples = tuple(
        Sample(
            id=data.ids[i],
            path=None,
            label=int(labels[i]),
            part="development",
            group=str(groups[i]),
            sha256=data.hashes[i],
        )
        for i in range(len(data))
    )
    dataset = Dataset(
        path=str(data.path), kind=data.kind, classes=tuple(classes), samples=samples, sealed_from="nothing"
    )
    return make_study(settings, dataset, data.samples, network, trunk, store)
