"""A study that takes milliseconds: a network of four small stages and images of noise, one class brighter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.records import Dataset, Sample
from frostline.cutting.stages import StageMap
from frostline.data.decode import Images
from frostline.data.preprocess import Preprocess
from frostline.features.store import Store
from frostline.models.network import Network, seeded
from frostline.planning.plan_race import feature_widths, want_features
from frostline.planning.prepare import make_study, make_trunk, map_network
from frostline.race.plan import Scale
from frostline.recipe.catalogue import Choices
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.train.study import Study
from helpers.data_makers import images_of

SIDE = 16
PREPROCESS = Preprocess.default(SIDE, (0.5,), (0.25,), 3)
SETTINGS = Settings(
    data=Path("made"), model="torch:made.py:net", epochs=2, batch_size=4, threads=1, precision="fp32", device="cpu"
)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Net(nn.Module):
    """Stages a, b, c, d; a dropout before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = block(3, 4, 2), block(4, 6, 2), block(6, 8, 2)
        self.d = block(8, 8)
        self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.d(self.c(self.b(self.a(x))))
        scores: Tensor = self.fc(self.drop(self.pool(x).flatten(1)))
        return scores


@cache
def mapped(make: Callable[[], nn.Module] = Net) -> tuple[Network, nn.Module, StageMap]:
    """The network and its stage map; mapping takes the most time, so it is done once."""
    network = Network(
        spec="torch:made.py:net",
        source="torch",
        build=seeded(make),
        weights=None,
        weights_name="random",
        self_loading=False,
        preprocess=PREPROCESS,
        classes=None,
        code=None,
        fingerprint=make.__name__,
    )
    return network, *map_network(network)


def dataset(rows: int, classes: int = 2, sealed: int = 2) -> Dataset:
    """Samples in turn of each class; the last `sealed` ones are sealed."""
    samples = tuple(
        Sample(
            id=f"c{i % classes}/{i}.png",
            path=Path(f"{i}.png"),
            label=i % classes,
            part="development" if i < rows else "sealed",
            group=str(i),
            sha256=f"{i:064d}",
        )
        for i in range(rows + sealed)
    )
    names = tuple(f"c{k}" for k in range(classes))
    return Dataset(path="made", kind="folders", classes=names, samples=samples, sealed_from="test/")


def images(data: Dataset) -> Images:
    rng = np.random.default_rng(0)
    return images_of(
        [
            np.clip(rng.normal(90 + 70 * s.label, 40, (PREPROCESS.resize, PREPROCESS.resize + 3, 3)), 0, 255).astype(
                np.uint8
            )
            for s in data.samples
        ]
    )


def study(
    rows: int = 14, *, store: Path | None = None, make: Callable[[], nn.Module] = Net, classes: int = 2, **changed: Any
) -> Study:
    """A study on `rows` development rows; `changed` replaces settings."""
    from dataclasses import replace

    torch.set_num_threads(1)
    network, model, stages = mapped(make)
    settings, data = replace(SETTINGS, **changed), dataset(rows, classes)
    trunk = make_trunk(settings, network, model, stages, rows)
    return make_study(settings, data, images(data), network, trunk, Store(store) if store else None)


def scale_of(made: Study) -> Scale:
    """What the operations of a plan are counted with."""
    return Scale(
        stages=made.stages.stages,
        widths=feature_widths(made.stages),
        classes=made.classes,
        batch_size=made.batch_size,
        epochs=made.epochs,
        solved_views=2,
        stepped_views=2,
        source_classes=5,
    )


def recipe(made: Study, name: str, batchnorm: Any = None) -> Recipe:
    return make_recipe(name, made.stages.stages, Choices(batchnorm=batchnorm))


def trial(
    made: Study, name: str, *, batchnorm: Any = None, rate: float | None = 1e-3, block: int = 0, held: int = 4
) -> Trial:
    """A trial that is judged on the last `held` development rows; from now on features are what it asks for."""
    used = recipe(made, name, batchnorm)
    want_features(made, [used])
    rows = tuple(map(int, made.development))
    stepped = used.solver == "stepped"
    return Trial(
        recipe=used,
        purpose="block",
        block=block,
        rate=rate if stepped else None,
        train=rows[:-held],
        validation=rows[-held:],
    )
