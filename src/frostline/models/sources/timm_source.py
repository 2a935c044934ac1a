"""`timm:NAME` and `timm:FOLDER` (a network that timm saved): preprocessing from the network's own pretrained_cfg."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.data.preprocess import CROP_FRACTION, Interpolation, Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.hub import called, downloaded, refuse_arguments, unknown
from frostline.models.weight_names import COUNTER, with_own_names
from frostline.models.weights import compare_weights

HUB = "https://huggingface.co"
INTERPOLATIONS = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest", "lanczos": "lanczos"}
PREFIXES = ("hf-hub", "hf_hub", "local-dir")
CONFIG, FILE, OLD_FILE = "config.json", "model.safetensors", "pytorch_model.bin"
OURS = {
    "pretrained": "--weights says that",
    "pretrained_cfg": "--weights says that",
    "pretrained_cfg_overlay": "--mean, --std and --size say that",
    "checkpoint_path": "--weights FILE says that",
    "features_only": "the network has to end in its own head",
    "scriptable": "the network is watched while it runs, which scripted ones don't allow",
}


@dataclass(frozen=True, kw_only=True)
class _Named:
    """What timm is asked for; `folder`: where the network's own description and weights lie, if not in the library."""

    spec: str
    name: str
    arguments: Mapping[str, Any]
    folder: Path | None = None

    def build(self) -> Callable[[int], nn.Module]:
        import timm

        if self.folder:
            name = f"local-dir:{self.folder}"
        else:
            name = self.name
        return seeded(called(self.spec, timm.create_model, {"model_name": name, "pretrained": False, **self.arguments}))


def load_timm(name: str, options: NetworkOptions) -> Network:
    """The network of that name in timm, or that a folder describes (config.json, model.safetensors).

    `--model-args` are those of `timm.create_model`: `in_chans` and `--size` change what the network reads, and weights
    for three channels or another size are adapted as timm adapts its own. Raises ModelError (see
    :func:`frostline.models.sources.load_network`).
    """
    import timm

    named = _timm_named(name, options)
    build = named.build()
    config = _config(build)
    named = _resized(named, config, options)
    if named.arguments != options.model_args:
        build = named.build()
    weights, weights_name = _timm_weights(named, config, options)
    if weights is not None and options.weights is not None:
        model = build(0)
        found = with_own_names(model.state_dict(), weights)
        weights = found.changed(adapted(named, model, found))
    network = Network(
        spec=named.spec,
        source="timm",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=read_preprocess(config, named.arguments, options),
        self_loading=False,
        classes=_timm_classes(config, weights, options),
        code=None,
        files={CONFIG: (named.folder / CONFIG).read_bytes()} if named.folder else {},
    )
    return tried(
        network,
        identity={
            "spec": "timm:." if named.folder else named.spec,
            "args": dict(options.model_args),
            "timm": timm.__version__,
        },
    )


def _timm_named(name: str, options: NetworkOptions) -> _Named:
    import timm

    spec = f"timm:{name}"
    refuse_arguments(spec, options.model_args, OURS)
    if options.model_args.get("num_classes") == 0:
        raise ModelError(
            "--model-args: num_classes 0 leaves the network without a head, and frostline replaces it.", "Leave it out."
        )
    prefix, colon, rest = name.partition(":")
    prefixed = bool(colon) and prefix in PREFIXES
    folder = Path(rest if prefixed else name).expanduser()
    in_library = timm.is_model(name.partition(".")[0])  # before a folder that happens to be called so
    if prefixed or (folder.is_dir() and not in_library):
        if folder.is_dir():
            found = folder
        else:
            found = _in_cache(spec, rest)
        if not (found / CONFIG).is_file():
            raise ModelError(
                f"{found} holds no {CONFIG}, so it is no network that timm saved.",
                "Save one with timm.models.save_for_hf(model, FOLDER), or give timm:NAME.",
            )
        return _Named(spec=spec, name=rest or name, arguments=options.model_args, folder=found)
    if not in_library:
        raise unknown("timm", name, timm.list_models())
    return _Named(spec=spec, name=name, arguments=options.model_args)


def _in_cache(spec: str, hub_id: str) -> Path:
    """The folder of that name in the hub's local cache. Nothing is downloaded under such names."""
    from huggingface_hub import snapshot_download

    try:
        name = hub_id.partition("@")[0]
        folder = snapshot_download(name, local_files_only=True)  # nosec B615  # reads the cache alone
        return Path(folder)
    except Exception as error:  # a name that the hub's client refuses, or that isn't in the cache
        raise ModelError(
            f"{spec} is neither a folder nor in the hub's cache on this machine.",
            "Give timm:FOLDER (config.json, model.safetensors), or timm:ARCHITECTURE with --weights FILE.",
        ) from error


def _config(build: Callable[[int], nn.Module]) -> Mapping[str, Any]:
    config = getattr(build(0), "pretrained_cfg", None)
    if not isinstance(config, Mapping) or "input_size" not in config:
        raise ModelError("timm doesn't say what images this network reads.", "Take another network of timm.")
    return config


