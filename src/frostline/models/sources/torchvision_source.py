"""`torchvision:NAME`: preprocessing and class names from the metadata of its default weights, without downloading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from frostline.data.preprocess import Interpolation, Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.hub import called, downloaded, unknown


def load(name: str, options: NetworkOptions) -> Network:
    """The classification network of that name in torchvision; raises ModelError as `load_network` says."""
    import torchvision
    from torchvision import models

    spec = f"torchvision:{name}"
    known = models.list_models(module=models)
    if name not in known:
        raise unknown("torchvision", name, known)
    meta = models.get_model_weights(name).DEFAULT
    arguments = {"weights": None, **_quiet(name), **options.model_args}
    build = seeded(called(spec, lambda **kwargs: models.get_model(name, **kwargs), arguments))
    weights, weights_name = _weights(spec, meta, options)
    network = Network(
        spec=spec,
        source="torchvision",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=_preprocess(meta, options),
        classes=_classes(meta, weights_name, options),
        self_loading=False,
        code=None,
    )
    return tried(
        network, identity={"spec": spec, "args": dict(options.model_args), "torchvision": torchvision.__version__}
    )


def _classes(meta: Any, weights_name: str, options: NetworkOptions) -> tuple[str, ...] | None:
    """What its own head tells apart; random weights and heads of another size tell nothing."""
    if weights_name == "random" or "num_classes" in options.model_args:
        return None
    return tuple(meta.meta["categories"])


def _quiet(name: str) -> dict[str, Any]:
    """Their slow, warned-about initialisation of these two is answered explicitly."""
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


def _preprocess(meta: Any, options: NetworkOptions) -> Preprocess:
    transforms = meta.transforms()
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    size = options.size or crop
    plain = Preprocess.default(size, options.mean or transforms.mean, options.std or transforms.std, 3)
    return Preprocess(
        mode=plain.mode,
        size=plain.size,
        resize=max(size, round(size * resize / crop)),
        interpolation=cast(Interpolation, transforms.interpolation.value),
        mean=plain.mean,
        std=plain.std,
    )


def _weights(spec: str, meta: Any, options: NetworkOptions) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / meta.url.rpartition("/")[2]

    def fetch() -> Mapping[str, Tensor]:
        return cast(Mapping[str, Tensor], meta.get_state_dict(progress=False, check_hash=True))

    return downloaded(spec, meta.url, fetch, cached=file.is_file()), f"hub:{meta}"
