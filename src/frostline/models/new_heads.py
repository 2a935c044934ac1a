"""New heads: in the place of the network's own, or at a cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from frostline.cutting.cuts import read_features
from frostline.cutting.guard import forked_seed
from frostline.cutting.heads import HeadSite
from frostline.cutting.inputs import Call
from frostline.cutting.split import Split
from frostline.recipe.recipe import HeadKind, hidden_width


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadForm:
    """What stands in the head's place.

    `linear`: a new layer of zeros. `mlp`: the same behind a new hidden layer with ReLU. `mapped`: the network's own
    head, whose outputs `groups[c]` together mean class c.
    """

    kind: HeadKind = "linear"
    groups: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "groups": [list(group) for group in self.groups]}

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> HeadForm:
        return cls(kind=note["kind"], groups=tuple(tuple(int(i) for i in group) for group in note["groups"]))


class ExactLinear(nn.Linear):
    """A linear layer that keeps its own precision under autocast: a head is cheap, and it decides the probabilities."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class ExactConv2d(nn.Conv2d):
    """The same for a head that is a 1x1 convolution."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class _MergesClasses:
    """Adds the probabilities of the source classes that mean one class: log-sum-exp of their scores along an axis."""

    class_groups: tuple[tuple[int, ...], ...] = ()

    def merged(self, scores: Tensor, axis: int) -> Tensor:
        """Return scores per class from those of the source classes."""
        source_scores = scores.unbind(axis)
        merged = [_log_sum_exp([source_scores[i] for i in group]) for group in self.class_groups]
        return torch.stack(merged, dim=axis)


def _log_sum_exp(scores: Sequence[Tensor]) -> Tensor:
    if len(scores) == 1:  # handed back as it is: no rounding
        return scores[0]
    return torch.stack(list(scores)).logsumexp(0)


class MappedLinear(_MergesClasses, ExactLinear):
    """The network's own linear head with its classes mapped; its tensors keep their names."""

    def forward(self, input: Tensor) -> Tensor:
        return self.merged(super().forward(input), -1)  # decoders: (N, tokens, classes)


class MappedConv2d(_MergesClasses, ExactConv2d):
    """The same for a head that is a 1x1 convolution."""

    def forward(self, input: Tensor) -> Tensor:
        return self.merged(super().forward(input), 1)


def new_head(
    module: nn.Module, site: HeadSite, classes: int, form: HeadForm = HeadForm(), *, seed: int = 0
) -> nn.Module:
    """Put a head of `classes` outputs in the place of the network's own, and return it.

    The last layer of a new head is zero (Kolesnikov et al., "Big Transfer", ECCV 2020, section 3.3): the first step
    starts from equal class probabilities without the luck of a draw, so strategies stay paired. The hidden layer of an
    MLP is drawn from `seed`. A mapped head keeps the network's own weights.
    """
    old = module.get_submodule(site.path)
    if form.kind == "mapped":
        head = _mapped_head(old, site, form)
    else:
        head = _untrained_head(old, site, classes, form, seed)
    head.train(old.training)
    owner, _, name = site.path.rpartition(".")
    setattr(module.get_submodule(owner), name, head)
    return head


def _mapped_head(old: nn.Module, site: HeadSite, form: HeadForm) -> nn.Module:
    """Return the network's own head with its classes mapped.

    The head of a saved model may have another size than the rebuilt network's: then its weights are loaded later.
    """
    if getattr(old, "out_features", getattr(old, "out_channels", None)) != site.out_features:
        old = _untrained_head(old, site, site.out_features, HeadForm(), 0)
    head: Any
    if isinstance(old, nn.Linear):
        head = MappedLinear(old.in_features, old.out_features, bias=old.bias is not None, device="meta")
    else:
        conv = cast(nn.Conv2d, old)
        head = MappedConv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None, device="meta")
    head.weight = old.weight
    head.bias = old.bias
    head.class_groups = form.groups
    return cast(nn.Module, head)


def _untrained_head(old: nn.Module, site: HeadSite, classes: int, form: HeadForm, seed: int) -> nn.Module:
    """Return a linear layer of zeros, or an MLP that ends in one, on the device and in the precision of `old`."""
    reference = next(old.parameters())
    kind: type[nn.Module] = ExactLinear
    kernel: tuple[int, ...] = ()
    if site.kind == "conv":
        kind = ExactConv2d
        kernel = (1,)

    def layer_of_zeros(inputs: int, outputs: int) -> nn.Module:
        # built without storage, so that nothing is drawn from the global generator
        layer = kind(inputs, outputs, *kernel, device="meta").to_empty(device=reference.device)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return layer.to(device=reference.device, dtype=reference.dtype)

    if form.kind == "linear":
        return layer_of_zeros(site.in_features, classes)
    hidden = hidden_width(site.in_features)
    with forked_seed(seed):
        first = kind(site.in_features, hidden, *kernel)
    first = first.to(device=reference.device, dtype=reference.dtype)
    return nn.Sequential(first, nn.ReLU(), layer_of_zeros(hidden, classes))


class CutNetwork(nn.Module):
    """A network that ends after a stage: a new head reads the pooled activation. Shares the base module."""

    def __init__(self, split: Split, classes: int, form: HeadForm = HeadForm(), *, seed: int = 0) -> None:
        super().__init__()
        self.base = split.model
        self.split = split
        self.in_features = split.cut.shape[split.cut.channel_axis]
        site = HeadSite(path="head", kind="linear", in_features=self.in_features, out_features=classes)
        self.head = _untrained_head(split.model, site, classes, form, seed)

    def features(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Compute pooled features (N, D) at the cut."""
        return self.pooled(self.split.prefix(*inputs, **keywords), Call.of(inputs, keywords).tensors)

    def pooled(self, activation: Tensor, raw: Sequence[Tensor] = ()) -> Tensor:
        """Pool the activation at the cut for the head; `raw` inputs hold the mask where pooling needs one."""
        return read_features(self.split.cut, activation, raw)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Compute class scores (N, classes)."""
        return cast(Tensor, self.head(self.features(*inputs, **keywords)))
