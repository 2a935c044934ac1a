"""The saved model: weights, recipe, preprocessing, classes and (for the user's own network) the code that builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.device import Compute, default_threads, find_device, has_bf16, place
from frostline.base.errors import BundleError, described_by
from frostline.base.files import write_atomic, write_json
from frostline.base.records import FloatArray
from frostline.base.version import VERSION
from frostline.bundle import trust
from frostline.bundle.notes import FORMAT, check_spec, read_notes
from frostline.cutting.cuts import Cut
from frostline.cutting.heads import HeadSite
from frostline.cutting.split import Split
from frostline.data.contract import Contract, contract_files
from frostline.data.preprocess import Preprocess
from frostline.models.network import CodeFile, Network, NetworkOptions
from frostline.models.new_heads import CutNetwork, HeadForm, new_head
from frostline.models.sources import is_folder_spec, load_network
from frostline.models.sources.torch_file import load_saved_code
from frostline.models.sources.user_code import read_code
from frostline.recipe.recipe import Recipe

CODE = "code.py"
MOST_BESIDE = 1 << 26  # bytes of a file of weights beside their values: names and shapes
ARCHITECTURE = "architecture.json"  # of a network that was read from a file of architecture and weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstain:
    """Answers less probable than `threshold` are unsure; it was chosen so that the others are right at least
    `wanted_accuracy` often. None: no threshold reached that, and every answer is given."""

    wanted_accuracy: float
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained network with all that is needed to save it. `cut` is set where the network was cut short.

    `temperature` divides its logits (None: none was fitted, which is 1). `prior` (C,) multiplies the
    probabilities, where classes have other shares than in the training data. `entry` is what this training adds to the
    history of the weights. `headless` says why there are no classes, where the network learnt without labels; then
    `method` stands in the place of the strategy.
    """

    model: nn.Module
    recipe: Recipe
    form: HeadForm
    rate: float | None
    network: Network
    head: HeadSite
    cut: Cut | None
    compute: Compute
    classes: Sequence[str]
    tensors: frozenset[str]  # names that the network reads; the rest isn't saved
    temperature: float | None = None
    abstain: Abstain | None = None
    prior: FloatArray | None = None
    entry: Mapping[str, Any] | None = None
    headless: str | None = None
    method: str | None = None

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """What the weights were trained on, oldest first; nothing before this training where none of them were kept."""
        before = self.network.history
        if "pretrained" not in self.recipe.origins:
            before = ()
        if self.entry is None:
            return before
        return (*before, self.entry)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network that has been read back; `temperature` divides its logits, `prior` (C,) multiplies probabilities."""

    model: nn.Module
    preprocess: Contract
    classes: tuple[str, ...]
    compute: Compute
    recipe: Mapping[str, Any]
    temperature: float = 1.0
    abstain: Abstain | None = None
    prior: FloatArray | None = None


def save_model(folder: Path, saved: SavedModel) -> None:
    """Write `model/`. model.safetensors holds no time, path or command, so equal runs give equal bytes."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in named_tensors(saved.model).items() if k in saved.tensors}
    write_atomic(folder / "model.safetensors", save(state))
    write_json(folder / "preprocess.json", saved.network.preprocess.to_json())
    write_json(folder / "classes.json", list(saved.classes))
    for name, content in {**contract_files(saved.network.preprocess), **saved.network.files}.items():
        write_atomic(folder / name, content)
    if saved.network.code:
        _write_code(folder, saved.network.code)
    if saved.network.architecture:
        write_atomic(folder / ARCHITECTURE, saved.network.architecture.encode())
    write_json(folder / "recipe.json", {**_recipe_note(saved), "tensors": sorted(state)})


def _write_code(folder: Path, code: CodeFile) -> None:
    """Write the user's file, and what it imports from beside it under its own relative name."""
    taken = next((name for name, _ in code.siblings if name.casefold() == CODE), None)
    if taken is not None:
        raise BundleError(
            f"{Path(code.path).name} imports {taken} from beside it, but a saved model keeps the network's own file "
            "under that name.",
            f"Rename {taken}.",
        )
    write_atomic(folder / CODE, code.text.encode())
    for name, text in code.siblings:
        write_atomic(folder / name, text.encode())


def _recipe_note(saved: SavedModel) -> dict[str, Any]:
    network = saved.network
    return {
        "format": FORMAT,
        "frostline": VERSION,
        "torch": torch.__version__,
        "strategy": saved.method or saved.recipe.name,
        "recipe": asdict(saved.recipe),
        "rate": saved.rate,
        "source": {
            "spec": lasting_spec(network),
            "model_args": dict(network.model_args),
            "weights_sha256": network.weights_sha256,
            "code_sha256": network.code.sha256 if network.code else None,
            "siblings": [name for name, _ in network.code.siblings] if network.code else [],
            "self_loading": network.self_loading,
        },
        "head": asdict(saved.head),
        "head_form": saved.form.to_json(),
        "cut": cut_note(saved.cut) if saved.cut else None,
        "compute": {
            "precision": saved.compute.precision,
            "channels_last": saved.compute.channels_last,
            "chunk": saved.compute.chunk,
        },
        "temperature": saved.temperature,
        "abstain": asdict(saved.abstain) if saved.abstain else None,
        "history": [dict(entry) for entry in saved.history],
        "headless": saved.headless,
        "prior": None if saved.prior is None else [float(factor) for factor in saved.prior],
    }


def training_entry(what: str, network: Network, **facts: Any) -> dict[str, Any]:
    """What one training adds to a history: `what` (a method, or `supervised`), facts, and what it started from.

    It holds no path and no time, so that equal runs write equal entries, wherever their files lie.
    """
    weights = "random" if network.weights_name == "random" else "given"
    return {"what": what, **facts, "weights": weights, "weights_sha256": network.weights_sha256}


