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


def kinds_of(model: nn.Module) -> Kinds:
    """Sort the network's parameters. A layer is a norm by its class, or by its class's name (timm's, Hugging Face's
    and one's own), then with its vectors only."""
    found: dict[str, set[str]] = {"batchnorm": set(), "norm": set(), "bias": set(), "matrices": set()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}  # a tied one under its first name
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            for kind in _kinds(module, own, parameter):
                found[kind].add(names[id(parameter)])
    return Kinds(**{kind: frozenset(names) for kind, names in found.items()})


def _kinds(module: nn.Module, own: str, parameter: Tensor) -> set[str]:
    if isinstance(module, _BatchNorm):
        return {"batchnorm", "norm"}
    vector = parameter.numel() == max(parameter.shape, default=0)
    if isinstance(module, NORMS) or (vector and _says_norm(type(module).__name__)):
        kinds = {"norm"}
    else:
        kinds = set()
    if vector and _shifts(module, own):
        kinds.add("bias")
    if not vector and _multiplies(module, own):
        kinds.add("matrices")
    return kinds


@cache
def _says_norm(name: str) -> bool:
    return NAMED_NORM.search(name) is not None


def _shifts(module: nn.Module, own: str) -> bool:
    """in_proj_bias, q_bias, an LSTM's bias_ih_l0; not tables of relative positions."""
    return own == "bias" or own.endswith("_bias") or (isinstance(module, nn.RNNBase) and own.startswith("bias"))


def _multiplies(module: nn.Module, own: str) -> bool:
    if isinstance(module, (nn.Linear, _ConvNd)) or type(module).__name__ == "Conv1D":  # GPT-2's linear layers
        return own == "weight"
    return isinstance(module, nn.MultiheadAttention) and own in ATTENTION_WEIGHTS
