"""`torchvision:NAME`: preprocessing and class names from the metadata of its default weights, without downloading."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.data.preprocess import Interpolation, Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.hub import called, downloaded, refuse_arguments, unknown
from frostline.models.weight_names import with_own_names

OURS = {"weights": "--weights says that", "weights_backbone": "--weights says that", "progress": "nothing is drawn"}
OTHERS = {  # torchvision's other networks, and what they do instead
    "detection": "finds objects",
    "segmentation": "labels pixels",
    "quantization": "computes in whole numbers",
    "video": "classifies films",
    "optical_flow": "measures movement",
}
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")


def load_torchvision(name: str, options: NetworkOptions) -> Network:
    """The classification network of that name in torchvision; raises ModelError as `load_network` says."""
    import torchvision
    from torchvision import models

    spec = f"torchvision:{name}"
    refuse_arguments(spec, options.model_args, OURS)
    _check_known(name)
    meta = models.get_model_weights(name).DEFAULT
    arguments = {
        "weights": None,
        **_usual_arguments(name),
        **_size_argument(name, options.size),
        **options.model_args,
    }
    build = seeded(called(spec, lambda **kwargs: models.get_model(name, **kwargs), arguments))
    weights, weights_name = _torchvision_weights(spec, meta, options)
    weights = _fitted(build, weights)
    network = Network(
        spec=spec,
        source="torchvision",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=_torchvision_preprocess(meta, options),
        classes=_torchvision_classes(meta, weights_name, options),
        self_loading=False,
        code=None,
    )
    return tried(
        network, identity={"spec": spec, "args": dict(options.model_args), "torchvision": torchvision.__version__}
    )


def _torchvision_classes(meta: Any, weights_name: str, options: NetworkOptions) -> tuple[str, ...] | None:
    """What its own head tells apart; random weights and heads of another size tell nothing."""
    if weights_name == "random" or "num_classes" in options.model_args:
        return None
    return tuple(meta.meta["categories"])


def _check_known(name: str) -> None:
    from torchvision import models

    known = models.list_models(module=models)
    if name in known:
        return
    for module, does in OTHERS.items():
        if name in models.list_models(module=getattr(models, module)):
            raise ModelError(
                f"torchvision:{name} {does}, and frostline reads networks that classify images.",
                unknown("torchvision", name.removeprefix("quantized_"), known).hint,
            )
    raise unknown("torchvision", name, known)


def _usual_arguments(name: str) -> dict[str, Any]:
    """What torchvision itself says when it builds these two with its weights: inputs are scaled again within (they were
    trained so), and the slow initialisation, which it warns about, is answered. Their auxiliary heads are left out:
    they run in training only, where nothing here would read them, and fail on small images."""
    own = {"init_weights": True, "transform_input": True, "aux_logits": False}
    if name in ("googlenet", "inception_v3"):
        return own
    return {}


def _size_argument(name: str, size: int | None) -> dict[str, Any]:
    """Networks that are built for one size are built for the user's."""
    if size is None:
        return {}
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    return {}


def _fitted(build: Callable[[int], nn.Module], weights: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    """Without the auxiliary heads that were left out; a vision transformer's for another size, positions interpolated,
    both as torchvision does it."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    if weights is None:
        return None
    model = build(0)
    named = with_own_names(model.state_dict(), weights)
    if getattr(model, "aux_logits", None) is False:
        return named.changed({name: tensor for name, tensor in named.items() if not name.startswith(AUXILIARY)})
    if not isinstance(model, VisionTransformer):
        return named
    found = named.get("encoder.pos_embedding")
    own = model.encoder.pos_embedding
    if found is None or found.shape == own.shape or found.ndim != own.ndim:
        return named
    resized = interpolate_embeddings(model.image_size, model.patch_size, OrderedDict(named))
    return named.changed(cast(Mapping[str, Tensor], resized))


def _torchvision_preprocess(meta: Any, options: NetworkOptions) -> Preprocess:
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


def _torchvision_weights(spec: str, meta: Any, options: NetworkOptions) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / meta.url.rpartition("/")[2]

    def fetch() -> Mapping[str, Tensor]:
        return cast(Mapping[str, Tensor], meta.get_state_dict(progress=False, check_hash=True))

    return downloaded(spec, meta.url, fetch, cached=file.is_file()), f"hub:{meta}"