def lasting_spec(network: Network) -> str:
    """The spec as it holds in another place: what lies beside the note is found there."""
    if network.code:
        return f"torch:{CODE}:{network.spec.rpartition(':')[2]}"
    if network.architecture:
        return f"{network.source}:{ARCHITECTURE}"
    if network.files:
        return f"{network.source}:."
    return network.spec


_RUN_ONLY = ("prefix_parameters", "straddling", "index", "clock")  # facts of one recording; a prefix doesn't need them


def cut_note(cut: Cut) -> dict[str, Any]:
    """A cut as JSON, as far as a prefix needs it."""
    note = {k: v for k, v in asdict(cut).items() if k not in _RUN_ONLY}
    return {**note, "dtype": str(cut.dtype).removeprefix("torch.")}


def cut_from(note: Mapping[str, Any]) -> Cut:
    """The cut of :func:`cut_note`."""
    lists = {k: tuple(note[k]) for k in ("needs", "real", "shape")}
    dtype = getattr(torch, str(note["dtype"]))
    return Cut(**{**note, **lists, "dtype": dtype}, prefix_parameters=(), straddling=(), index=0, clock=0)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, each under its first name (tied ones once)."""
    persistent = set(model.state_dict().keys())
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    return tensors | {name: buffer for name, buffer in model.named_buffers() if name in persistent}


def load_model(folder: Path, *, trust_code: bool = False, device: str = "auto") -> LoadedModel:
    """Build the network afresh and fill it. Raises BundleError for a folder that isn't a saved model."""
    note, classes, preprocess = read_notes(folder)
    with described_by(folder / "recipe.json"):
        network = rebuild(folder, note, preprocess, trust_code=trust_code)
        model = network.build(0)
        head, form = HeadSite(**note["head"]), HeadForm.from_json(note["head_form"])
        new_head(model, head, outputs(note, classes), form)
        if note["cut"]:
            cut = cut_from(note["cut"])
            model = CutNetwork(Split(model, cut), len(classes), form)
        wanted = set(note["tensors"])
        compute = _compute(note["compute"], device)
    _fill(model, folder / "model.safetensors", wanted)
    return LoadedModel(
        model=place(model, compute).eval(),
        preprocess=preprocess,
        classes=tuple(classes),
        compute=compute,
        recipe=note,
        temperature=1.0 if note["temperature"] is None else float(note["temperature"]),
        abstain=Abstain(**note["abstain"]) if note["abstain"] else None,
        prior=None if note["prior"] is None else np.array(note["prior"], dtype=np.float64),
    )


def outputs(note: Mapping[str, Any], classes: Sequence[str]) -> int:
    """How many outputs the saved head has: one a class, or as many as before where it learnt without labels."""
    if note["headless"] is None:
        return len(classes)
    return int(note["head"]["out_features"])


def rebuild(folder: Path, note: Mapping[str, Any], preprocess: Contract, *, trust_code: bool) -> Network:
    """The network that a saved model was made from, without its weights. Raises BundleError for untrusted code."""
    source = note["source"]
    spec = str(source["spec"])
    check_spec(folder, spec, code=bool(source["code_sha256"]))
    if spec.endswith(f":{ARCHITECTURE}"):
        spec = f"{spec.partition(':')[0]}:{folder / ARCHITECTURE}"
    weights = None if source["self_loading"] else "random"
    if is_folder_spec(spec):
        spec = f"{spec.removesuffix('.')}{folder}"
    options = NetworkOptions(weights=weights, model_args=source["model_args"])
    if isinstance(preprocess, Preprocess):
        height, width = preprocess.size  # --size is for squares; others are the source's own
        options = replace(options, mean=preprocess.mean, std=preprocess.std, size=height if height == width else None)
    if source["code_sha256"]:
        code = _read_code(folder, source["siblings"])
        trust.require(folder / CODE, trust_code=trust_code, sha256=code.sha256)
        return load_saved_code(code, spec.rpartition(":")[2], options)
    return load_network(spec, options)


def _read_code(folder: Path, siblings: Sequence[str]) -> CodeFile:
    missing = next((name for name in (CODE, *siblings) if not (folder / name).is_file()), None)
    if missing is not None:
        raise BundleError(f"{folder} is not a saved model: {missing} is missing.", "Run frostline fit again.")
    return read_code(folder / CODE, siblings)


def _fill(model: nn.Module, path: Path, wanted: set[str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    own = named_tensors(model)
    most = MOST_BESIDE + sum(tensor.numel() * tensor.element_size() for tensor in own.values())
    try:
        if not path.is_file() or path.stat().st_size > most:
            raise SafetensorError("it is no plain file, or larger than its network")
        saved = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} can't be read: {error}.", "Run frostline fit again.") from error
    wrong = sorted({k for k in saved if k not in own or own[k].shape != saved[k].shape} | (wanted ^ set(saved)))
    if wrong:
        raise BundleError(
            f"{path} doesn't fit its network ({', '.join(wrong[:3])}).",
            "The network's package may have changed: see the versions in result.json.",
        )
    with torch.no_grad():
        for name, tensor in saved.items():
            own[name].copy_(tensor)


def _compute(note: Mapping[str, Any], device: str) -> Compute:
    found = find_device(device)
    # a CPU computes bf16 whatever its flags, only slower: the answers stay those that were tested
    precision = "fp32"
    if found == "cpu" or has_bf16(found):
        precision = note["precision"]
    return Compute(
        device=found,
        precision=precision,
        channels_last=note["channels_last"],
        threads=default_threads(),
        chunk=note["chunk"],
    )
