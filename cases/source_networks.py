"""A small network from each source, in a file whose tensors can be read without frostline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cases.hf_folders import write_image_network, write_text_network
from cases.small_world import write_network

IMAGE_CLASSES, TEXT_CLASSES = ("greenish", "reddish"), ("question", "statement")
NETWORK = """
from torch import nn

MEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 16)


def block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 1, 1), nn.BatchNorm2d(cout), nn.ReLU())


def net():
    return nn.Sequential(block(3, 8), block(8, 8), block(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is typed for a network, and the tensors of its file under the network's own names."""

    model: str
    tensors: Callable[[], Mapping[str, Tensor]]
    outputs: int  # classes of its own head
    options: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False
    policies: bool = False  # fine-tuning under each BatchNorm policy, too


def by_torch_file(folder: Path) -> Given:
    spec, weights = write_network(folder, NETWORK)
    return Given(model=spec, options={"weights": weights}, tensors=lambda: load_file(weights), outputs=5, policies=True)


def from_library(spec: str, folder: Path, *, size: int, **arguments: Any) -> Given:
    """A network of timm or torchvision with random weights, in which no BatchNorm is the identity, in a file."""
    library, _, name = spec.partition(":")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = _made(library, name, arguments)
        _shake(model)
    file = str(folder / "w.safetensors")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    options = {"weights": file, "size": size, "model_args": arguments}
    outputs = list(model.parameters())[-1].shape[0]
    return Given(model=spec, options=options, tensors=lambda: load_file(file), outputs=outputs)


def _made(library: str, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **arguments)
    from torchvision import models

    quiet = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **quiet, **arguments)


def _shake(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.uniform_(module.weight, 0.8, 1.2)  # timm begins some with zero, and no gradient passes them


def hf_image(folder: Path) -> Given:
    write_image_network(folder)
    return Given(model=f"hf:{folder}", tensors=lambda: load_file(folder / "model.safetensors"), outputs=2)


def hf_text(folder: Path) -> Given:
    write_text_network(folder, labels=TEXT_CLASSES)
    options = {"model_args": {"hidden_dropout_prob": 0.0}}  # too much for the solved head of 20 samples
    return Given(
        model=f"hf:{folder}",
        tensors=lambda: load_file(folder / "model.safetensors"),
        outputs=2,
        text=True,
        options=options,
    )


def hf_encoder(folder: Path) -> Given:
    """An encoder: it has no classes of its own, so as-is and continue don't apply."""
    write_text_network(folder)

    def tensors() -> Mapping[str, Tensor]:
        return {f"encoder.{k}": v for k, v in load_file(folder / "model.safetensors").items()}

    return Given(model=f"hf:{folder}", tensors=tensors, outputs=0, text=True)


def keras_name(folder: Path, name: str = "MobileNet", *, size: int = 32, **arguments: Any) -> Given:
    from frostline.models.sources.keras_library import building, import_keras

    keras = import_keras()
    with building(keras):
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **arguments)
        shake_keras(model, 60.0 if name.startswith(("ResNet", "VGG")) else 1.0)  # which read pixels less their mean
    file = folder / "w.weights.h5"
    model.save_weights(file)
    options = {"weights": str(file), "size": size, "model_args": arguments}
    return Given(
        model=f"keras:{name}", options=options, tensors=lambda: KerasTensors(model), outputs=int(model.output_shape[-1])
    )


def keras_file(folder: Path) -> Given:
    from frostline.models.sources.keras_library import building, import_keras

    keras = import_keras()
    layers = keras.layers
    with building(keras):
        i = keras.Input((16, 16, 3))
        x = layers.Rescaling(1 / 127.5, offset=-1)(i)
        for k in range(1, 4):
            y = layers.Conv2D(8, 3, padding="same", name=f"block{k}_conv")(x)
            y = layers.ReLU(name=f"block{k}_relu")(layers.BatchNormalization(name=f"block{k}_bn")(y))
            x = y if k == 1 else layers.Add(name=f"block{k}_add")([x, y])
        x = layers.GlobalAveragePooling2D()(x)  # no dropout: it is too much for the solved head of 20 samples
        model = keras.Model(i, layers.Dense(4, activation="softmax", name="predictions")(x))
        shake_keras(model)
    model.save(folder / "own.keras")
    return Given(model=f"keras:{folder / 'own.keras'}", tensors=lambda: KerasTensors(model), outputs=4, policies=True)


def shake_keras(model: Any, scale: float = 1.0) -> None:
    """Moving statistics of images of noise: with those of a fresh model next to no gradient passes a deep one."""
    layers = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in layers]
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        layer.momentum = 0.3
    with torch.no_grad():
        for _ in range(6):
            model(torch.randn((8, *model.inputs[0].shape[1:]), generator=generator) * scale, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


KERAS_NAMES = {
    "weight": ("kernel", "gamma"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}


class KerasTensors(dict[str, Tensor]):
    """A Keras model's variables under the names and in the shapes that torch has for them: asked for by name."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layers = {layer.name: {v.name: v.value for v in layer.weights} for layer in model.layers}

    def __missing__(self, name: str) -> Tensor:
        *_, layer, own = name.split(".")
        found = self.layers[layer]
        key = next(k for k in KERAS_NAMES[own] if k in found)
        value = found[key].detach().cpu()
        if value.ndim == 2:
            return value.t()
        if value.ndim < 4:
            return value
        depthwise = value.shape[3] == 1 and value.shape[2] > 1 and ("_dw" in layer or "depthwise" in layer)
        return value.permute(2, 3, 0, 1).reshape(-1, 1, *value.shape[:2]) if depthwise else value.permute(3, 2, 0, 1)


THIN = {
    "num_classes": 6,
    "width_mult": 0.25,
    "dropout": 0.0,
    "inverted_residual_setting": [[1, 16, 1, 1], [6, 24, 1, 2], [6, 32, 1, 2]],
}
THIN_SWIN = {"img_size": 32, "window_size": 2, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4]}
SOURCES: dict[str, Callable[[Path], Given]] = {
    "torch: a file": by_torch_file,
    "timm: resnet": lambda f: from_library("timm:test_resnet", f, size=32, num_classes=6),
    "timm: vit": lambda f: from_library("timm:test_vit", f, size=32, num_classes=6, img_size=32),
    "torchvision: mobilenet": lambda f: from_library("torchvision:mobilenet_v2", f, size=32, **THIN),
    "hf: images": hf_image,
    "hf: texts": hf_text,
    "hf: an encoder": hf_encoder,
    "keras: a name": lambda f: keras_name(f, alpha=0.25, classes=6),
    "keras: a file": keras_file,
}


LARGE: dict[str, Callable[[Path], Given]] = {  # by the benchmark only
    "torchvision: shufflenet": lambda f: from_library("torchvision:shufflenet_v2_x0_5", f, size=32, num_classes=6),
    "timm: one channel": lambda f: from_library("timm:test_efficientnet", f, size=64, num_classes=6, in_chans=1),
    "timm: swin": lambda f: from_library("timm:swin_tiny_patch4_window7_224", f, size=32, num_classes=6, **THIN_SWIN),
    "torchvision: regnet": lambda f: from_library("torchvision:regnet_y_400mf", f, size=32, num_classes=6),
    "keras: ResNet50": lambda f: keras_name(f, "ResNet50", size=64),
    "keras: MobileNetV2": lambda f: keras_name(f, "MobileNetV2", size=64, classes=6),
}
