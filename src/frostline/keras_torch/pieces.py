"""Which torch module stands for which Keras layer. What isn't listed here is run by Keras itself (keras_wrap)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from frostline.keras_torch import layers as own

Change = Callable[[Tensor], Tensor]
FINAL = ("softmax", "sigmoid")  # frostline works on the scores before them


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A tensor's Keras variable, what draws it anew, and how it becomes torch's."""

    variable: Any
    initializer: Any = None
    change: Change = torch.clone

    def value(self) -> Tensor:
        return self.change(self.variable.value.detach().float().cpu()).contiguous()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A module for (a part of) a layer; a layer with an activation gives two. `kind` is what the graph looks at."""

    module: nn.Module
    suffix: str = ""
    kind: str = ""
    weights: Mapping[str, Weight] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A layer at one of its calls: ranks of its inputs, and whether it gets anything but tensors."""

    layer: Any
    ranks: tuple[int, ...]
    plain: bool


def pieces_for(seen: Seen) -> list[Piece] | None:
    """The pieces, in order; None where Keras has to run the layer."""
    import keras

    kinds: dict[type, Callable[[Seen], list[Piece] | None]] = {
        getattr(keras.layers, name): make for name, make in _MAKERS.items()
    }
    make = kinds.get(type(seen.layer)) or _MERGING.get(f"{type(seen.layer).__module__}.{type(seen.layer).__name__}")
    if make is None or not seen.plain or getattr(seen.layer, "quantization_mode", None) is not None:
        return None
    return make(seen)


def activation_piece(function: Any, suffix: str, rank: int) -> Piece | None:
    """Of a Keras activation function; None for an unknown one (or a softmax over another axis than the last of two)."""
    import keras

    name = getattr(function, "__name__", "")
    if function is not getattr(keras.activations, name, None):
        return None
    if name == "softmax":
        return Piece(module=nn.Softmax(-1), suffix=suffix, kind=name) if rank == 2 else None
    if name == "leaky_relu":
        return Piece(module=nn.LeakyReLU(0.2), suffix=suffix)
    kind = own.ACTIVATIONS.get(name)
    return None if kind is None else Piece(module=kind(), suffix=suffix, kind=name)


def _activated(layer: Any, piece: Piece, rank: int) -> list[Piece] | None:
    name = getattr(layer.activation, "__name__", "")
    if layer.activation is None or name == "linear":
        return [piece]
    after = activation_piece(layer.activation, f"_{name}", rank)
    return None if after is None else [piece, after]


def _last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _kernel(value: Tensor) -> Tensor:
    """(H, W, in, out) to (out, in, H, W)."""
    return value.permute(3, 2, 0, 1)


def _depth_kernel(value: Tensor) -> Tensor:
    """(H, W, in, multiplier) to (in * multiplier, 1, H, W)."""
    return value.flatten(2).permute(2, 0, 1)[:, None]


def _bias(layer: Any) -> dict[str, Weight]:
    if layer.bias is None:
        return {}
    return {"bias": Weight(variable=layer.bias, initializer=layer.bias_initializer)}


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def _convolution(layer: Any, channels: tuple[int, int], groups: int, *, bias: bool) -> own.KerasConv2d:
    # without storage: every tensor is put in afterwards
    module = own.KerasConv2d(
        *channels,
        _pair(layer.kernel_size),
        _pair(layer.strides),
        dilation=_pair(layer.dilation_rate),
        groups=groups,
        bias=bias,
        device="meta",
    )
    module.same = layer.padding == "same"
    return module


