"""What the parts of the `hf:` source share: the library, kept quiet; the folder; the pooling that it states."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from frostline.base.errors import ModelError
from frostline.base.files import parse_json, read_regular
from frostline.models.sources.hf_encoder import TokenPooling
from frostline.models.weight_files import in_words, other_file

ADAPTER = "adapter_config.json"

MODES: dict[str, TokenPooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "sqrt-mean",
    "pooling_mode_lasttoken": "last",
}
NAMED: dict[str, TokenPooling] = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "sqrt-mean",
    "lasttoken": "last",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """How token features become features of a text."""

    pooling: TokenPooling = "mean"
    normalise: bool = False


def library() -> Any:
    """The package transformers. Raises ModelError with the command that installs it."""
    for name, value in (("HF_HUB_DISABLE_TELEMETRY", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ.setdefault(name, value)
    try:
        import transformers
    except ImportError as error:
        raise ModelError("hf: needs the package transformers.", "pip install 'frostline[text]'") from error
    return transformers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing but errors from the library, no progress bar; as it was afterwards."""
    from transformers.utils import logging as shared

    logging: Any = shared
    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def find_folder(name: str) -> Path:
    """The folder of that path, or of that name in the hub's local cache. Nothing is downloaded."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    with contextlib.suppress(Exception):  # a name that the hub's client refuses, or that isn't in the cache
        from huggingface_hub import snapshot_download

        copy = snapshot_download(name, local_files_only=True)  # nosec B615  # reads the cache alone
        return Path(copy)
    raise ModelError(f"hf:{name} is no folder, and the hub's cache on this machine has no copy of it.", LOCAL)


LOCAL = "Nothing is downloaded: give a local folder with config.json and model.safetensors, as in --model hf:FOLDER."


def network_folder(folder: Path) -> Path:
    """Where the network itself lies: in the folder, or below it where modules.json of sentence-transformers says so.

    Raises ModelError where there is no config.json, with what the folder holds instead.
    """
    inner = folder
    modules = read_modules(folder)
    if modules:
        inner = _module_folder(folder, modules[0])
    if (inner / "config.json").is_file():
        return inner
    if inner != folder:
        raise ModelError(
            f"modules.json of {folder} says that its network lies in {modules[0].get('path')}, which holds no "
            "config.json.",
            "Is the folder complete?",
        )
    if (folder / ADAPTER).is_file():
        raise adapter_alone(folder)
    below = _networks_below(folder)
    if not below:
        raise ModelError(f"{folder} holds no config.json, so it is no folder of a network.", LOCAL)
    names = in_words(str(path.relative_to(folder)) for path in below)
    raise ModelError(
        f"{folder} holds no config.json, so it is no folder of a network; {names} below it "
        f"{'is one' if len(below) == 1 else 'are'}.",
        f"Give {'it' if len(below) == 1 else 'one of them'}: --model hf:{below[-1]}.",
    )


def _networks_below(folder: Path) -> list[Path]:
    """Folders of networks or adapters one or two levels down, the highest number last (checkpoint-N of a trainer)."""
    found = {
        file.parent
        for name in ("config.json", ADAPTER)
        for pattern in (f"*/{name}", f"*/*/{name}")
        for file in folder.glob(pattern)
        if any(file.parent.glob("*.safetensors")) or any(file.parent.glob("*.bin"))
    }
    return sorted(found, key=lambda path: (_number(path.name), str(path)))


def _number(name: str) -> int:
    digits = re.search(r"-(\d+)$", name)
    return int(digits[1]) if digits else -1


def adapter_alone(folder: Path) -> ModelError:
    """What to say of a folder that holds an adapter without the network that it belongs to."""
    record: Any = None
    with contextlib.suppress(ModelError):
        record = read_json(folder / ADAPTER)
    base = record.get("base_model_name_or_path") if isinstance(record, Mapping) else None
    of = f" for {base}" if isinstance(base, str) and base else ""
    return ModelError(
        f"{folder} holds an adapter{of} ({ADAPTER}), not a whole network.",
        "Merge it first: PeftModel.from_pretrained(NETWORK, ADAPTER).merge_and_unload().save_pretrained(FOLDER), and "
        "save the tokenizer there too.",
    )


def other_in(folder: Path, *patterns: str) -> ModelError | None:
    """What lies in the place of the first file there that isn't what its name says (models.weight_files.other_file)."""
    files = (file for pattern in patterns for file in sorted(folder.glob(pattern)))
    return next((error for file in files if (error := other_file(file))), None)


