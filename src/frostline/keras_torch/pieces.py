"""Which torch module stands for which Keras layer. A layer that isn't listed here is run by Keras itself (`wrap`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from frostline.keras_torch import layers

Conversion = Callable[[Tensor], Tensor]
FINAL_ACTIVATIONS = ("softmax", "sigmoid")  # frostline works on the scores before them


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A tensor's Keras variable, its initialiser, and how Keras' values become torch's."""

    variable: Any
    initializer: Any = None
    convert: Conversion = torch.clone

    def value(self) -> Tensor:
        return self.convert(self.variable.value.detach().float().cpu()).contiguous()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A module for (a part of) a layer; a layer with an activation becomes two. The graph looks at `kind`."""

    module: nn.Module
    suffix: str = ""
    kind: str = ""
    weights: Mapping[str, Weight] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """A layer at one of its calls: the ranks of its inputs, and whether it gets nothing but tensors."""

    layer: Any
    ranks: tuple[int, ...]
    only_tensors: bool


Maker = Callable[[LayerUse], list[Piece] | None]


def pieces_for(use: LayerUse) -> list[Piece] | None:
    """Return the layer's pieces, in order; None where Keras has to run the layer."""
    import keras

    kind = type(use.layer)
    makers: dict[type, Maker] = {getattr(keras.layers, name): make for name, make in _LAYER_MAKERS.items()}
    make = makers.get(kind) or _OPERATION_MAKERS.get(f"{kind.__module__}.{kind.__name__}")
    quantized = getattr(use.layer, "quantization_mode", None) is not None
    if make is None or not use.only_tensors or quantized:
        return None
    return make(use)


def activation_piece(function: Any, suffix: str, rank: int) -> Piece | None:
    """Return the piece for a Keras activation function; None for an unknown one, and for a softmax on inputs of another
    rank than 2."""
    import keras

    name = getattr(function, "__name__", "")
    if function is not getattr(keras.activations, name, None):
        return None
    if name == "leaky_relu":
        return Piece(module=nn.LeakyReLU(0.2), suffix=suffix)
    if name == "softmax" and rank == 2:
        return Piece(module=nn.Softmax(-1), suffix=suffix, kind=name)
    if name not in layers.ACTIVATIONS:
        return None
    return Piece(module=layers.ACTIVATIONS[name](), suffix=suffix, kind=name)


def _activated(layer: Any, piece: Piece, rank: int) -> list[Piece] | None:
    name = getattr(layer.activation, "__name__", "")
    if layer.activation is None or name == "linear":
        return [piece]
    activation = activation_piece(layer.activation, f"_{name}", rank)
    if activation is None:
        return None
    return [piece, activation]


def _has_channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _if_channels_last(layer: Any, module: nn.Module, kind: str) -> list[Piece] | None:
    if not _has_channels_last(layer):
        return None
    return [Piece(module=module, kind=kind)]


def _kernel(value: Tensor) -> Tensor:
    """Turn (H, W, in, out) into (out, in, H, W)."""
    return value.permute(3, 2, 0, 1)


def _depth_kernel(value: Tensor) -> Tensor:
    """Turn (H, W, in, multiplier) into (in * multiplier, 1, H, W)."""
    return value.flatten(2).permute(2, 0, 1)[:, None]


def _bias(layer: Any) -> dict[str, Weight]:
    if layer.bias is None:
        return {}
    return {"bias": Weight(variable=layer.bias, initializer=layer.bias_initializer)}


def _height_and_width(value: Any) -> tuple[int, int]:
    """Read a setting that is one number for both, or one for each."""
    if isinstance(value, int):
        return int(value), int(value)
    height, width = value
    return int(height), int(width)


def _convolution(layer: Any, channels: tuple[int, int], groups: int, *, bias: bool) -> layers.KerasConv2d:
    # on `meta`, without storage: every tensor is put in afterwards
    module = layers.KerasConv2d(
        *channels,
        _height_and_width(layer.kernel_size),
        _height_and_width(layer.strides),
        dilation=_height_and_width(layer.dilation_rate),
        groups=groups,
        bias=bias,
        device="meta",
    )
    module.same = layer.padding == "same"
    return module


