"""Weights read from files without ever unpickling: one set of tensors by name, chosen where a file holds several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from frostline.base.errors import ModelError
from frostline.data.formats import HEAD, what_it_is
from frostline.models.archives import check_header
from frostline.models.torch_files import NUMPY_ARRAY, SAVE_STATE_DICT, check_plain, read_torch

# The names under which tools keep weights, in the order in which one is taken where there are several.
PREFERRED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "teacher",
    "student",
    "online",
    "encoder_q",
    "encoder",
    "backbone",
)
# Words for a slowly moving copy of a network, which comes after the network itself; `k` is the key encoder of MoCo.
AVERAGED = frozenset({"ema", "averaged", "average", "avg", "swa", "shadow", "momentum", "target", "k"})
# How words in the names of what isn't weights of a network begin; it may hold tensors all the same.
OTHER_PARTS = (
    "amp",
    "args",
    "callback",
    "cfg",
    "config",
    "criteri",
    "hyper",
    "loop",
    "loss",
    "metric",
    "optim",
    "rng",
    "scaler",
    "sched",
)
EXTRA_STATE = "_extra_state"  # what a module of torch saves beside its tensors
SHOWN = 4  # names, in a message


class Weights(dict[str, Tensor]):
    """Tensors by name. `file` is the file as it was given (FILE or FILE:KEY), `notes` say in sentences what was chosen
    or left out."""

    def __init__(self, tensors: Mapping[str, Tensor], *, file: str = "", notes: Iterable[str] = ()) -> None:
        super().__init__(tensors)
        self.file = file
        self.notes = tuple(notes)

    @property
    def origin(self) -> str:
        """What the weights are called in a sentence."""
        return self.file or "The file of weights"

    def changed(self, tensors: Mapping[str, Tensor], *notes: str) -> Weights:
        """Return other tensors of the same file, with further notes."""
        return Weights(tensors, file=self.file, notes=(*self.notes, *notes))

    def choice(self, chosen: str, others: Sequence[str]) -> Weights:
        """Return the same with a note: which of several sets of weights this is, and how another is asked for."""
        option = f"--weights {self.file or 'FILE'}{'.' if _file_and_key(self.file)[1] else ':'}{others[0]}"
        takes = "takes the other" if len(others) == 1 else "takes another"
        return self.changed(
            self,
            f"{self.origin} holds {len(others) + 1} sets of weights, {in_words((chosen, *others))}; {chosen} was "
            f"loaded. {option} {takes}.",
        )


def as_weights(tensors: Mapping[str, Tensor]) -> Weights:
    """Return the tensors as weights; weights as they are."""
    if isinstance(tensors, Weights):
        return tensors
    return Weights(tensors)


def read_weights(path: Path | str) -> Weights:
    """Read tensors by name, from safetensors or from a state_dict that torch reads with `weights_only=True`.

    A state_dict that lies one or two levels deep in a checkpoint is taken out of it. Where there are several,
    `FILE:KEY` says which; else the plain one comes before its moving average and the teacher before the student, and
    a note says so. KEY may also be the first part of the names of a flat file. A common `module.` is stripped.

    Raises ModelError for anything else, such as a pickled model (nothing is ever unpickled), for a KEY that isn't
    there, and for several sets of weights whose names tell nothing.
    """
    file, key = _file_and_key(str(path))
    _check_file(file)
    if file.suffix.lower() == ".safetensors":
        found: Any = _read_safetensors(file)
    else:
        with file.open("rb") as handle:
            start = handle.read(64)
        if not start.startswith((b"PK", b"\x80")):
            neither = ModelError(f"{file} is neither a safetensors file nor a saved state_dict.", SAVE_STATE_DICT)
            raise other_file(file) or neither
        found = read_torch(file)
    if key:
        weights = Weights(_under_key(found, file, key), file=str(path))
    else:
        weights = _chosen(found, file)
    return weights.changed(_stripped(weights))


def _file_and_key(text: str) -> tuple[Path, str]:
    """Split FILE:KEY where the whole is no file but the part before the last colon is."""
    before, _, key = text.rpartition(":")
    if key and before and not Path(text).is_file() and Path(before).is_file():
        return Path(before), key
    return Path(text), ""


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise ModelError(f"{file} is a folder, and the weights have to be a file.", _files_in(file))
    if not file.is_file():
        raise ModelError(f"There is no weights file {file}.", "Give --weights FILE, or --weights random.")


def other_file(file: Path) -> ModelError | None:
    """Return what lies in the place of a file that can't be read, as an error to raise: nothing, a pointer of Git LFS,
    a web page ...; None where its first bytes don't tell."""
    try:
        with file.open("rb") as handle:
            head = handle.read(HEAD)
    except OSError:
        return None
    if not head:
        return ModelError(f"{file} is empty.", "Save it again, or fetch it again.")
    words = what_it_is(head) or ""
    if not words or head[8:9] == b"{":  # safetensors: a length of eight bytes, which may look like anything
        return None
    what = words.partition(",")[0]
    command = re.search(r"\((.+) fetches it\)", words)
    if command:
        return ModelError(f"{file} is {what}, not the file itself.", f"Run {command[1]} in its folder to fetch it.")
    return ModelError(f"{file} is {what}, not what its name says.", "Save it again, or fetch it again.")


