"""`hf:NAME-or-folder`: networks of the library transformers that classify images or texts, and text encoders.

The folder's configuration says which; its image processor or tokenizer is the preprocessing. Weights come from
safetensors files alone, code from the library alone (never from the folder), and nothing is downloaded.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError, nearest
from frostline.base.hashing import hash_values
from frostline.cutting.guard import forked_seed
from frostline.data.contract import FILE, Contract, read_contract
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.hf_encoder import TextEncoder
from frostline.models.sources.hf_folder import Pooled, find_folder, first_line, library, quiet, read_json, read_pooling
from frostline.models.sources.hf_image import image_contract
from frostline.models.sources.hf_text import TOKENIZER, counts_from_pad, text_contract

Kind = Literal["image-classifier", "text-classifier", "text-encoder"]
BUILT = "hf.json"  # in a saved model's folder: what was found out about the original one
OWN = ("pooling", "normalise")  # --model-args that aren't the configuration's
READS: dict[Kind, str] = {
    "image-classifier": "pixel_values",
    "text-classifier": "input_ids",
    "text-encoder": "input_ids",
}
# what tells that a folder holds a tokenizer, older kinds among them
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
NO_HEAD = "the network is an encoder without classes of its own"


@dataclass(frozen=True, kw_only=True)
class HfPlan:
    """What is built: the library's configuration, and what frostline puts around it."""

    spec: str
    folder: Path
    config: Any
    kind: Kind
    pooled: Pooled
    reverse: bool = False  # the images' channels are handed on in the order BGR

    def files(self) -> dict[str, bytes]:
        """What building it again needs, under names of its own; no path or time in it."""
        config = json.loads(self.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)
        note = {"kind": self.kind, **asdict(self.pooled), "reverse": self.reverse}
        return {
            name: json.dumps(found, indent=1, sort_keys=True).encode() + b"\n"
            for name, found in (("config.json", config), (BUILT, note))
        }

    def automatic(self) -> Any:
        """The library's class that builds it."""
        t = library()
        if _without_decoder(self.config):
            encoder = t.AutoModelForTextEncoding
        else:
            encoder = t.AutoModel
        return {
            "image-classifier": t.AutoModelForImageClassification,
            "text-encoder": encoder,
            "text-classifier": t.AutoModelForSequenceClassification,
        }[self.kind]

    def arguments(self) -> dict[str, Any]:
        """Encoders are built without the extra layer that only the library's own pooling reads."""
        if self.kind != "text-encoder" or _without_decoder(self.config):
            return {}
        kind = library().MODEL_MAPPING[type(self.config)]
        if isinstance(kind, list | tuple):
            kind = kind[0]
        known = inspect.signature(kind.__init__).parameters
        if "add_pooling_layer" in known:
            return {"add_pooling_layer": False}
        return {}

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The network that frostline sees: it ends in a linear layer."""
        reads = inspect.signature(model.forward).parameters
        wanted = READS[self.kind]
        if wanted not in reads:
            found = next(iter(reads), "nothing")
            raise ModelError(f"{self.spec} is a {type(model).__name__}, which reads {found}, not {wanted}.", KINDS_HINT)
        if self.kind != "text-encoder":
            model.register_forward_hook(only_scores)
            if self.reverse:
                return Reversed(model)
            return model
        width = getattr(self.config, "hidden_size", None) or getattr(self.config, "d_model", None)
        if not isinstance(width, int):
            raise ModelError(f"The configuration of {self.spec} doesn't say how wide its features are.", KINDS_HINT)
        return TextEncoder(model, width, self.pooled.pooling, normalise=self.pooled.normalise)


def only_scores(_module: nn.Module, _inputs: Any, found: Any) -> Any:
    """A hook: of what a classifier returns the scores alone, since what else it hands out is held alive across cuts."""
    if isinstance(found, Mapping) and "logits" in found:
        return {"logits": found["logits"]}
    return found


class Reversed(nn.Module):
    """A network that reads BGR, given RGB."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Any:
        """What the network returns of images (N, 3, H, W)."""
        return self.network(pixel_values.flip(1))


KINDS_HINT = "frostline reads networks that classify images or texts, and text encoders."


