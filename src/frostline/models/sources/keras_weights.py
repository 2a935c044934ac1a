"""Weights for a Keras model: from HDF5 files as Keras writes them, and from `.keras` files."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError
from frostline.models.archives import open_archive
from frostline.models.sources.keras_library import building
from frostline.models.sources.keras_safe import WEIGHTS, check_hdf5

ENDINGS = (".h5", ".hdf5", ".keras")
SHOWN = 200  # characters of Keras' own words


def load_keras_weights(keras: Any, model: Any, path: Path, bare: Callable[[], Any] | None) -> set[int]:
    """Put a file's weights into a Keras model; gives the ids of the variables that the file had nothing for.

    `bare` builds the same network without its top, for files that were saved so (then the top is what is lacking).
    Raises ModelError for weights of another architecture, with Keras' reason.
    """
    with _hdf5(path) as file:
        try:
            model.load_weights(str(file))
            return set()
        except Exception as error:  # Keras raises ValueError, KeyError, OSError ... for what doesn't fit
            if bare is None:
                found = None
            else:
                found = _without_top(keras, model, file, bare)
            if found is None:
                raise ModelError(f"{path} doesn't fit the network ({_keras_error(error)}).", HINT) from error
            return found


HINT = "Give weights of this very network; other arguments, such as the number of classes, go into --model-args."


def _without_top(keras: Any, model: Any, file: Path, bare: Callable[[], Any]) -> set[int] | None:
    try:
        with building(keras):
            part = bare()
        part.load_weights(str(file))
    except Exception:  # then the first attempt's reason is the one to tell
        return None
    given, taking = ([x for x in m.layers if x.weights] for m in (part, model))
    if len(given) > len(taking):
        return None
    for source, target in zip(given, taking, strict=False):
        target.set_weights(source.get_weights())
    return {id(variable) for layer in taking[len(given) :] for variable in layer.weights}


def _keras_error(error: Exception) -> str:
    """Keras' first sentence, without its images of layers."""
    first = " ".join(str(error).split()) or type(error).__name__
    if len(first) <= SHOWN:
        return first
    return first[:SHOWN].rsplit(" ", 1)[0] + " ..."


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Path]:
    """The HDF5 file itself, or the one in a `.keras` file, checked to hold its own data."""
    if not path.is_file():
        raise ModelError(f"There is no weights file {path}.", "Give --weights FILE, or --weights random.")
    if path.suffix != ".keras":
        check_hdf5(path)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / WEIGHTS
        try:
            with open_archive(path) as archive, archive.open(WEIGHTS) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{path} holds no {WEIGHTS} ({error}).", "Save it with model.save('FILE.keras')."
            ) from error
        check_hdf5(file, called=path)
        yield file
