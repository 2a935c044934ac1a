"""A curve that takes seconds: gratings of four directions, and a network of four narrow stages."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.events import silent
from frostline.base.records import DataPart, Dataset, Sample
from frostline.bundle.runfolder import RunFolder
from frostline.curve.protocol import readings_of
from frostline.curve.training import Bench, Given
from frostline.data.images import Images
from frostline.data.preprocess import Preprocess
from frostline.engines.local import Meter
from frostline.features.store import Store
from frostline.models.network import Network, seeded
from frostline.planning.prepare import map_network
from frostline.recipe.settings import Settings
from helpers.data_makers import images_of

SIDE = 16
CLASSES = ("east", "north", "steep", "flat")
ANGLES = (0.0, 90.0, 45.0, 135.0)


class Narrow(nn.Module):
    """Stages a, b, c, d of 3 x 3 convolutions with BatchNorm, eight channels wide."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = layer(1, 8), layer(8, 8, 2), layer(8, 8, 2), layer(8, 8)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.d(self.c(self.b(self.a(x))))).flatten(1))
        return scores


def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


PREPROCESS = Preprocess(mode="L", size=(SIDE, SIDE), resize=SIDE, interpolation="bilinear", mean=(0.5,), std=(0.25,))


@cache
def network() -> Network:
    return Network(
        spec="torch:made.py:net",
        source="torch",
        build=seeded(Narrow),
        weights=None,
        weights_name="random",
        self_loading=False,
        preprocess=PREPROCESS,
        classes=None,
        code=None,
        fingerprint="narrow",
    )


@cache
def stages():
    return map_network(network())[1]


def gratings(train: int, held_out: int) -> tuple[Dataset, Images]:
    """Noisy waves, one direction a class; `held_out` of each class are sealed."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    samples: list[Sample] = []
    pictures = []
    for number in range(train + held_out):
        for label, name in enumerate(CLASSES):
            angle = np.deg2rad(ANGLES[label] + rng.normal(0, 6))
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(1.2, 1.8) + rng.uniform(0, 6.3))
            values = 128 + 40 * wave + rng.normal(0, 40, wave.shape)
            pictures.append(np.clip(values, 0, 255).astype(np.uint8)[:, :, None])
            part: DataPart = "development" if number < train else "sealed"
            id_ = f"{name}/{number}.png"
            samples.append(Sample(id=id_, path=None, label=label, part=part, group=id_, sha256=f"{len(samples):064d}"))
    data = Dataset(path="made", kind="folders", classes=CLASSES, samples=tuple(samples), sealed_from="test/")
    return data, images_of(pictures)


def given(*, steps: int = 120, train: int = 16, held_out: int = 25, store: Path | None = None) -> Given:
    """A run on gratings; nothing is augmented."""
    torch.set_num_threads(1)
    dataset, samples = gratings(train, held_out)
    settings = Settings(
        data=Path("made"), model="made", batch_size=16, augment="none", threads=1, precision="fp32", device="cpu"
    )
    return Given(
        settings=settings,
        dataset=dataset,
        samples=samples,
        network=network(),
        stages=stages(),
        store=Store(store) if store else None,
        steps=steps,
        readings=readings_of(steps),
    )


def bench(folder: Path, emit=silent) -> Bench:
    return Bench(folder=RunFolder(folder), emit=emit, meter=Meter(emit, 1e12))
