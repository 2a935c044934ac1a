"""fastai's vision_learner with fit_one_cycle, the network's weights in its body and fastai's own head.

As people run it fastai keeps the BatchNorm layers of frozen stages trainable (train_bn=True), so gradients go through
all of them. `--fast` is train_bn=False, and bf16 autocast with channels_last by hand: fastai's own to_bf16 speaks to
CUDA only. Every training is fit_one_cycle, as fine_tune would add an epoch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from common import BATCH, WORKERS, Clock, Training, classes, options, run, user_module
from fastai.callback.schedule import Learner  # also brings fit_one_cycle
from fastai.learner import Callback
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import FlipItem, RandomResizedCrop
from fastai.vision.data import ImageDataLoaders, Normalize
from fastai.vision.learner import vision_learner
from fastcore.foundation import L
from network import begin, frozen_stages
from torch import nn


class Mark(Callback):
    """Tells the clock where epochs end."""

    order = 90

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def before_fit(self) -> None:
        """Start."""
        self.clock.start()

    def after_step(self) -> None:
        """Count a step."""
        self.clock.steps += 1

    def after_epoch(self) -> None:
        """An epoch and its validation are done."""
        self.clock.mark()


class Fast(Callback):
    """bf16 autocast and channels_last."""

    order = 10

    def before_fit(self) -> None:
        """Lay the weights out."""
        self.learn.model.to(memory_format=torch.channels_last)

    def before_batch(self) -> None:
        """Lay a batch out, autocast on."""
        self.learn.xb = tuple(x.contiguous(memory_format=torch.channels_last) for x in self.learn.xb)
        self.autocast = torch.autocast("cpu", torch.bfloat16)
        self.autocast.__enter__()

    def after_pred(self) -> None:
        """Loss in fp32, autocast off."""
        self.autocast.__exit__(None, None, None)
        self.learn.pred = self.learn.pred.float()


def read(args: Any) -> ImageDataLoaders:
    """Loaders of train/ and val/: the augmentation of the other tools, and the last small batch kept as they do."""
    module, _ = user_module(args.model)
    size = module.INPUT_SIZE[-1]
    loaders = ImageDataLoaders.from_folder(
        args.data,
        train="train",
        valid="val",
        item_tfms=[RandomResizedCrop(size), FlipItem()],
        batch_tfms=Normalize.from_stats(module.MEAN, module.STD),
        bs=BATCH,
        num_workers=WORKERS,
        seed=args.seed,
        device=torch.device("cpu"),
    )
    loaders.train.drop_last = False
    return loaders


def learner(args: Any, loaders: ImageDataLoaders, training: Training, clock: Clock, folder: str) -> Learner:
    """The learner of one training, its leading stages frozen."""
    kept: list[nn.Module] = []

    def arch(**_: Any) -> nn.Module:
        network = begin(args, training, len(classes(args.data))).requires_grad_(True)
        kept.extend(frozen_stages(network, training.frozen))
        return network

    def split(model: nn.Module) -> L:
        frozen = [p for stage in kept for p in stage.parameters()]
        known = {id(p) for p in frozen}
        return L([group for group in (frozen, [p for p in model.parameters() if id(p) not in known]) if group])

    made = vision_learner(
        loaders,
        arch,
        metrics=accuracy,
        splitter=split,
        path=Path(folder),
        train_bn=not args.fast,
        cbs=[Mark(clock), *([Fast()] if args.fast else [])],
    )
    if training.frozen:
        made.freeze_to(-1)
    else:
        made.unfreeze()
    return made


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    set_seed(args.seed, reproducible=True)
    loaders = read(args)

    def train(training: Training, clock: Clock) -> float:
        with tempfile.TemporaryDirectory() as folder:
            made = learner(args, loaders, training, clock, folder)
            with made.no_bar(), made.no_logging():
                made.fit_one_cycle(training.epochs)
        return float(made.recorder.values[-1][-1])

    run(args, train)


if __name__ == "__main__":
    main()
