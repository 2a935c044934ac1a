"""The Trainer of Hugging Face transformers on a folder of pictures (datasets' imagefolder), with the timm network.

After its image-classification example: transformations on the fly, an evaluation each epoch, nothing saved. `--fast`
is the Trainer's own bf16, and channels_last by hand.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

# Before the imports: the hub's client reads both when it is imported.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import numpy as np
import torch
from common import BATCH, WORKERS, Clock, Training, classes, options, run
from datasets import load_dataset
from network import begin, transformations
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed


class Net(nn.Module):
    """What the Trainer wants of a model: a loss and logits."""

    def __init__(self, network: nn.Module, *, fast: bool) -> None:
        super().__init__()
        self.network = network
        self.fast = fast

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and logits of a batch."""
        if self.fast:
            pixel_values = pixel_values.to(memory_format=torch.channels_last)
        logits = self.network(pixel_values)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Mark(TrainerCallback):
    """Tells the clock where epochs end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count a step."""
        self.clock.steps += 1

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        """An epoch's evaluation is done."""
        self.clock.mark()


def pictures(args: Any, cache: str) -> Any:
    """train/ and val/ with their transformations."""
    found = load_dataset("imagefolder", data_dir=str(args.data), cache_dir=cache)
    ways = transformations(args.model, augment=True)

    def applied(way: Any) -> Any:
        def apply(batch: dict[str, Any]) -> dict[str, Any]:
            batch["pixel_values"] = [way(i.convert("RGB")) for i in batch["image"]]
            return batch

        return apply

    return (
        found["train"].with_transform(applied(ways["train"])),
        found["validation"].with_transform(applied(ways["val"])),
    )


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A batch."""
    return {
        "pixel_values": torch.stack([e["pixel_values"] for e in examples]),
        "labels": torch.tensor([e["label"] for e in examples]),
    }


def accuracy(prediction: Any) -> dict[str, float]:
    """Of an evaluation."""
    return {"accuracy": float((np.argmax(prediction.predictions, 1) == prediction.label_ids).mean())}


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    set_seed(args.seed)
    count = len(classes(args.data))
    with tempfile.TemporaryDirectory() as folder:
        train_set, val_set = pictures(args, folder)

        def train(training: Training, clock: Clock) -> float:
            how = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                num_train_epochs=training.epochs,
                learning_rate=1e-3,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                remove_unused_columns=False,
                use_cpu=True,
                bf16=args.fast,
                seed=args.seed,
                disable_tqdm=True,
                dataloader_num_workers=WORKERS,
                dataloader_pin_memory=False,
            )
            trainer = Trainer(
                model=Net(begin(args, training, count), fast=args.fast),
                args=how,
                train_dataset=train_set,
                eval_dataset=val_set,
                data_collator=collate,
                compute_metrics=accuracy,
                callbacks=[Mark(clock)],
            )
            trainer.train()
            return float([h["eval_accuracy"] for h in trainer.state.log_history if "eval_accuracy" in h][-1])

        run(args, train)


if __name__ == "__main__":
    main()