def load_hf(name: str, options: NetworkOptions) -> Network:
    """The network in a folder (or in the hub's local cache); raises ModelError as `load_network` says."""
    library()
    spec = f"hf:{name}"
    folder = find_folder(name)
    saved = (folder / BUILT).is_file()
    if saved:
        plan = _saved_plan(spec, folder)
    else:
        plan = _plan(spec, folder, options)
    plan, contract = _with_contract(plan, options, saved=saved)
    weights, weights_name, missing = _hf_weights(plan, options, saved=saved)
    no_head = plan.kind == "text-encoder" or bool(missing)
    network = Network(
        spec=spec,
        source="hf",
        build=_build(plan),
        weights=weights,
        weights_name=weights_name,
        preprocess=contract,
        self_loading=False,
        classes=None if no_head or weights is None else _hf_classes(plan.config),
        code=None,
        files=plan.files(),
        headless=NO_HEAD if no_head else None,
    )
    identity = {
        "hf": hash_values(network.files["config.json"].decode(), network.files[BUILT].decode()),
        "transformers": library().__version__,
    }
    return tried(network, identity=identity)


def _plan(spec: str, folder: Path, options: NetworkOptions) -> HfPlan:
    config = _read_config(spec, folder, {k: v for k, v in options.model_args.items() if k not in OWN}, options.size)
    kind = _kind(spec, folder, config)
    if kind == "text-encoder":
        pooled = read_pooling(folder, config, options.model_args)
    else:
        pooled = Pooled()
    if kind != "text-encoder" and any(k in options.model_args for k in OWN):
        raise ModelError(f"--model-args: {spec} has a head of its own, so pooling doesn't apply.", "Leave it out.")
    return HfPlan(spec=spec, folder=folder, config=config, kind=kind, pooled=pooled)


def _saved_plan(spec: str, folder: Path) -> HfPlan:
    try:
        note = json.loads((folder / BUILT).read_text(encoding="utf-8"))
        pooled = Pooled(pooling=note["pooling"], normalise=bool(note["normalise"]))
        kind = note["kind"]
        reverse = bool(note.get("reverse"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / BUILT} can't be read ({error}).", "Run frostline fit again.") from error
    return HfPlan(
        spec=spec, folder=folder, config=_read_config(spec, folder, {}), kind=kind, pooled=pooled, reverse=reverse
    )


def _read_config(spec: str, folder: Path, arguments: Mapping[str, Any], size: int | None = None) -> Any:
    """The configuration with the user's arguments; those that it doesn't have are refused."""
    code = read_json(folder / "config.json").get("auto_map") or {}
    if any(name.startswith(("AutoConfig", "AutoModel")) for name in code):
        raise ModelError(
            f"{spec} brings code of its own (auto_map in its config.json), which is never run.",
            "Take the entry out only if the library's own classes compute the same.",
        )
    with quiet():
        try:
            config, unknown = library().AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, return_unused_kwargs=True, **arguments
            )
        except Exception as error:  # the library raises dozens of kinds
            raise ModelError(f"The configuration of {spec} can't be used ({first_line(error)}).", KINDS_HINT) from error
    unknown = [k for k in unknown if k in arguments]
    if unknown:
        known = [*config.to_dict(), *OWN]
        raise ModelError(f"--model-args: {spec} has no argument {unknown[0]!r}.", nearest(unknown[0], known))
    config.dtype = torch.float32
    if "image_size" in config.to_dict() and size:
        config.image_size = size
    for flag in ("use_cache", "use_mems_eval", "output_hidden_states", "output_attentions"):
        if getattr(config, flag, False):
            setattr(config, flag, False)
    return config


def _kind(spec: str, folder: Path, config: Any) -> Kind:
    """What its architectures say; where they name another task, what the folder holds decides."""
    t = library()
    named = (getattr(config, "architectures", None) or [""])[0]
    if named.endswith("ForImageClassification"):
        return "image-classifier"
    if named.endswith("ForSequenceClassification"):
        return "text-classifier"
    if _without_decoder(config):
        return "text-encoder"
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{spec} is an encoder-decoder ({named or config.model_type}) without a classifier.",
            "Take one that was saved as ...ForSequenceClassification.",
        )
    tokens = any((folder / file).is_file() for file in TOKENIZERS)
    if type(config) in t.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING and not tokens:
        return "image-classifier"
    if type(config) in t.MODEL_MAPPING and tokens:
        return "text-encoder"
    if type(config) in t.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(f"{spec} is a {named or config.model_type}, but the folder holds no tokenizer.", TOKENIZER)
    raise ModelError(
        f"{spec} is a {named or config.model_type}, which classifies neither images nor texts.", KINDS_HINT
    )