def _conv(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if not _has_channels_last(layer) or layer.padding not in ("valid", "same") or getattr(layer, "lora_enabled", False):
        return None
    _, _, narrow, out = layer.kernel.shape
    module = _convolution(layer, (narrow * layer.groups, out), layer.groups, bias=layer.bias is not None)
    kernel = Weight(variable=layer.kernel, initializer=layer.kernel_initializer, convert=_kernel)
    piece = Piece(module=module, kind="kernel", weights={"weight": kernel, **_bias(layer)})
    return _activated(layer, piece, rank=4)


def _depthwise(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if not _has_channels_last(layer) or layer.padding not in ("valid", "same"):
        return None
    _, _, narrow, times = layer.kernel.shape
    module = _convolution(layer, (narrow, narrow * times), narrow, bias=layer.bias is not None)
    kernel = Weight(variable=layer.kernel, initializer=layer.depthwise_initializer, convert=_depth_kernel)
    piece = Piece(module=module, kind="depthwise", weights={"weight": kernel, **_bias(layer)})
    return _activated(layer, piece, rank=4)


def _separable(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if not _has_channels_last(layer) or layer.padding not in ("valid", "same"):
        return None
    _, _, narrow, times = layer.depthwise_kernel.shape
    depthwise = _convolution(layer, (narrow, narrow * times), narrow, bias=False)
    pointwise = layers.KerasConv2d(narrow * times, layer.filters, 1, bias=layer.bias is not None, device="meta")
    weights = {
        "depthwise.weight": Weight(
            variable=layer.depthwise_kernel, initializer=layer.depthwise_initializer, convert=_depth_kernel
        ),
        "pointwise.weight": Weight(
            variable=layer.pointwise_kernel, initializer=layer.pointwise_initializer, convert=_kernel
        ),
        **{f"pointwise.{name}": weight for name, weight in _bias(layer).items()},
    }
    module = layers.KerasSeparableConv2d(depthwise, pointwise)
    return _activated(layer, Piece(module=module, kind="kernel", weights=weights), rank=4)


def _dense(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if getattr(layer, "lora_enabled", False):
        return None
    wide, out = layer.kernel.shape
    linear = layers.DenseOnImages if use.ranks[0] == 4 else nn.Linear
    module = linear(wide, out, bias=layer.bias is not None, device="meta")
    kernel = Weight(variable=layer.kernel, initializer=layer.kernel_initializer, convert=torch.t)
    piece = Piece(module=module, kind="kernel", weights={"weight": kernel, **_bias(layer)})
    return _activated(layer, piece, use.ranks[0])


def _batch_norm(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    rank = use.ranks[0]
    if rank not in (2, 4) or layer.axis % rank != rank - 1 or layer.renorm:
        return None
    module = layers.KerasBatchNorm(
        layer.moving_mean.shape[0],
        eps=layer.epsilon,
        momentum=1 - layer.momentum,
        scale=layer.scale,
        center=layer.center,
    )
    keras_names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    weights = {
        name: Weight(variable=getattr(layer, keras_name), initializer=getattr(layer, f"{keras_name}_initializer"))
        for name, keras_name in keras_names.items()
        if getattr(layer, keras_name) is not None
    }
    return [Piece(module=module, kind="norm", weights=weights)]


def _layer_norm(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    rank = use.ranks[0]
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    plain = layer.scale and layer.center and not getattr(layer, "rms_scaling", False)
    if [a % rank for a in axes] != [rank - 1] or not plain:
        return None
    module = layers.KerasLayerNorm(layer.gamma.shape[0], eps=layer.epsilon)
    weights = {
        "weight": Weight(variable=layer.gamma, initializer=layer.gamma_initializer),
        "bias": Weight(variable=layer.beta, initializer=layer.beta_initializer),
    }
    return [Piece(module=module, kind="norm", weights=weights)]


def _normalization(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if layer.invert or layer.mean is None or use.ranks != (4,):
        return None

    def value(variable: Any) -> Tensor:
        tensor = torch.as_tensor(variable).detach().float().cpu().clone()
        return layers.channels_before(tensor).contiguous()

    module = layers.KerasNormalization(value(layer.mean), value(layer.variance))
    return [Piece(module=module, kind="opens")]


def _rescaling(use: LayerUse) -> list[Piece]:
    def value(setting: Any) -> Tensor:
        tensor = torch.as_tensor(setting, dtype=torch.float32)
        if use.ranks[0] == 4 and tensor.ndim == 1:
            return layers.channels_before(tensor.view(1, 1, 1, -1))
        return tensor

    module = layers.Rescaled(value(use.layer.scale), value(use.layer.offset))
    return [Piece(module=module, kind="opens")]


def _activation(use: LayerUse) -> list[Piece] | None:
    piece = activation_piece(use.layer.activation, "", use.ranks[0])
    if piece is None:
        return None
    return [piece]


def _relu(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if layer.threshold or layer.negative_slope or layer.max_value not in (None, 6):
        return None
    if layer.max_value is None:
        return [Piece(module=nn.ReLU())]
    return [Piece(module=nn.ReLU6())]


def _softmax_layer(use: LayerUse) -> list[Piece] | None:
    if use.ranks != (2,) or use.layer.axis not in (-1, 1):
        return None
    return [Piece(module=nn.Softmax(-1), kind="softmax")]


def _pool(kind: str) -> Maker:
    def make(use: LayerUse) -> list[Piece] | None:
        layer = use.layer
        kernel = _height_and_width(layer.pool_size)
        stride = _height_and_width(layer.strides)
        same = layer.padding == "same"
        uneven = same and (stride != (1, 1) or any(k % 2 == 0 for k in kernel))
        if not _has_channels_last(layer) or (kind == "mean" and uneven):  # Keras repeats the edge there
            return None
        return [Piece(module=layers.KerasPool2d(kind, kernel, stride, same=same), kind="pools")]

    return make


def _global_pool(kind: str) -> Maker:
    def make(use: LayerUse) -> list[Piece] | None:
        module = layers.GlobalPool2d(kind, keep=use.layer.keepdims)
        return _if_channels_last(use.layer, module, "pools")

    return make


def _padding(use: LayerUse) -> list[Piece] | None:
    (top, bottom), (left, right) = use.layer.padding
    return _if_channels_last(use.layer, layers.Padded((left, right, top, bottom)), "opens")


def _flatten(use: LayerUse) -> list[Piece] | None:
    return _if_channels_last(use.layer, layers.Flattened(), "opens")


def _reshape(use: LayerUse) -> list[Piece]:
    target: Sequence[int] = use.layer.target_shape
    module = layers.Flattened() if len(target) == 1 else layers.Reshaped(target)
    return [Piece(module=module, kind="opens")]


def _dropout(use: LayerUse) -> list[Piece] | None:
    layer = use.layer
    if layer.noise_shape is None:
        return [Piece(module=nn.Dropout(layer.rate), kind="opens")]
    shape = [None, *layer.noise_shape[1:]]
    if len(shape) != use.ranks[0] or any(n != 1 for n in shape[1:]):
        return None
    return [Piece(module=layers.DroppedSamples(layer.rate, shape))]


def _merge(kind: str) -> Maker:
    def make(use: LayerUse) -> list[Piece] | None:
        rank = use.ranks[0]
        axis = getattr(use.layer, "axis", -1)
        alike = len(use.ranks) > 1 and len(set(use.ranks)) == 1
        if not alike or (kind == "concatenate" and (rank not in (2, 4) or axis % rank != rank - 1)):
            return None
        return [Piece(module=layers.Merged(kind), kind="merges")]

    return make


_LAYER_MAKERS: Mapping[str, Maker] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Activation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax_layer,
    "MaxPooling2D": _pool("max"),
    "AveragePooling2D": _pool("mean"),
    "GlobalAveragePooling2D": _global_pool("mean"),
    "GlobalMaxPooling2D": _global_pool("max"),
    "ZeroPadding2D": _padding,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _dropout,
    "Add": _merge("add"),
    "Multiply": _merge("multiply"),
    "Concatenate": _merge("concatenate"),
}
_OPERATION_MAKERS: Mapping[str, Maker] = {
    "keras.src.ops.numpy.Add": _merge("add"),
    "keras.src.ops.numpy.Multiply": _merge("multiply"),
    "keras.src.ops.numpy.Concatenate": _merge("concatenate"),
}
