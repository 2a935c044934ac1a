"""Keras itself: imported on the torch backend, without touching the home folder, the environment or global seeds."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from frostline.base.errors import ModelError


def import_keras() -> Any:
    """The module keras on its torch backend. Raises ModelError where it isn't installed, or was imported with another
    backend before: a process has one."""
    if "keras" not in sys.modules:
        with tempfile.TemporaryDirectory() as home, _environment(KERAS_BACKEND="torch", KERAS_HOME=home):
            _import()
    keras = _import()
    backend = keras.config.backend()
    if backend != "torch":
        raise ModelError(
            f"Keras runs on {backend} in this process, and frostline needs it on torch.",
            "Set KERAS_BACKEND=torch before Keras is imported, or start a new process.",
        )
    return keras


def _import() -> Any:
    try:
        import h5py  # noqa: F401
        import keras
    except ImportError as error:
        raise ModelError(
            f"keras: needs a package that isn't installed ({error.name}).", "pip install 'frostline[keras]'"
        ) from error
    return keras


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set for the import alone. A home of its own: Keras would write a keras.json into the user's, and read one that
    may name another layout or precision."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def building(keras: Any) -> Iterator[None]:
    """Models are built on the CPU, channels last, in fp32; Keras draws seeds from Python's global generator, which is
    given back as it was."""
    state = random.getstate()
    layout = keras.config.image_data_format()
    floats = keras.config.floatx()
    policy = keras.config.dtype_policy()
    random.seed(0)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        with keras.device("cpu"):
            yield
    finally:
        random.setstate(state)
        keras.config.set_image_data_format(layout)
        keras.config.set_floatx(floats)
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def reading_backwards(keras: Any) -> Iterator[None]:
    """Let Keras run x[..., ::-1] on torch, whose tensors take no negative steps."""
    operation = keras.src.ops.numpy.GetItem
    plain = operation.call

    def call(self: Any, x: Any, key: Any) -> Any:
        backwards = key[-1] if isinstance(key, list | tuple) and key else None
        if isinstance(backwards, slice) and backwards == slice(None, None, -1):
            return plain(self, x.flip(-1), (*key[:-1], slice(None)))
        return plain(self, x, key)

    operation.call = call
    try:
        yield
    finally:
        operation.call = plain