def _without_decoder(config: Any) -> bool:
    """Whether it is the encoder of an encoder-decoder, as T5EncoderModel."""
    named = (getattr(config, "architectures", None) or [""])[0]
    return named.endswith("EncoderModel") and type(config) in library().MODEL_FOR_TEXT_ENCODING_MAPPING


def _with_contract(plan: HfPlan, options: NetworkOptions, *, saved: bool) -> tuple[HfPlan, Contract]:
    """The contract, and the plan with what else it asks for."""
    if saved:
        try:
            return plan, read_contract(plan.folder)
        except (OSError, ValueError) as error:
            raise ModelError(f"{plan.folder / FILE} can't be read ({error}).", "Run frostline fit again.") from error
    if plan.kind == "image-classifier":
        images, reverse = image_contract(plan.spec, plan.folder, plan.config, options)
        return replace(plan, reverse=reverse), images
    contract = text_contract(plan.spec, plan.folder, plan.config, options)
    if not counts_from_pad(plan.config):  # decoders look for the last token that isn't this one
        plan.config.pad_token_id = contract.pad
    return plan, contract


def _build(plan: HfPlan) -> Callable[[int], nn.Module]:
    automatic = plan.automatic()
    arguments = plan.arguments()

    def make() -> nn.Module:
        with quiet():
            try:
                return plan.wrapped(automatic.from_config(copy.deepcopy(plan.config), **arguments))
            except ModelError:
                raise
            except Exception as error:
                raise ModelError(
                    f"{plan.spec} can't be built ({type(error).__name__}: {first_line(error)}).", KINDS_HINT
                ) from error

    return seeded(make)


def _hf_weights(
    plan: HfPlan, options: NetworkOptions, *, saved: bool
) -> tuple[Mapping[str, Tensor] | None, str, tuple[str, ...]]:
    """Weights under the network's own names, what they are called, and which of its tensors they lack."""
    if options.weights == "random":
        return None, "random", ()
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name, ()
    if saved:
        raise ModelError(f"{plan.spec} is the model of a frostline run.", "Give --model run:RUN, the folder above it.")
    if not list(plan.folder.glob("*.safetensors")):
        held = next((f.name for f in sorted(plan.folder.glob("*.bin"))), None)
        found = "holds no weights"
        if held:
            found = f"holds its weights as {held}, which is pickled"
        raise ModelError(
            f"{plan.spec} {found}, and only safetensors are read.",
            "Save it again: model.save_pretrained(FOLDER), or give --weights random.",
        )
    state, missing = _pretrained_state(plan)
    return state, f"hf:{plan.folder.name}/model.safetensors", missing


def _pretrained_state(plan: HfPlan) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The library's own loading, which knows how tensors were called in older files."""
    with quiet(), forked_seed(0):
        try:
            model, info = plan.automatic().from_pretrained(
                plan.folder,
                config=copy.deepcopy(plan.config),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **plan.arguments(),
            )
        except Exception as error:
            raise ModelError(
                f"The weights of {plan.spec} can't be read ({first_line(error)}).",
                "Is the folder complete? --weights random goes without.",
            ) from error
    other = sorted(m[0] for m in info["mismatched_keys"])
    if other:
        raise ModelError(
            f"The weights of {plan.spec} have other shapes than --size or --model-args ask for, such as {other[0]}.",
            "Leave these options out, or give --weights random.",
        )
    lacking = set(info["missing_keys"])
    if plan.kind == "text-encoder" and lacking:
        raise ModelError(
            f"The weights of {plan.spec} lack {sorted(lacking)[0]} and {len(lacking) - 1} more tensors.",
            "Is the folder complete? --weights random goes without.",
        )
    if plan.kind == "text-encoder":
        prefix = "encoder."
    else:
        prefix = ""
        if plan.reverse:
            prefix = "network."
    state = {prefix + k: v.detach() for k, v in model.state_dict().items() if k not in lacking}
    return state, tuple(sorted(lacking))


def _hf_classes(config: Any) -> tuple[str, ...] | None:
    """Names of its own classes; the library's stand-ins (LABEL_0) and scores of a regression tell nothing."""
    names = [str(name) for _, name in sorted((int(k), v) for k, v in (config.id2label or {}).items())]
    if len(names) < 2 or config.problem_type == "regression" or all(n == f"LABEL_{i}" for i, n in enumerate(names)):
        return None
    return tuple(names)
