"""`keras:NAME` (keras.applications) and `keras:FILE.keras`: Keras 3 models on its torch backend.

The model is built by Keras, then translated layer by layer (keras_translate) and compared with Keras' own answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError, nearest
from frostline.base.hashing import hash_values
from frostline.data.preprocess import Preprocess
from frostline.keras_torch.layers import KerasNormalization, channels_behind
from frostline.keras_torch.translate import Blueprint, translate
from frostline.models.network import Network, NetworkOptions, example_input, read_weights, tried
from frostline.models.sources.keras_library import building, import_keras, reading_backwards
from frostline.models.sources.keras_preprocess import (
    Scaling,
    make_preprocess,
    measured,
    scaling_of_mode,
    twice_scaled,
)
from frostline.models.sources.keras_safe import read_architecture, refuse_other_forms
from frostline.models.sources.keras_weights import ENDINGS, load_keras_weights
from frostline.models.trials import check_values

OWN_SIZE = 224  # of networks that Keras builds without one (MobileNetV3)
PREPROCESS = "preprocess"  # an argument of ours among those of the factory
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_DIFFERENCE = 1e-3  # of the largest score; translated networks differ by about 1e-6
LOCAL = "Give --weights FILE.weights.h5 (of model.save_weights), or --weights random."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A Keras model with what is known about it. `bare` builds it without its top, where that can be done."""

    model: Any
    scaling: Scaling | None
    bare: Callable[[], Any] | None = None
    architecture: str | None = None
    renumber: bool = False


def load_keras(rest: str, options: NetworkOptions) -> Network:
    """The network of that name in keras.applications, or of that file; raises ModelError as `load_network` says."""
    spec = f"keras:{rest}"
    path = Path(rest)
    from_file = path.suffix in (".keras", ".json")
    refuse_other_forms(path, options.weights)
    if options.weights is None and path.suffix != ".keras":
        raise ModelError(f"The weights of {spec} aren't at hand, and Keras' are never downloaded here.", LOCAL)
    keras = import_keras()
    if from_file:
        made = _from_file(keras, path, options)
    else:
        made = _from_name(keras, rest, options)
    weights_file = rest
    if options.weights is not None:
        weights_file = options.weights
    lacking: set[int] = set()
    if weights_file.endswith(ENDINGS):
        lacking = load_keras_weights(keras, made.model, Path(weights_file), made.bare)
    reverse = made.scaling is not None and made.scaling.reverse
    with building(keras):
        blueprint = translate(made.model, reverse=reverse, renumber=made.renumber)
    preprocess = make_preprocess(spec, made.scaling, blueprint.scaling, _keras_shape(made.model, options), options)
    check_values(spec, blueprint.template)
    _check_equal(spec, made.model, blueprint, preprocess)
    weights, name = _keras_weights(blueprint, options, weights_file, lacking)
    if weights is not None and rest.startswith("EfficientNetB"):
        weights = _rescaled_as_trained(blueprint.template, weights)
    network = Network(
        spec=spec,
        source="keras",
        build=blueprint.build,
        weights=weights,
        weights_name=name,
        preprocess=preprocess,
        self_loading=False,
        classes=_keras_classes(from_file, weights, options),
        code=None,
        architecture=made.architecture,
        notes=twice_scaled(spec, blueprint.scaling, preprocess, options),
    )
    identity = {
        "spec": "keras" if from_file else spec,
        "args": dict(options.model_args),
        "keras": keras.__version__,
        "architecture": hash_values(made.architecture),
    }
    return tried(network, identity=identity)


def _from_file(keras: Any, path: Path, options: NetworkOptions) -> _Made:
    """A model whose architecture is in a file; arguments but the preprocessing mode don't apply."""
    unknown = sorted(set(options.model_args) - {PREPROCESS})
    if unknown:
        raise ModelError(
            f"--model-args: {path.name} takes no argument {unknown[0]!r}.",
            f"A file's model is built as it was saved; only {PREPROCESS!r} can be given.",
        )
    config = read_architecture(path)
    text = json.dumps(config)  # before Keras reads it, which changes it
    try:
        with building(keras):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            model.trainable = True  # which layers are trained is the recipe's to say, not the file's
    except Exception as error:  # TypeError, ValueError, KeyError ... by the layer that doesn't fit
        first = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"Keras can't build the model in {path} ({first}).", "Was it saved with another version of Keras?"
        ) from error
    mode = options.model_args.get(PREPROCESS)
    if mode is None:
        scaling = None
    else:
        scaling = scaling_of_mode(keras, mode)
    return _Made(model=model, scaling=scaling, architecture=text)


def _from_name(keras: Any, name: str, options: NetworkOptions) -> _Made:
    factory, module = _keras_factory(keras, name)
    arguments = _arguments(name, options)
    mode = arguments.pop(PREPROCESS, None)
    built_in = arguments.get("include_preprocessing", True)
    scaling = None
    if built_in and module is not None:
        scaling = measured(module.preprocess_input)
    if mode is not None:
        scaling = scaling_of_mode(keras, mode)

    def build(**more: Any) -> Any:
        with building(keras):
            return factory(**{"weights": None, **arguments, **more})

    try:
        model = build()
        if None in model.input_shape[1:3]:
            arguments["input_shape"] = (OWN_SIZE, OWN_SIZE, model.input_shape[-1])
            model = build()
    except Exception as error:
        first = " ".join(str(error).split())[:200] or type(error).__name__
        given = {k: v for k, v in arguments.items() if v is not None}
        backend = "not available with the torch backend" in first  # NASNet
        raise ModelError(
            f"keras:{name} can't be built with {given!r} ({first}).",
            "Take another network." if backend else "Check --model-args or --size.",
        ) from error
    shape = model.input_shape[1:]
    return _Made(
        model=model, scaling=scaling, renumber=True, bare=lambda: build(include_top=False, input_shape=tuple(shape))
    )


