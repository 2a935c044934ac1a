"""`hf:NAME-or-folder`: networks of the library transformers that classify images or texts, and text encoders.

The folder's configuration says which; its image processor or tokenizer is the preprocessing. Weights come from
safetensors files alone, code from the library alone (never from the folder), and nothing is downloaded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.base.errors import ModelError, described_by, nearest
from frostline.base.files import parse_json, read_regular
from frostline.base.hashing import hash_values
from frostline.data.contract import FILE, Contract, read_contract
from frostline.models.network import Network, NetworkOptions, seeded, tried
from frostline.models.sources.hf_folder import (
    Pooled,
    find_folder,
    first_line,
    library,
    network_folder,
    quiet,
    read_object,
    read_pooling,
)
from frostline.models.sources.hf_image import image_contract
from frostline.models.sources.hf_plan import BUILT, KINDS_HINT, OWN, HfPlan, Kind, without_decoder
from frostline.models.sources.hf_text import TOKENIZER, counts_from_pad, text_contract
from frostline.models.sources.hf_weights import hf_weights

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


def load_hf(name: str, options: NetworkOptions) -> Network:
    """The network in a folder (or in the hub's local cache); raises ModelError as `load_network` says."""
    library()
    with described_by(f"hf:{name}", ModelError, "Is the folder complete, and as it was published?"):
        return _load_folder(f"hf:{name}", find_folder(name), options)


def _load_folder(spec: str, folder: Path, options: NetworkOptions) -> Network:
    saved = (folder / BUILT).is_file()
    if saved:
        plan = _saved_plan(spec, folder)
    else:
        plan = _plan(spec, folder, options)
    plan, contract = _with_contract(plan, options, saved=saved)
    build = _build(plan)
    weights, weights_name, missing = hf_weights(plan, options, build, saved=saved)
    no_head = plan.kind == "text-encoder" or bool(missing)
    network = Network(
        spec=spec,
        source="hf",
        build=build,
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


def _plan(spec: str, given: Path, options: NetworkOptions) -> HfPlan:
    folder = network_folder(given)
    config = _read_config(spec, folder, {k: v for k, v in options.model_args.items() if k not in OWN}, options.size)
    kind = _kind(spec, folder, config)
    if kind == "text-encoder":
        pooled = read_pooling(given, config, options.model_args)
    else:
        pooled = Pooled()
    if kind != "text-encoder" and any(k in options.model_args for k in OWN):
        raise ModelError(f"--model-args: {spec} has a head of its own, so pooling doesn't apply.", "Leave it out.")
    return HfPlan(spec=spec, folder=folder, config=config, kind=kind, pooled=pooled)


def _saved_plan(spec: str, folder: Path) -> HfPlan:
    try:
        note = parse_json(read_regular(folder / BUILT))
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
    code = read_object(folder / "config.json").get("auto_map") or {}
    if isinstance(code, str) or any(str(name).startswith(("AutoConfig", "AutoModel")) for name in code):
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
    if without_decoder(config):
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


def _hf_classes(config: Any) -> tuple[str, ...] | None:
    """Names of its own classes; the library's stand-ins (LABEL_0) and scores of a regression tell nothing."""
    names = [str(name) for _, name in sorted((int(k), v) for k, v in (config.id2label or {}).items())]
    if len(names) < 2 or config.problem_type == "regression" or all(n == f"LABEL_{i}" for i, n in enumerate(names)):
        return None
    return tuple(names)
