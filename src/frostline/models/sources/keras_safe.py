"""What may be read from Keras files: architectures made of Keras' own layers, and HDF5 files that hold their own data.

Keras' safe mode refuses Lambda layers; files have got around it by naming other code of Keras or of Python, so here
only layers, operations, initialisers and the like are let through, by a list.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError
from frostline.base.files import parse_json, read_regular
from frostline.models.archives import check_unpacked, open_archive
from frostline.models.weight_files import in_words

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
HDF5 = b"\x89HDF"  # how such files begin, whatever they are called
SAVED_MODEL = ("saved_model.pb", "keras_metadata.pb", "saved_model.pbtxt")
WEIGHTS = "model.weights.h5"


def read_architecture(path: Path) -> dict[str, Any]:
    """The architecture in a `.keras` file, or in a `.json` as `model.to_json()` gives it, checked to hold nothing but
    Keras' own layers. Raises ModelError that names what else there is, and for files of another form."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Give keras:FILE.keras, or keras:NAME.")
    try:
        if path.suffix == ".json":
            text = read_regular(path).decode()
        else:
            with open_archive(path) as archive:
                text = archive.read("config.json").decode()
        found = parse_json(text)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(
            f"{path} can't be read as a Keras model ({error}).", "Save it with model.save('FILE.keras')."
        ) from error
    if not isinstance(found, dict) or "class_name" not in found or "config" not in found:
        raise ModelError(f"{path} doesn't hold a Keras model.", "Save it with model.save('FILE.keras').")
    _check_objects(path, list(_objects(found)))
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


def _check_objects(path: Path, objects: Sequence[tuple[str, str | None]]) -> None:
    """Raise ModelError for layers that run code or read from elsewhere, and for those that aren't Keras' own."""
    for name, _ in objects:
        if name in REASONS:
            raise ModelError(f"{path} holds a {name} layer, which {REASONS[name]}.", HINT)
    foreign = list(dict.fromkeys(found for found in objects if not _is_allowed(*found)))
    if not foreign:
        return
    named = in_words(f"{name} from {module}" if module else name for name, module in foreign)
    what = "which isn't a layer of Keras itself: its code isn't in the file"
    if len(foreign) > 1:
        what = "which aren't layers of Keras itself: their code isn't in the file"
    raise ModelError(
        f"{path} needs {named}, {what}.",
        "Give the network as torch:FILE.py:factory, or save a model of Keras' own layers.",
    )


def _is_allowed(name: str, module: str | None) -> bool:
    if module is None:
        return name in PLAIN
    return bool(ALLOWED.fullmatch(module)) or (module == "keras" and name in ALLOWED_AT_ROOT)


def refuse_other_forms(path: Path, weights: str | None) -> None:
    """Raise ModelError, with the way out, for a model in Keras' older file, a file of weights alone, and a folder of
    TensorFlow given as the network."""
    named = weights is not None and len(path.parts) == 1  # a folder may be called as a network of Keras is
    if not named and any((path / name).is_file() for name in SAVED_MODEL):
        raise ModelError(
            f"{path} is a SavedModel folder of TensorFlow, which Keras 3 doesn't read.",
            f"Load it where it was made and save it in one file: tf.keras.models.load_model({str(path)!r})"
            f".save('{path.name}.keras'); then give --model keras:{path.name}.keras.",
        )
    ending = path.suffix.lower()
    if ending not in (".h5", ".hdf5", ".keras"):
        return
    if not path.is_file():
        found = f"{path} is a folder, not a file" if path.is_dir() else f"There is no file {path}"
        raise ModelError(f"{found}.", "Give keras:FILE.keras, or keras:NAME.")
    if ending == ".keras" and not _is_hdf5(path):
        return
    if _holds_model(path):
        raise ModelError(
            f"{path} is a whole model in Keras' older file, which may hold code and isn't read.",
            f"Load it in Keras and save it as .keras: keras.models.load_model({str(path)!r})"
            f".save('{path.stem}.keras'); then give --model keras:{path.stem}.keras.",
        )
    raise ModelError(
        f"{path} holds weights alone, without the network that they belong to.",
        f"Give the network as --model keras:NAME or keras:FILE.keras, and this file as --weights {path}.",
    )


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def _holds_model(path: Path) -> bool:
    """Return True where an HDF5 file has an architecture beside the weights."""
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return "model_config" in file.attrs
    except (ImportError, OSError, LookupError, RuntimeError):  # the last three: it is damaged
        return True


def check_hdf5(path: Path, called: Path | None = None) -> None:
    """Raises ModelError for a file that isn't HDF5, that points at data in other files, or whose arrays are far larger
    than it. `called` is what the user knows it by."""
    import h5py

    name = called or path
    if not h5py.is_hdf5(path):
        raise ModelError(f"{name} is not an HDF5 file.", "Give weights that model.save_weights('x.weights.h5') wrote.")
    try:
        with h5py.File(path, "r") as file:
            size = sum(_array_sizes(file, name, seen=set()))
    except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:  # h5py raises them for damaged files
        raise ModelError(f"{name} is damaged ({error}).", "Is the file complete?") from error
    check_unpacked(path, size, called=name)


def _array_sizes(group: Any, path: Path, *, seen: set[int]) -> Iterator[int]:
    """Bytes of each array below a group; `seen` are the groups so far, since a group may hold itself. Raises ModelError
    for arrays that lie in other files."""
    import h5py

    seen.add(h5py.h5o.get_info(group.id).addr)
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ModelError(f"{path} points at another file ({link.filename}).", "Give a file of its own data.")
        if isinstance(link, h5py.SoftLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            if h5py.h5o.get_info(item.id).addr not in seen:
                yield from _array_sizes(item, path, seen=seen)
        elif getattr(item, "external", None) or getattr(item, "is_virtual", False):
            raise ModelError(f"{path} keeps {name} in another file.", "Give a file of its own data.")
        elif isinstance(item, h5py.Dataset):
            yield int(item.nbytes)