def _keras_factory(keras: Any, name: str) -> tuple[Callable[..., Any], Any]:
    """The function of that name, and the module with its preprocess_input."""
    known = [n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n))]
    if name not in known:
        raise ModelError(f"keras.applications has no network {name!r}.", nearest(name, known))
    modules = (getattr(keras.applications, n) for n in dir(keras.applications) if n[0].islower())
    owner = next((m for m in modules if hasattr(m, name) and hasattr(m, "preprocess_input")), None)
    return getattr(keras.applications, name), owner


def _arguments(name: str, options: NetworkOptions) -> dict[str, Any]:
    """For the factory, with the size put in; what would take the head away or download something is refused."""
    given = dict(options.model_args)
    for argument, why in (
        ("weights", "--weights says that"),
        ("include_top", "the head is put in by frostline"),
        ("input_tensor", "the input is an image"),
    ):
        if argument in given:
            raise ModelError(f"--model-args: {argument!r} doesn't apply to keras:{name}: {why}.", "Leave it out.")
    shape = given.get("input_shape")
    if shape is not None:
        if not isinstance(shape, list | tuple) or len(shape) != 3 or not all(isinstance(n, int) for n in shape):
            raise ModelError(f"--model-args: input_shape {shape!r} isn't a shape.", "Write [224, 224, 3].")
        if options.size and tuple(shape[:2]) != (options.size, options.size):
            raise ModelError(f"--size {options.size} and input_shape {shape!r} differ.", "Give one of the two.")
        given["input_shape"] = tuple(shape)
    elif options.size:
        given["input_shape"] = (options.size, options.size, 3)
    return given


def _keras_shape(model: Any, options: NetworkOptions) -> tuple[int, int, int]:
    """(H, W, C) of the images: the user's size, else the model's own."""
    height, width, channels = model.inputs[0].shape[1:]
    if options.size:
        height = width = options.size
    if height is None or width is None or channels is None:
        raise ModelError("The Keras model doesn't say how large its images are.", "Give --size N.")
    return int(height), int(width), int(channels)


def _keras_weights(
    blueprint: Blueprint, options: NetworkOptions, file: str, lacking: set[int]
) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        return None, "random"
    if not file.endswith(ENDINGS):
        return read_weights(file), Path(file).name
    left_out = {name for name, weight in blueprint.draws if id(weight.variable) in lacking}
    state = blueprint.template.state_dict()
    return {name: t.detach().clone() for name, t in state.items() if name not in left_out}, Path(file).name


def _rescaled_as_trained(template: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet's ImageNet weights were trained behind one more division, by sqrt(std), that Keras adds only where
    it downloads them itself (keras.applications.efficientnet); here it goes into the variance that is divided by."""
    result = dict(weights)
    for name, module in template.named_modules():
        mean = result.get(f"{name}.mean")
        if not isinstance(module, KerasNormalization) or mean is None or mean.numel() != len(IMAGENET_MEAN):
            continue
        if torch.allclose(mean.flatten(), torch.tensor(IMAGENET_MEAN), atol=1e-3):
            key = f"{name}.variance"
            result[key] = result[key] * torch.tensor(IMAGENET_STD).view_as(result[key])
    return result


def _keras_classes(
    from_file: bool, weights: Mapping[str, Tensor] | None, options: NetworkOptions
) -> tuple[str, ...] | None:
    """ImageNet's for weights of keras.applications; what a file's classes are it doesn't say."""
    if from_file or weights is None or options.model_args.get("classes", 1000) != 1000:
        return None
    from torchvision.models import get_model_weights

    return tuple(get_model_weights("resnet50").DEFAULT.meta["categories"])


def _check_equal(spec: str, model: Any, blueprint: Blueprint, preprocess: Preprocess) -> None:
    """Compare with Keras' own answer; raises ModelError where the translation or the size is wrong."""
    own = model.inputs[0].shape[1:3]
    x = example_input(preprocess)
    network = blueprint.template.eval()
    with torch.no_grad():
        try:
            ours = network(x)
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise ModelError(
                f"{spec} doesn't take images of {preprocess.size} pixels ({first}).", "Leave --size out."
            ) from error
        if tuple(own) != preprocess.size and None not in own:
            x = torch.nn.functional.interpolate(x, size=tuple(own))
            ours = network(x)
        with reading_backwards(import_keras()):
            theirs = model(channels_behind(x.flip(1) if blueprint.reverse else x).contiguous(), training=False)
        ours = {"softmax": lambda t: t.softmax(-1), "sigmoid": torch.sigmoid}.get(blueprint.final, lambda t: t)(ours)
        theirs = theirs.to(ours.device)
    if ours.shape != theirs.shape or not torch.allclose(
        ours, theirs, rtol=0, atol=LARGEST_DIFFERENCE * float(theirs.abs().max().clamp_min(1e-3))
    ):
        gap = "in shape"
        if ours.shape == theirs.shape:
            gap = f"by {float((ours - theirs).abs().max()):.2g}"
        raise ModelError(
            f"{spec} can't be used: translated to torch, its answers differ {gap} from Keras' own.",
            "Give the network as torch:FILE.py:factory.",
        )
