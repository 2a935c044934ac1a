"""Weights of a network under other names: what is loaded, what is left out and said, and what is still refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.guard import forked_seed
from frostline.data.preprocess import Preprocess
from frostline.models.network import Network, pretrained, seeded, tried
from frostline.models.weight_files import Weights


def plain() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3, 2, 1),
            bn=nn.BatchNorm2d(8),
            act=nn.ReLU(),
            conv2=nn.Conv2d(8, 8, 3),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(8, 3),
        )
    )


class Nested(nn.Module):
    """The same within another module, and a head beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = headless()
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.backbone(x))
        return scores


def headless() -> nn.Module:
    model = plain()
    model.fc = nn.Identity()
    return model


def state(seed: int = 1) -> dict[str, Tensor]:
    with forked_seed(seed):
        return dict(plain().state_dict())


def body(seed: int = 1) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state(seed).items() if not name.startswith("fc.")}


def head(name: str, *, classes: int = 5, features: int = 8) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.ones(classes, features), f"{name}.bias": torch.ones(classes)}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def loaded(tensors: Mapping[str, Any], make: Callable[[], nn.Module] = plain) -> Network:
    network = Network(
        spec="torch:net.py:make",
        source="torch",
        build=seeded(make),
        weights=Weights(tensors, file="w.pth"),
        weights_name="w.pth",
        self_loading=False,
        preprocess=Preprocess.default(16, (0.5,), (0.5,), 3),
        classes=None,
        code=None,
    )
    return tried(network, identity={})


def values(network: Network) -> dict[str, Tensor]:
    return {name.removeprefix("base."): tensor for name, tensor in pretrained(network).state_dict().items()}


