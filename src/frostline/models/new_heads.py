"""Heads that are put in the place of the network's own, or at a cut."""

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

    `linear`: a new layer of zeros. `mlp`: a new layer with ReLU before it. `mapped`: the network's own head, whose
    outputs `groups[c]` together mean class c.
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


class _Mapped:
    """Adds the probabilities of the source classes that mean one class: log-sum-exp of their scores along an axis."""

    class_groups: tuple[tuple[int, ...], ...] = ()

    def merged(self, scores: Tensor, axis: int) -> Tensor:
        parts = scores.unbind(axis)
        found = [
            torch.stack([parts[i] for i in g]).logsumexp(0) if len(g) > 1 else parts[g[0]] for g in self.class_groups
        ]
        return torch.stack(found, dim=axis)


class MappedLinear(_Mapped, ExactLinear):
    """The network's own linear head with its classes mapped; its tensors keep their names."""

    def forward(self, input: Tensor) -> Tensor:
        return self.merged(super().forward(input), -1)  # decoders: (N, tokens, classes)


class MappedConv2d(_Mapped, ExactConv2d):
    """The same for a head that is a 1x1 convolution."""

    def forward(self, input: Tensor) -> Tensor:
        return self.merged(super().forward(input), 1)


def new_head(
    module: nn.Module, site: HeadSite, classes: int, form: HeadForm = HeadForm(), *, seed: int = 0
) -> nn.Module:
    """Put a head of `classes` outputs in the place of the network's own; returns it.

    The last layer of a new head is zero (Kolesnikov et al., "Big Transfer", ECCV 2020, section 3.3): the first step
    starts from equal class probabilities without the luck of a draw, so strategies stay paired. The hidden layer of an
    MLP is drawn from `seed`. A mapped head keeps the network's own weights.
    """
    old = module.get_submodule(site.path)
    if form.kind == "mapped":
        head = _mapped_head(old, site, form)
    else:
        head = _fresh(old, site, classes, form, seed)
    head.train(old.training)
    owner, _, name = site.path.rpartition(".")
    setattr(module.get_submodule(owner), name, head)
    return head


def _mapped_head(old: nn.Module, site: HeadSite, form: HeadForm) -> nn.Module:
    """Of a saved model whose network had been given a head of another size, the weights come later."""
    if getattr(old, "out_features", getattr(old, "out_channels", None)) != site.out_features:
        old = _fresh(old, site, site.out_features, HeadForm(), 0)
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


def _fresh(old: nn.Module, site: HeadSite, classes: int, form: HeadForm, seed: int) -> nn.Module:
    reference = next(old.parameters())
    kind: type[nn.Module] = ExactLinear
    extra: tuple[int, ...] = ()
    if site.kind == "conv":
        kind = ExactConv2d
        extra = (1,)

    def layer(wide: int, out: int, *, zero: bool) -> nn.Module:
        # built without storage where it becomes zero anyway: the global generator isn't drawn from
        made = kind(wide, out, *extra, device="meta" if zero else None)
        if zero:
            made = made.to_empty(device=reference.device)
            for parameter in made.parameters():
                nn.init.zeros_(parameter)
        return made.to(device=reference.device, dtype=reference.dtype)

    if form.kind == "linear":
        return layer(site.in_features, classes, zero=True)
    hidden = hidden_width(site.in_features)
    with forked_seed(seed):
        first = layer(site.in_features, hidden, zero=False)
    return nn.Sequential(first, nn.ReLU(), layer(hidden, classes, zero=True))


class CutNetwork(nn.Module):
    """A network that ends after a stage: a new head reads the pooled activation. Shares the base module."""

    def __init__(self, split: Split, classes: int, form: HeadForm = HeadForm(), *, seed: int = 0) -> None:
        super().__init__()
        self.base = split.model
        self.split = split
        self.in_features = split.cut.shape[split.cut.channel_axis]
        site = HeadSite(path="head", kind="linear", in_features=self.in_features, out_features=classes)
        self.head = _fresh(split.model, site, classes, form, seed)

    def features(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Pooled features (N, D) at the cut."""
        return self.pooled(self.split.prefix(*inputs, **keywords), Call.of(inputs, keywords).tensors)

    def pooled(self, activation: Tensor, raw: Sequence[Tensor] = ()) -> Tensor:
        """What the head reads of the activation at the cut; `raw` inputs where its pooling needs a mask."""
        return read_features(self.split.cut, activation, raw)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Class scores (N, classes)."""
        return cast(Tensor, self.head(self.features(*inputs, **keywords)))