def read_json(file: Path) -> Any:
    """A JSON file of the folder; raises ModelError where it is damaged."""
    try:
        return parse_json(read_regular(file))
    except (OSError, ValueError) as error:
        damaged = ModelError(f"{file} can't be read ({first_line(error)}).", "Is the folder complete?")
        raise other_file(file) or damaged from error


def read_object(file: Path) -> Mapping[str, Any]:
    """A JSON file of the folder that holds an object; raises ModelError for anything else."""
    found = read_json(file)
    if not isinstance(found, Mapping):
        raise ModelError(f"{file} holds no JSON object.", "Is the folder complete?")
    return found


def read_modules(folder: Path) -> list[Mapping[str, Any]]:
    """The modules that sentence-transformers lists, the network first; none where the folder isn't of that library."""
    file = folder / "modules.json"
    if not file.is_file():
        return []
    modules = read_json(file)
    if not isinstance(modules, list) or not modules or not all(isinstance(m, Mapping) for m in modules):
        raise ModelError(f"{file} isn't a list of modules, as sentence-transformers writes it.", "Take it out.")
    return modules


def read_pooling(folder: Path, config: Any, arguments: Mapping[str, Any]) -> Pooled:
    """What sentence-transformers' modules.json says; else the mean, or the last token of a decoder. The user's
    --model-args win. Raises ModelError for modules that can't be expressed."""
    t = library()
    decoder = type(config) in t.MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in t.MODEL_FOR_MASKED_LM_MAPPING
    found = Pooled(pooling="last" if decoder else "mean")
    for module in read_modules(folder)[1:]:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            found = Pooled(pooling=_mode(folder, module), normalise=found.normalise)
        elif kind == "Normalize":
            found = Pooled(pooling=found.pooling, normalise=True)
        elif kind != "Dropout":
            raise ModelError(f"{folder} has a module {kind} after its transformer, which isn't known.", ARGUMENTS)
    pooling = arguments.get("pooling", found.pooling)
    normalise = arguments.get("normalise", found.normalise)
    if pooling not in MODES.values() or not isinstance(normalise, bool):
        raise ModelError(f"--model-args: pooling {pooling!r}, normalise {normalise!r} can't be used.", ARGUMENTS)
    return Pooled(pooling=cast(TokenPooling, pooling), normalise=normalise)


ARGUMENTS = (
    """As in --model-args '{"pooling": "mean", "normalise": true}'; poolings: mean, sqrt-mean, cls, max, last."""
)


def _module_folder(folder: Path, module: Mapping[str, Any]) -> Path:
    path = Path(os.path.normpath(folder / str(module.get("path") or "")))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ModelError(f"modules.json of {folder} leads out of it ({module.get('path')}).", "Take it out.")
    return folder / path.relative_to(os.path.normpath(folder))


def _mode(folder: Path, module: Mapping[str, Any]) -> TokenPooling:
    record = read_object(_module_folder(folder, module) / "config.json")
    chosen = [mode for key, mode in MODES.items() if record.get(key)]
    named = record.get("pooling_mode")
    if isinstance(named, str):
        chosen = []
        if named in NAMED:
            chosen = [NAMED[named]]
    if len(chosen) != 1:
        found = " and ".join(chosen) or str(named or "none of the known ones")
        raise ModelError(f"The pooling of {folder} is {found}, but one of the known ones was expected.", ARGUMENTS)
    return chosen[0]