WHOLE: dict[str, Callable[[], dict[str, Tensor]]] = {
    "compiled": lambda: under("_orig_mod.", state()),
    "Lightning": lambda: under("model.", state()),
    "a name of the user's": lambda: under("my.odd.name.", state()),
    "nested wrappers": lambda: under("module._orig_mod.net.", state()),
    "a compiled part": lambda: {name.replace("conv2.", "conv2._orig_mod."): t for name, t in state().items()},
    "a parallel part": lambda: {name.replace("conv2.", "conv2.module."): t for name, t in state().items()},
    "averaged": lambda: {"n_averaged": torch.tensor(3), **under("module.", state())},
    "counted": lambda: {**state(), "total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
    "a loss beside it": lambda: {**under("model.", state()), "criterion.weight": torch.ones(3)},
    "a head beside its body": lambda: {**under("backbone.", body()), **head("fc", classes=3)},
    "an average beside it": lambda: {**under("ema.", state(2)), **state()},
    "queries and keys": lambda: {
        **under("module.encoder_k.", state(2)),
        **under("module.encoder_q.", state()),
        "module.queue": torch.ones(8, 64),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    },
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_network_is_loaded_under_its_own_names(case: str) -> None:
    network = loaded(WHOLE[case]())
    found = values(network)
    assert network.load_report is not None
    assert network.load_report.clean
    assert all(torch.equal(found[name], tensor) for name, tensor in body().items())


OTHER_HEADS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "none": dict,
    "of other classes": lambda: head("fc"),
    "of several layers": lambda: {**head("fc.1", classes=6), **head("fc.4", features=6)},
    "of another name": lambda: head("classifier"),
    "of another name, several layers, in any order": lambda: {
        **head("top.3", features=6),
        **head("top.0", classes=6),
        "top.1.weight": torch.ones(6),
        "top.1.running_mean": torch.ones(6),
    },
    "a 1x1 convolution": lambda: {"cls.weight": torch.ones(5, 8, 1, 1), "cls.bias": torch.ones(5)},
    "projection and prototypes": lambda: {**head("projection", classes=4), "prototypes.weight": torch.ones(30, 4)},
}


@pytest.mark.parametrize("prefix", ["", "model.", "resnet."])
@pytest.mark.parametrize("case", OTHER_HEADS)
def test_another_head_is_left_out_and_the_body_loaded(case: str, prefix: str) -> None:
    network = loaded(under(prefix, {**body(), **OTHER_HEADS[case]()}))
    found = values(network)
    assert network.load_report is not None
    assert network.load_report.head_differs
    assert all(torch.equal(found[name], tensor) for name, tensor in body().items())
    assert bool(network.notes) == (case not in ("none", "of other classes"))
    assert all("another head" in note and "the network's is fc" in note for note in network.notes)


def test_what_lies_beside_a_wrapper_is_left_out_and_said() -> None:
    network = loaded({**under("backbone.", body()), **head("head.mlp.0", classes=16, features=9)})
    assert network.load_report is not None
    assert network.load_report.head_differs
    assert network.notes == (
        "w.pth holds the network under backbone; 2 tensors beside it were left out "
        "(head.mlp.0.weight and head.mlp.0.bias).",
    )


def test_counters_and_second_sets_are_said() -> None:
    assert loaded(WHOLE["counted"]()).notes == (
        "w.pth also holds total_ops and conv.total_params, which are no weights of the network and were left out.",
    )
    chosen, rest, _ = loaded(WHOLE["queries and keys"]()).notes
    assert chosen == (
        "w.pth holds 2 sets of weights, module.encoder_q and module.encoder_k; module.encoder_q was loaded. "
        "--weights w.pth:module.encoder_k takes the other."
    )
    assert "1 tensor beside it was left out (module.queue)" in rest
    assert "the plain one was loaded" in loaded(WHOLE["an average beside it"]()).notes[0]


@pytest.mark.parametrize("tensors", [state, body], ids=["whole", "body"])
def test_a_network_within_another_takes_the_weights_of_it_alone(tensors: Callable[[], dict[str, Tensor]]) -> None:
    found = values(loaded(tensors(), Nested))
    assert all(torch.equal(found[f"backbone.{name}"], tensor) for name, tensor in body().items())


def test_a_network_without_head_leaves_that_of_the_file_out() -> None:
    network = loaded(state(), headless)
    assert "fc.weight and fc.bias (the network has none)" in network.notes[0]
    with pytest.raises(ModelError, match="another architecture"):
        loaded({**state(), "conv3.weight": torch.ones(8, 8, 3, 3)}, headless)


REFUSED: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "a further layer": (lambda: {**state(), "conv3.weight": torch.ones(8, 8, 3, 3)}, "1 unexpected .conv3.weight"),
    "a further layer, no head": (lambda: {**body(), "conv3.weight": torch.ones(8, 8, 3, 3)}, "1 unexpected"),
    "a further linear layer": (lambda: {**state(), **head("mix", classes=8)}, "2 unexpected .mix.weight"),
    "a scale of a layer": (lambda: {**state(), "conv.alpha": torch.ones(1)}, "1 unexpected .conv.alpha"),
    "a layer too few": (lambda: {n: t for n, t in state().items() if "conv2" not in n}, "2 lacking .conv2.weight"),
    "a layer too few below": (
        lambda: under("module.model.", {n: t for n, t in state().items() if "conv2" not in n}),
        "2 lacking .conv2.weight",
    ),
    "another shape": (lambda: {**state(), "conv2.weight": torch.ones(9, 8, 3, 3)}, "9x8x3x3 for 8x8x3x3"),
    "a head of other features": (lambda: {**body(), **head("classifier", features=9)}, "2 unexpected .classifier"),
    "only a head": (lambda: head("fc", classes=3), "8 lacking"),
    "another network": (lambda: {"a.b": torch.ones(3)}, "of the network's 11 keys 0 fit"),
    "met by chance": (
        lambda: {**{f"x{i}.weight": torch.ones(4, 4) for i in range(200)}, **under("encoder.", state())},
        "0 fit",
    ),
    "unknown prefix and more": (
        lambda: {**under("thing.", state()), "decoder.weight": torch.ones(4, 4, 3, 3)},
        "1 unexpected .decoder.weight",
    ),
    "whole numbers": (lambda: {**state(), "conv2.weight": torch.ones(8, 8, 3, 3, dtype=torch.int8)}, "quantised"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_architecture_is_refused(case: str) -> None:
    tensors, words = REFUSED[case]
    with pytest.raises(ModelError, match=words):
        loaded(tensors())


def test_a_head_alone_is_no_network() -> None:
    def linear() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))

    with pytest.raises(ModelError, match="0 fit; there is nothing but a head"):
        loaded(head("1", features=3 * 16 * 16), linear)


def test_a_tensor_of_two_names_may_be_kept_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.fc = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.fc(self.two(self.one(x)).mean((2, 3)))
            return scores

    tensors = dict(Tied().state_dict())
    del tensors["two.weight"]
    network = loaded(tensors, Tied)
    assert network.load_report is not None
    assert not network.load_report.head_differs


def test_a_layer_of_another_name_is_another_layer() -> None:
    def small() -> nn.Module:
        layers = OrderedDict(conv=nn.Conv2d(3, 8, 3), bn=nn.BatchNorm2d(8), pool=nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(OrderedDict(**layers, flat=nn.Flatten(), fc=nn.Linear(8, 3)))

    tensors = {name.replace("bn.", "norm."): tensor for name, tensor in small().state_dict().items()}
    with pytest.raises(ModelError, match=r"lacking \(bn\.weight"):
        loaded(tensors, small)