def _resized(named: _Named, config: Mapping[str, Any], options: NetworkOptions) -> _Named:
    """Networks built for one size (transformers) are built for `--size`, where they take that argument."""
    if not options.size or not config.get("fixed_input_size") or "img_size" in named.arguments:
        return named
    sized = replace(named, arguments={**named.arguments, "img_size": options.size})
    try:
        sized.build()(0)
    except ModelError:
        return named
    return sized


def read_preprocess(config: Mapping[str, Any], arguments: Mapping[str, Any], options: NetworkOptions) -> Preprocess:
    """What timm does in evaluation, by its record of a network; channels that the record has no mean for get the
    average of those it has."""
    channels, height, width = config["input_size"]
    if options.size:
        size = (options.size, options.size)
    else:
        size = _timm_sized(arguments.get("img_size"), (height, width))
    channels = int(arguments.get("in_chans") or channels)
    mean, std = (_for_channels(config[name], channels) for name in ("mean", "std"))
    plain = Preprocess.default(size, options.mean or mean, options.std or std, channels)
    fraction = config.get("crop_pct") or CROP_FRACTION
    squash = config.get("crop_mode") == "squash" and size[0] == size[1]
    return replace(
        plain,
        resize=math.floor(max(plain.size) / fraction),
        interpolation=cast(Interpolation, INTERPOLATIONS.get(config.get("interpolation", ""), plain.interpolation)),
        fit="squash" if squash else "crop",
    )


def _timm_sized(given: Any, own: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of the argument `img_size`, else the network's own."""
    if isinstance(given, int):
        return given, given
    if isinstance(given, list | tuple) and len(given) == 2:
        return (int(given[0]), int(given[1]))
    return own


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) in (1, channels):
        return tuple(values)
    return (math.fsum(values) / len(values),) * channels


def _timm_classes(
    config: Mapping[str, Any], weights: Mapping[str, Tensor] | None, options: NetworkOptions
) -> tuple[str, ...] | None:
    """Names that a folder's description holds; those of the library have none."""
    names = config.get("label_names")
    own = weights is not None and options.weights is None and "num_classes" not in options.model_args
    if own and isinstance(names, list | tuple) and len(names) > 1:
        return tuple(map(str, names))
    return None


def _timm_weights(
    named: _Named, config: Mapping[str, Any], options: NetworkOptions
) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    if named.folder is not None:
        file = next((f for f in (FILE, OLD_FILE) if (named.folder / f).is_file()), FILE)
        state = read_weights(named.folder / file)
        return adapted(named, named.build()(0), state), f"timm:{named.folder.name}/{file}"
    hub_id = config.get("hf_hub_id")
    url = config.get("url")
    if hub_id:
        url = f"{HUB}/{hub_id}"
    if not url:
        raise ModelError(f"timm has no weights for {named.name}.", "Give --weights FILE, or --weights random.")
    cached = _cached(hub_id)
    return downloaded(named.spec, url, lambda: _fetch(named, cached), cached=cached is not None), f"hub:{hub_id or url}"


def _cached(hub_id: str | None) -> str | None:
    """Path of the weights in the hub's local cache."""
    if not hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, FILE)
    if isinstance(path, str):
        return path
    return None


def _fetch(named: _Named, cached: str | None) -> Mapping[str, Tensor]:
    """timm's own loading, which also adapts weights to the arguments given."""
    import timm

    overlay = None
    if cached:
        overlay = {"file": cached}
    module = timm.create_model(named.name, pretrained=True, pretrained_cfg_overlay=overlay, **named.arguments)
    return cast(Mapping[str, Tensor], module.state_dict())


def adapted(named: _Named, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights that fit the network but for its head as they are; others as timm itself fits them: another number of
    input channels (`adapt_input_conv`), another size (positions interpolated), older names. What timm can't fit comes
    back as it is, and is refused with its keys where it is loaded."""
    import timm

    config: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    found = config.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([found] if isinstance(found, str) else found))
    report = compare_weights(model, state)
    own = model.state_dict()
    differing = (*report.missing, *report.unexpected, *report.mismatched)
    if all(name.endswith(COUNTER) or name.startswith(heads) for name in differing):
        return state
    body = {k: v for k, v in state.items() if not k.startswith(heads)}
    complete = {**body, **{k: v for k, v in own.items() if k.startswith(heads)}}
    overlay = {
        "state_dict": complete,
        "num_classes": getattr(model, "num_classes", None),
        "custom_load": False,
        "source": "",
    }
    try:
        if named.folder is None:
            name = named.name
        else:
            name = str(config["architecture"])
        arguments = {"num_classes": overlay["num_classes"], **named.arguments}
        fitted = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments).state_dict()
    except Exception:  # whatever timm's filters run into; the keys tell the user more
        return state
    return {k: v for k, v in fitted.items() if not k.startswith(heads)} | {
        k: v for k, v in state.items() if k.startswith(heads)
    }
