"""`timm:NAME`: preprocessing from the network's own pretrained_cfg."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from frostline.base.errors import ModelError
from frostline.data.preprocess import CROP_FRACTION, Interpolation, Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.hub import called, downloaded, unknown

HUB = "https://huggingface.co"
INTERPOLATIONS = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest", "lanczos": "lanczos"}


def load(name: str, options: NetworkOptions) -> Network:
    """The network of that name in timm; raises ModelError (see :func:`frostline.models.sources.load_network`)."""
    import timm

    spec = f"timm:{name}"
    if not timm.is_model(name.partition(".")[0]):
        raise unknown("timm", name, timm.list_models())
    factory = called(spec, timm.create_model, {"model_name": name, "pretrained": False, **options.model_args})
    build = seeded(factory)
    config: Mapping[str, Any] = build(0).pretrained_cfg  # type: ignore[assignment]
    weights, weights_name = _weights(spec, name, config, options)
    network = Network(
        spec=spec,
        source="timm",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=read_preprocess(config, options),
        self_loading=False,
        classes=None,
        code=None,
    )
    return tried(network, identity={"spec": spec, "args": dict(options.model_args), "timm": timm.__version__})


def read_preprocess(config: Mapping[str, Any], options: NetworkOptions) -> Preprocess:
    """What timm's record of a network says of its pictures."""
    channels, height, width = config["input_size"]
    size = (options.size, options.size) if options.size else (height, width)
    plain = Preprocess.default(size, options.mean or config["mean"], options.std or config["std"], channels)
    interpolation = INTERPOLATIONS.get(config.get("interpolation", ""), plain.interpolation)
    fraction = config.get("crop_pct") or CROP_FRACTION
    return Preprocess(
        mode=plain.mode,
        size=plain.size,
        resize=math.floor(max(plain.size) / fraction),
        interpolation=cast(Interpolation, interpolation),
        mean=plain.mean,
        std=plain.std,
    )


def _weights(
    spec: str, name: str, config: Mapping[str, Any], options: NetworkOptions
) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    hub_id = config.get("hf_hub_id")
    url = f"{HUB}/{hub_id}" if hub_id else config.get("url")
    if not url:
        raise ModelError(f"timm has no weights for {name}.", "Give --weights FILE, or --weights random.")
    cached = _cached(hub_id)
    return downloaded(
        spec, url, lambda: _fetch(name, cached, options), cached=cached is not None
    ), f"hub:{hub_id or url}"


def _cached(hub_id: str | None) -> str | None:
    """Path of the weights in the hub's local cache."""
    if not hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, "model.safetensors")
    return path if isinstance(path, str) else None


def _fetch(name: str, cached: str | None, options: NetworkOptions) -> Mapping[str, Tensor]:
    """timm's own loading, which also adapts weights to the arguments given."""
    import timm

    overlay = {"file": cached} if cached else None
    module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options.model_args)
    return cast(Mapping[str, Tensor], module.state_dict())
