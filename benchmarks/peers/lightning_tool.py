"""Lightning's Trainer with its finetuning callback, on the tutorial's loaders.

The callback freezes with train_bn=False: Lightning's default would leave the BatchNorm layers of frozen stages
trainable and send gradients through all of them, which is slower. `--fast` is its precision="bf16-mixed", and
channels_last by hand.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import lightning
import torch
from common import Clock, Training, classes, options, run
from lightning.pytorch.callbacks import BaseFinetuning, Callback
from network import begin, frozen_stages, loaders
from torch import nn
from torch.nn import functional as F

Batch = tuple[torch.Tensor, torch.Tensor]


class Module(lightning.LightningModule):
    """The network with its loss and optimiser."""

    def __init__(self, network: nn.Module, *, fast: bool) -> None:
        super().__init__()
        self.network = network
        self.fast = fast

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.network(x.to(memory_format=torch.channels_last) if self.fast else x)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Loss of a batch."""
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Accuracy of a batch."""
        right = (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", right, batch_size=len(batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What is trained."""
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=1e-3)


class Freeze(BaseFinetuning):
    """Freeze leading stages for good."""

    def __init__(self, frozen: int) -> None:
        super().__init__()
        self.frozen = frozen

    def freeze_before_training(self, pl_module: Any) -> None:
        """Before the optimiser is made."""
        self.freeze(frozen_stages(pl_module.network, self.frozen), train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        """Nothing is unfrozen later."""


class Mark(Callback):
    """Tells the clock where epochs end (after validation)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_start(self, *_: Any) -> None:
        """Start."""
        self.clock.start()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        self.clock.steps += 1

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch and its validation are done."""
        self.clock.mark()


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    warnings.simplefilter("ignore")
    lightning.seed_everything(args.seed)
    parts = loaders(args.data, args.model, augment=True)
    count = len(classes(args.data))

    def train(training: Training, clock: Clock) -> float:
        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(
                max_epochs=training.epochs,
                callbacks=[Freeze(training.frozen), Mark(clock)],
                accelerator="cpu",
                precision="bf16-mixed" if args.fast else "32-true",
                logger=False,
                enable_checkpointing=False,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                enable_progress_bar=False,
                default_root_dir=folder,
            )
            trainer.fit(Module(begin(args, training, count), fast=args.fast), parts["train"], parts["val"])
        return float(trainer.callback_metrics["val_accuracy"])

    run(args, train)


if __name__ == "__main__":
    main()
