"""What may be read from Keras files: architectures made of Keras' own layers, and HDF5 files that hold their own data.

Keras' safe mode refuses Lambda layers; files have got around it by naming other code of Keras or of Python, so here
only layers, operations, initialisers and the like are let through, by a list.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError

ALLOWED = re.compile(
    r"keras\.(layers|initializers|regularizers|constraints|dtype_policies)"
    r"|keras\.src\.(layers|ops|models|initializers|regularizers|constraints|dtype_policies|applications)(\.\w+)*"
)
ALLOWED_AT_ROOT = {"Functional", "Sequential", "Model", "DTypePolicy", "FloatDTypePolicy"}
PLAIN = {"__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__tuple__"}
REASONS = {
    "Lambda": "runs Python code that is stored in the file",
    "__lambda__": "runs Python code that is stored in the file",
    "TorchModuleWrapper": "holds a pickled torch module, and unpickling runs any code",
    "TFSMLayer": "reads a TensorFlow model from elsewhere",
    "JaxLayer": "runs Python code from elsewhere",
    "FlaxLayer": "runs Python code from elsewhere",
    "StringLookup": "reads a list from elsewhere",
    "IntegerLookup": "reads a list from elsewhere",
    "TextVectorization": "reads a list from elsewhere",
}
HINT = "Build the model without it and save that, or give the network as torch:FILE.py:factory."
WEIGHTS = "model.weights.h5"


def read_architecture(path: Path) -> dict[str, Any]:
    """The architecture in a `.keras` file, or in a `.json` as `model.to_json()` gives it, checked to hold nothing but
    Keras' own layers. Raises ModelError that names what else there is, and for files of another form."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Give keras:FILE.keras, or keras:NAME.")
    try:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read("config.json").decode()
        found = json.loads(text)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} can't be read as a Keras model ({error}).", "Save it with model.save('FILE.keras')."
        ) from error
    if not isinstance(found, dict) or "class_name" not in found or "config" not in found:
        raise ModelError(f"{path} doesn't hold a Keras model.", "Save it with model.save('FILE.keras').")
    for name, module in _objects(found):
        _check(path, name, module)
    found.pop("compile_config", None)  # losses and optimisers, which may be the user's own code, aren't needed
    return found


def _objects(value: Any) -> Iterator[tuple[str, str | None]]:
    """Class and module of everything that reading the architecture would make."""
    if isinstance(value, dict):
        if "compile_config" in value:
            value = {k: v for k, v in value.items() if k != "compile_config"}
        if isinstance(value.get("class_name"), str):
            module = value.get("module")
            yield value["class_name"], module if isinstance(module, str) else None
        for part in value.values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)


def _check(path: Path, name: str, module: str | None) -> None:
    if name in REASONS:
        raise ModelError(f"{path} holds a {name} layer, which {REASONS[name]}.", HINT)
    if module is None:
        if name in PLAIN:
            return
    elif ALLOWED.fullmatch(module) or (module == "keras" and name in ALLOWED_AT_ROOT):
        return
    where = ""
    if module:
        where = f" from {module}"
    raise ModelError(
        f"{path} needs {name}{where}, which isn't a layer of Keras itself: its code isn't in the file.",
        "Give the network as torch:FILE.py:factory, or save a model of Keras' own layers.",
    )


def check_hdf5(path: Path) -> None:
    """Raises ModelError for a file that isn't HDF5, or that points at data in other files."""
    import h5py

    if not h5py.is_hdf5(path):
        raise ModelError(f"{path} is not an HDF5 file.", "Give weights that model.save_weights('x.weights.h5') wrote.")

    def visit(group: Any) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(f"{path} points at another file ({link.filename}).", "Give a file of its own data.")
            if isinstance(link, h5py.SoftLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item)
            elif getattr(item, "external", None) or getattr(item, "is_virtual", False):
                raise ModelError(f"{path} keeps {name} in another file.", "Give a file of its own data.")

    with h5py.File(path, "r") as file:
        visit(file)