def _files_in(folder: Path) -> str:
    endings = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".h5")
    found = next((file for file in sorted(folder.iterdir()) if file.suffix in endings), folder / "FILE")
    return f"Give the file in it: --weights {found}."


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_header(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        damaged = ModelError(f"{file} can't be read as safetensors ({error}).", "Is the file complete?")
        raise other_file(file) or damaged from error


def _chosen(value: Any, file: Path) -> Weights:
    """Return the set of weights that the rule takes, with a note where there are others."""
    sets = weight_sets(value)
    if not sets:
        return Weights(_tensors_by_name(value, file), file=str(file))
    first, *others = sorted(sets, key=preference)
    if others and not _is_known_set(first):
        raise ModelError(
            f"{file} holds {len(sets)} sets of weights, {in_words(sets)}, and their names don't say which is meant.",
            f"Say which one: --weights {file}:{first}.",
        )
    weights = Weights(_tensors_by_name(sets[first], file), file=str(file))
    return weights.choice(first, others) if others else weights


def weight_sets(value: Any) -> dict[str, Mapping[Any, Any]]:
    """Find the sets of tensors one or two levels deep, by name: the outer key, and the inner one where that is needed
    to tell them apart. Empty for a flat state_dict."""
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, Mapping[Any, Any]] = {}
    for name, entry in _parts(value):
        if _holds_tensors(entry):
            found[name] = entry
            continue
        inner = {key: part for key, part in _parts(entry) if _holds_tensors(part)}
        if len(inner) == 1:
            found[name] = next(iter(inner.values()))
        else:
            found |= {f"{name}.{key}": part for key, part in inner.items()}
    if _holds_tensors(value) and not any(_is_known_set(name) for name in found):
        return {}
    return found


def _parts(value: Mapping[Any, Any]) -> list[tuple[str, Mapping[Any, Any]]]:
    return [
        (key, entry)
        for key, entry in value.items()
        if isinstance(key, str) and isinstance(entry, Mapping) and not _is_other_part(key)
    ]


def _is_other_part(name: str) -> bool:
    return any(word.startswith(OTHER_PARTS) for word in _words(name))


def _holds_tensors(value: Mapping[Any, Any]) -> bool:
    """Return True where a mapping has tensors that are more than single numbers."""
    return any(isinstance(key, str) and isinstance(entry, Tensor) and entry.ndim for key, entry in value.items())


def preference(name: str) -> tuple[bool, int]:
    """Return what sorts names of sets of weights: plain ones first, then by :data:`PREFERRED`."""
    parts = name.lower().split(".")
    places = [PREFERRED.index(word) for word in (*parts, *_words(name)) if word in PREFERRED]
    return bool(_words(name) & AVERAGED), min(places, default=len(PREFERRED))


def _is_known_set(name: str) -> bool:
    averaged, place = preference(name)
    return averaged or place < len(PREFERRED)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def _under_key(value: Any, file: Path, key: str) -> dict[str, Tensor]:
    """Return the set of weights of that name, or the tensors whose names begin with it, without that beginning."""
    sets = weight_sets(value)
    named = sets.get(key, _at_path(value, key.split(".")))
    if isinstance(named, Mapping) and _holds_tensors(named):
        return _tensors_by_name(named, file)
    flat = [(name, sets[name]) for name in sorted(sets, key=preference)]
    if not flat and isinstance(value, Mapping):
        flat = [("", value)]
    for name, tensors in flat:
        part = _below(tensors, key.removeprefix(f"{name}."))
        if part:
            return _tensors_by_name(part, file)
    held: Iterable[str] = sets
    if not sets:
        held = dict.fromkeys(str(name).partition(".")[0] for _, names in flat for name in names)
    raise ModelError(f"{file} holds no weights under {key!r}.", f"It holds {in_words(held) or 'none'}.")


def _below(tensors: Mapping[Any, Any], key: str) -> dict[str, Any]:
    """Return what a flat state_dict holds below a module, which may lie in a wrapper (`module.KEY`)."""
    names = [name for name in tensors if isinstance(name, str)]
    first = next((name for name in names if f".{key}." in f".{name}"), None)
    if first is None:
        return {}
    prefix = first[: f".{first}".index(f".{key}.")] + f"{key}."
    return {name.removeprefix(prefix): tensors[name] for name in names if name.startswith(prefix)}


def _at_path(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _tensors_by_name(value: Any, file: Path) -> dict[str, Tensor]:
    """Check that what a file holds is a state_dict; raises ModelError where it isn't one."""
    if not isinstance(value, Mapping) or not value:
        raise ModelError(f"{file} holds a {type(value).__name__}, not tensors by name.", SAVE_STATE_DICT)
    tensors: dict[str, Tensor] = {}
    for name, entry in value.items():
        if isinstance(name, str) and name.endswith(EXTRA_STATE) and not isinstance(entry, Tensor):
            continue
        if not (isinstance(name, str) and isinstance(entry, Tensor)):
            kind = type(entry).__name__
            hint = SAVE_STATE_DICT
            if kind == NUMPY_ARRAY:
                kind = "numpy array"
                hint = (
                    "Save tensors: torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, FILE)."
                )
            if not isinstance(name, str):  # its text may be endless: tuples in tuples, each twice
                raise ModelError(f"{file} holds a {kind} under a {type(name).__name__}, not under a name.", hint)
            raise ModelError(f"{file} holds {name!r}, which is a {kind}, not a tensor.", hint)
        check_plain(name, entry, file)
        tensors[name] = entry.detach()
    return tensors


def _stripped(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Remove the `module.` that data-parallel wrappers put before every name."""
    if state and all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def in_words(names: Iterable[str]) -> str:
    """Return `a, b and c`, or the first names and how many more there are."""
    shown = list(names)
    if len(shown) > SHOWN + 1:
        shown = [*shown[:SHOWN], f"{len(shown) - SHOWN} more"]
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
