"""Files that torch saved, read without running anything that they hold: tensors and plain containers."""

from __future__ import annotations

import functools
import mmap
import pickle  # nosec B403  # for the name of its error: nothing is unpickled
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frostline.base.errors import ModelError
from frostline.models.archives import FREE_BYTES, open_archive

SAVE_STATE_DICT = (
    "Where the network's code is available, save a state_dict: safetensors.torch.save_file(model.state_dict(), FILE)."
)
# What trainers keep beside the weights, by the module's name in the file. None of it is built: see `_Beside`.
BESIDE = {
    "argparse": ("Namespace",),
    "builtins": ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple"),  # what a defaultdict makes
    "datetime": ("date", "datetime", "timedelta"),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "pathlib._local": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),  # written by Python 3.13
}
NUMPY_ARRAY = "_reconstruct"  # the function under whose name files have it
GROWING = b"bytearray\n"  # torch lets a file make one of any size


class _Beside:
    """Stands for an object that lies beside the weights: its arguments and its state are thrown away unseen, so that
    nothing which a file chooses is ever run. `plain` is what is made instead where the file fills it afterwards."""

    plain: type | None = None

    def __new__(cls, *_arguments: Any) -> Any:
        return super().__new__(cls) if cls.plain is None else cls.plain()

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def read_torch(file: Path) -> Any:
    """Return what torch reads of a file with `weights_only=True`; what is known to lie beside weights is passed over.

    Raises ModelError for any other object, by its name, for scripted networks, archives that unpack to far more than
    their size, and damaged files.
    """
    names, growing = _look_into(file)
    if any(name.endswith("/constants.pkl") for name in names):
        raise ModelError(
            f"{file} holds a scripted network (TorchScript), not a state_dict, and reading it could run any code.",
            SAVE_STATE_DICT,
        )
    if growing:
        raise ModelError(f"{file} holds a bytearray beside its tensors, which may be of any size.", SAVE_STATE_DICT)
    try:
        return _load_plain(file)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+) ", str(error))
        what = ", not only tensors"
        if found:
            what = f" ({found[1] if '.' in found[1] else f'builtins.{found[1]}'})"
        message = f"{file} holds pickled Python objects{what}, and reading it could run any code."
        raise ModelError(message, SAVE_STATE_DICT) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError ... for broken files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{file} can't be read as a state_dict ({reason}).", "Is the file complete?") from error


def _load_plain(file: Path) -> Any:
    """Let torch read tensors and plain containers; where that isn't all, once more with stand-ins for what is known to
    lie beside them. Raises UnpicklingError for any other object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of kinds of tensors that are refused afterwards
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            with torch.serialization.safe_globals(list(_stand_ins())):
                return torch.load(file, map_location="cpu", weights_only=True)


@functools.cache
def _stand_ins() -> tuple[Any, ...]:
    """Make the stand-ins, which torch knows by the module and the name that they are given here."""
    kinds: list[tuple[str, str, type | None]] = [(module, name, None) for module in BESIDE for name in BESIDE[module]]
    kinds += [("collections", "defaultdict", dict), ("collections", "deque", list)]
    return tuple(type(name, (_Beside,), {"__module__": module, "plain": plain}) for module, name, plain in kinds)


def _look_into(file: Path) -> tuple[list[str], bool]:
    """Return the names in a zip archive (none in torch's older form), and whether what is pickled names GROWING: names
    of classes stand there in plain letters, since torch reads no later protocol of pickle than the third."""
    try:
        if not zipfile.is_zipfile(file):
            with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return [], content.find(GROWING) >= 0
        with open_archive(file) as archive:
            names = archive.namelist()
            return names, any(GROWING in archive.read(name) for name in names if name.endswith("/data.pkl"))
    except ModelError:
        raise
    except Exception as error:  # BadZipFile, UnicodeDecodeError, NotImplementedError ... of a damaged archive
        raise ModelError(f"{file} is a damaged zip archive ({error}).", "Is the file complete?") from error


def check_plain(name: str, tensor: Tensor, file: Path) -> None:
    """Raise ModelError for a tensor that isn't a plain array in memory: sparse ones, those without values (`meta`), and
    those that repeat few values over gigabytes."""
    kind = ""
    if tensor.layout != torch.strided:
        kind = "sparse"
    elif tensor.is_meta:
        kind = "without values"
    elif tensor.numel() * tensor.element_size() > max(FREE_BYTES, tensor.untyped_storage().nbytes()):
        kind = f"a few values repeated to {tensor.numel():,}"
    if kind:
        raise ModelError(f"{file} holds {name[:80]!r}, which is {kind}, not a plain tensor.", SAVE_STATE_DICT)
