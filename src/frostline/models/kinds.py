"""What a network's parameters are: BatchNorm's scale and shift, those of other norm layers, biases, weight matrices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
NAMED_NORM = re.compile(r"[Nn]orm(alization)?(?![a-z])")  # RmsNorm2d, EvoNorm2dB0, LlamaRMSNorm; not NormalizedConv
ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True, slots=True)
class Kinds:
    """Names of parameters by kind. A norm layer's shift is a bias too, but BatchNorm's isn't: it follows its policy."""

    batchnorm: frozenset[str]  # scale and shift
    norm: frozenset[str]  # scale and shift of every norm layer, BatchNorm among them
    bias: frozenset[str]
    matrices: frozenset[str]  # weights of linear layers, convolutions and nn.MultiheadAttention


def has_batchnorm(model: nn.Module) -> bool:
    """Return True where the network has a BatchNorm layer of any kind."""
    return any(is_batchnorm(module) for module in model.modules())


def is_batchnorm(module: nn.Module) -> bool:
    """Return True for a BatchNorm layer of any kind, timm's and Keras's among them."""
    return isinstance(module, _BatchNorm)


def kinds_of(model: nn.Module) -> Kinds:
    """Sort the network's parameters by kind.

    A layer is a norm by its class, or by its class's name (timm's, Hugging Face's and one's own); in the second case
    only its vectors count.
    """
    by_kind: dict[str, set[str]] = {"batchnorm": set(), "norm": set(), "bias": set(), "matrices": set()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}  # a tied one under its first name
    for module in model.modules():
        for own_name, parameter in module.named_parameters(recurse=False):
            for kind in _kinds_of_parameter(module, own_name, parameter):
                by_kind[kind].add(names[id(parameter)])
    return Kinds(**{kind: frozenset(members) for kind, members in by_kind.items()})


def _kinds_of_parameter(module: nn.Module, own_name: str, parameter: Tensor) -> set[str]:
    if is_batchnorm(module):
        return {"batchnorm", "norm"}
    kinds = set[str]()
    is_vector = parameter.numel() == max(parameter.shape, default=0)
    if isinstance(module, NORMS) or (is_vector and _is_norm_name(type(module).__name__)):
        kinds.add("norm")
    if is_vector and _is_bias(module, own_name):
        kinds.add("bias")
    if not is_vector and _is_matrix(module, own_name):
        kinds.add("matrices")
    return kinds


@cache
def _is_norm_name(name: str) -> bool:
    return NAMED_NORM.search(name) is not None


def _is_bias(module: nn.Module, own_name: str) -> bool:
    """Return True for in_proj_bias, q_bias, an LSTM's bias_ih_l0; not for tables of relative positions."""
    if isinstance(module, nn.RNNBase):
        return own_name.startswith("bias") or own_name.endswith("_bias")
    return own_name == "bias" or own_name.endswith("_bias")


def _is_matrix(module: nn.Module, own_name: str) -> bool:
    if isinstance(module, (nn.Linear, _ConvNd)) or type(module).__name__ == "Conv1D":  # GPT-2's linear layers
        return own_name == "weight"
    return isinstance(module, nn.MultiheadAttention) and own_name in ATTENTION_WEIGHTS
