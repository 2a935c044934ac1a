"""The Trainer of Hugging Face transformers on short messages, a few of them long, each batch padded to its longest.

After its text-classification example: tokenised once, an evaluation each epoch, nothing saved. `--fast` is the
Trainer's own bf16 and batches of texts of similar length.
"""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any

# Before the imports: the hub's client reads it when it is imported.
os.environ.update(HF_HUB_OFFLINE="1")

import numpy as np
from common import BATCH, Clock, Training, options, run
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

Rows = list[dict[str, Any]]


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


def messages(table: Path, tokenizer: Any) -> dict[str, Rows]:
    """The tokenised rows of train and test, with the number of their class."""
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = sorted({row["label"] for row in rows})
    found: dict[str, Rows] = {"train": [], "test": []}
    for row, encoded in zip(rows, tokenizer([r["text"] for r in rows], truncation=True)["input_ids"], strict=True):
        found[row["split"]].append({"input_ids": encoded, "labels": names.index(row["label"])})
    return found


def accuracy(prediction: Any) -> dict[str, float]:
    """Of an evaluation."""
    return {"accuracy": float((np.argmax(prediction.predictions, 1) == prediction.label_ids).mean())}


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    sets = messages(args.data, tokenizer)
    count = 1 + max(row["labels"] for row in sets["train"])
    with tempfile.TemporaryDirectory() as folder:

        def train(training: Training, clock: Clock) -> float:
            how = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                num_train_epochs=training.epochs,
                learning_rate=5e-5,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                bf16=args.fast,
                train_sampling_strategy="group_by_length" if args.fast else "random",
                seed=args.seed,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            )
            trainer = Trainer(
                model=AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=count),
                args=how,
                train_dataset=sets["train"],
                eval_dataset=sets["test"],
                data_collator=DataCollatorWithPadding(tokenizer),
                compute_metrics=accuracy,
                callbacks=[Mark(clock)],
            )
            trainer.train()
            return float([h["eval_accuracy"] for h in trainer.state.log_history if "eval_accuracy" in h][-1])

        run(args, train)


if __name__ == "__main__":
    main()