def _conv(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if not _last(layer) or layer.padding not in ("valid", "same") or getattr(layer, "lora_enabled", False):
        return None
    _, _, narrow, out = layer.kernel.shape
    module = _convolution(layer, (narrow * layer.groups, out), layer.groups, bias=layer.bias is not None)
    kernel = Weight(variable=layer.kernel, initializer=layer.kernel_initializer, change=_kernel)
    return _activated(layer, Piece(module=module, kind="kernel", weights={"weight": kernel, **_bias(layer)}), 4)


def _depthwise(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if not _last(layer) or layer.padding not in ("valid", "same"):
        return None
    _, _, narrow, times = layer.kernel.shape
    module = _convolution(layer, (narrow, narrow * times), narrow, bias=layer.bias is not None)
    kernel = Weight(variable=layer.kernel, initializer=layer.depthwise_initializer, change=_depth_kernel)
    return _activated(layer, Piece(module=module, kind="depthwise", weights={"weight": kernel, **_bias(layer)}), 4)


def _separable(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if not _last(layer) or layer.padding not in ("valid", "same"):
        return None
    _, _, narrow, times = layer.depthwise_kernel.shape
    depthwise = _convolution(layer, (narrow, narrow * times), narrow, bias=False)
    pointwise = own.KerasConv2d(narrow * times, layer.filters, 1, bias=layer.bias is not None, device="meta")
    weights = {
        "depthwise.weight": Weight(
            variable=layer.depthwise_kernel, initializer=layer.depthwise_initializer, change=_depth_kernel
        ),
        "pointwise.weight": Weight(
            variable=layer.pointwise_kernel, initializer=layer.pointwise_initializer, change=_kernel
        ),
        **{f"pointwise.{name}": weight for name, weight in _bias(layer).items()},
    }
    module = own.KerasSeparableConv2d(depthwise, pointwise)
    return _activated(layer, Piece(module=module, kind="kernel", weights=weights), 4)


def _dense(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if getattr(layer, "lora_enabled", False):
        return None
    wide, out = layer.kernel.shape
    kind = own.DenseOnImages if seen.ranks[0] == 4 else nn.Linear
    module = kind(wide, out, bias=layer.bias is not None, device="meta")
    kernel = Weight(variable=layer.kernel, initializer=layer.kernel_initializer, change=torch.t)
    return _activated(
        layer, Piece(module=module, kind="kernel", weights={"weight": kernel, **_bias(layer)}), seen.ranks[0]
    )


def _batch_norm(seen: Seen) -> list[Piece] | None:
    layer, rank = seen.layer, seen.ranks[0]
    if rank not in (2, 4) or layer.axis % rank != rank - 1 or layer.renorm:
        return None
    module = own.KerasBatchNorm(
        layer.moving_mean.shape[0],
        eps=layer.epsilon,
        momentum=1 - layer.momentum,
        scale=layer.scale,
        center=layer.center,
    )
    named = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    weights = {
        ours: Weight(variable=getattr(layer, theirs), initializer=getattr(layer, f"{theirs}_initializer"))
        for ours, theirs in named.items()
        if getattr(layer, theirs) is not None
    }
    return [Piece(module=module, kind="norm", weights=weights)]


def _layer_norm(seen: Seen) -> list[Piece] | None:
    layer, rank = seen.layer, seen.ranks[0]
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    plain = layer.scale and layer.center and not getattr(layer, "rms_scaling", False)
    if [a % rank for a in axes] != [rank - 1] or not plain:
        return None
    module = own.KerasLayerNorm(layer.gamma.shape[0], eps=layer.epsilon)
    weights = {
        "weight": Weight(variable=layer.gamma, initializer=layer.gamma_initializer),
        "bias": Weight(variable=layer.beta, initializer=layer.beta_initializer),
    }
    return [Piece(module=module, kind="norm", weights=weights)]


def _normalization(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if layer.invert or layer.mean is None or seen.ranks != (4,):
        return None
    mean, variance = (torch.as_tensor(v).detach().float().cpu().clone() for v in (layer.mean, layer.variance))
    module = own.KerasNormalization(*(own.channels_before(v).contiguous() for v in (mean, variance)))
    return [Piece(module=module, kind="opens")]


def _rescaling(seen: Seen) -> list[Piece]:
    def shaped(value: Any) -> Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float32)
        return own.channels_before(tensor.view(1, 1, 1, -1)) if seen.ranks[0] == 4 and tensor.ndim == 1 else tensor

    return [Piece(module=own.Rescaled(shaped(seen.layer.scale), shaped(seen.layer.offset)), kind="opens")]


def _activation(seen: Seen) -> list[Piece] | None:
    piece = activation_piece(seen.layer.activation, "", seen.ranks[0])
    return None if piece is None else [piece]


def _relu(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if layer.threshold or layer.negative_slope or layer.max_value not in (None, 6):
        return None
    return [Piece(module=nn.ReLU() if layer.max_value is None else nn.ReLU6())]


def _softmax(seen: Seen) -> list[Piece] | None:
    fits = seen.layer.axis in (-1, 1) and seen.ranks == (2,)
    return [Piece(module=nn.Softmax(-1), kind="softmax")] if fits else None


def _pool(kind: str) -> Callable[[Seen], list[Piece] | None]:
    def make(seen: Seen) -> list[Piece] | None:
        layer, kernel, stride = seen.layer, _pair(seen.layer.pool_size), _pair(seen.layer.strides)
        same = layer.padding == "same"
        uneven = same and (stride != (1, 1) or any(k % 2 == 0 for k in kernel))
        if not _last(layer) or (kind == "mean" and uneven):  # Keras repeats the edge there
            return None
        return [Piece(module=own.KerasPool2d(kind, kernel, stride, same=same), kind="pools")]

    return make


def _global_pool(kind: str) -> Callable[[Seen], list[Piece] | None]:
    def make(seen: Seen) -> list[Piece] | None:
        module = own.GlobalPool2d(kind, keep=seen.layer.keepdims)
        return [Piece(module=module, kind="pools")] if _last(seen.layer) else None

    return make


def _padding(seen: Seen) -> list[Piece] | None:
    (top, bottom), (left, right) = seen.layer.padding
    return [Piece(module=own.Padded((left, right, top, bottom)), kind="opens")] if _last(seen.layer) else None


def _flatten(seen: Seen) -> list[Piece] | None:
    return [Piece(module=own.Flattened(), kind="opens")] if _last(seen.layer) else None


def _reshape(seen: Seen) -> list[Piece]:
    target: Sequence[int] = seen.layer.target_shape
    return [Piece(module=own.Flattened() if len(target) == 1 else own.Reshaped(target), kind="opens")]


def _dropout(seen: Seen) -> list[Piece] | None:
    layer = seen.layer
    if layer.noise_shape is None:
        return [Piece(module=nn.Dropout(layer.rate), kind="opens")]
    shape = [None, *layer.noise_shape[1:]]
    fits = len(shape) == seen.ranks[0] and all(n == 1 for n in shape[1:])
    return [Piece(module=own.DroppedSamples(layer.rate, shape))] if fits else None


def _merge(kind: str) -> Callable[[Seen], list[Piece] | None]:
    def make(seen: Seen) -> list[Piece] | None:
        rank, axis = seen.ranks[0], getattr(seen.layer, "axis", -1)
        alike = len(seen.ranks) > 1 and len(set(seen.ranks)) == 1
        if not alike or (kind == "concatenate" and (rank not in (2, 4) or axis % rank != rank - 1)):
            return None
        return [Piece(module=own.Merged(kind), kind="merges")]

    return make


_MAKERS: dict[str, Callable[[Seen], list[Piece] | None]] = {
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
    "Softmax": _softmax,
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
_MERGING = {
    "keras.src.ops.numpy.Add": _merge("add"),
    "keras.src.ops.numpy.Multiply": _merge("multiply"),
    "keras.src.ops.numpy.Concatenate": _merge("concatenate"),
}
