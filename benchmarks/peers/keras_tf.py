"""Keras on TensorFlow: keras.applications.MobileNet(alpha=0.75) with the same weights from the .weights.h5 beside.

After the transfer-learning tutorial: image_dataset_from_directory with prefetch, augmentation layers in the model, the
network called with training=False, Adam. `--fast` decodes the pictures once (cache) and augments in the pipeline, on
all cores. Another network than this one can't be compared here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Before the imports: Keras chooses its backend when it is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from common import BATCH, HEAD, Clock, Training, classes, options, run
from keras import layers

SIZE = 224
UNITS = (0, 1, 3, 5, 11, 13)  # depthwise units in the first 1, 2, ... stages (stem, blocks.0, blocks.1, ...)


class Mark(keras.callbacks.Callback):
    """Tells the clock where epochs end."""

    def __init__(self, clock: Clock, steps: int) -> None:
        super().__init__()
        self.clock = clock
        self.steps = steps

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.clock.start()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """An epoch and its validation are done."""
        self.clock.mark()
        self.clock.steps += self.steps


def augmentation() -> keras.Sequential:
    """The tutorial's layers."""
    return keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])


def read(args: Any) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """train/ and val/ in batches."""

    def part(name: str) -> tf.data.Dataset:
        return keras.utils.image_dataset_from_directory(
            str(args.data / name),
            image_size=(SIZE, SIZE),
            batch_size=BATCH,
            shuffle=name == "train",
            seed=args.seed,
            verbose=False,
        )

    train, val = part("train"), part("val")
    if args.fast:
        varied = augmentation()
        train, val = train.cache(), val.cache()
        train = train.map(lambda x, y: (varied(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return train.prefetch(tf.data.AUTOTUNE), val.prefetch(tf.data.AUTOTUNE)


def pretrained(weights: Path) -> keras.Model:
    """The network without its head, with its weights."""
    whole = keras.applications.MobileNet(alpha=0.75, weights=None, input_shape=(SIZE, SIZE, 3))
    whole.load_weights(weights.with_suffix(".weights.h5"))
    base = keras.applications.MobileNet(
        alpha=0.75, weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg"
    )
    for layer in base.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    return base


def freeze(base: keras.Model, frozen: int) -> None:
    """Freeze leading stages, or all of them for HEAD."""
    if frozen == HEAD:
        base.trainable = False
    for layer in base.layers if frozen > 0 else []:
        kind, _, number = layer.name.partition("_")
        unit = number.split("_")[1] if number.startswith(("dw_", "pw_", "pad_")) else ""
        if kind == "conv1" or (unit and int(unit) <= UNITS[frozen - 1]):
            layer.trainable = False


def network(args: Any, training: Training, count: int) -> keras.Model:
    """What one training starts from, compiled."""
    if training.scratch:
        base = keras.applications.MobileNet(
            alpha=0.75, weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg"
        )
    else:
        base = pretrained(args.weights)
    freeze(base, training.frozen)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = inputs if args.fast else augmentation()(inputs)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x) if training.scratch else base(x, training=False)
    made = keras.Model(inputs, layers.Dense(count, activation="softmax")(layers.Dropout(0.2)(x)))
    rate = 1e-3 if training.frozen == HEAD or training.scratch else 1e-4
    made.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    keras.utils.set_random_seed(args.seed)
    train_set, val_set = read(args)
    steps, count = int(train_set.cardinality()), len(classes(args.data))

    def train(training: Training, clock: Clock) -> float:
        made = network(args, training, count)
        history = made.fit(
            train_set, validation_data=val_set, epochs=training.epochs, verbose=0, callbacks=[Mark(clock, steps)]
        )
        return float(history.history["val_accuracy"][-1])

    run(args, train)


if __name__ == "__main__":
    main()
