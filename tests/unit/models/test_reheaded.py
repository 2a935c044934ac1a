"""Networks whose own head can't be replaced get a linear layer behind what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cases.awkward import block
from frostline.cutting.named import named_stages
from frostline.cutting.stages import stage_map
from frostline.data.preprocess import Preprocess
from frostline.models.network import Network, pretrained, seeded, tried

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Distilled(nn.Module):
    """Two heads whose scores are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.top = block(3, 4), block(4, 6)
        self.head, self.head_dist = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.top(self.stem(x)).mean((2, 3))
        return (self.head(x) + self.head_dist(x)) / 2


class Squeezed(nn.Module):
    """A convolution as the head, with ReLU and pooling behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, 4), block(4, 6))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(6, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


class Softmaxed(Distilled):
    """What comes behind the heads would spoil features."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Fused(nn.Module):
    """Two branches of different widths up to the end: nothing of one width is left without the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = block(3, 4), block(4, 6), block(4, 8)
        self.heads = nn.ModuleList([nn.Linear(6, 5), nn.Linear(8, 5)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return (self.heads[0](self.one(x).mean((2, 3))) + self.heads[1](self.two(x).mean((2, 3)))) / 2


class Ending(nn.Module):
    """Ends in one layer; subclasses say what becomes of its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.top, self.fc = block(3, 4), block(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.top(self.stem(x)).mean((2, 3))
        return self.ending(x, self.fc(x))

    def ending(self, _features: Tensor, scores: Tensor) -> Any:
        return scores


class LogSoftmaxed(Ending):
    def ending(self, _features: Tensor, scores: Tensor) -> Tensor:
        return scores.log_softmax(1)


class Probable(Ending):
    def ending(self, _features: Tensor, scores: Tensor) -> Tensor:
        return scores.softmax(1)


class Pair(Ending):
    def ending(self, features: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return scores, features


class Labelled(Ending):
    def ending(self, features: Tensor, scores: Tensor) -> dict[str, Tensor]:
        return {"features": features, "logits": scores}


class Several(Distilled):
    """Nothing says which of the scores are meant."""

    def forward(self, x: Tensor) -> Any:
        x = self.top(self.stem(x)).mean((2, 3))
        return self.head(x), self.head_dist(x)


class Headless(nn.Module):
    """Ends in a norm layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.top, self.norm = block(3, 4), block(4, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.top(self.stem(x)).mean((2, 3)))


def network(kind: Callable[[], nn.Module]) -> Network:
    plain = Network(
        spec="torch:x.py:f",
        source="torch",
        build=seeded(kind),
        weights=None,
        weights_name="random",
        self_loading=False,
        preprocess=Preprocess.default((8, 8), (0.5,), (0.5,), 3),
        classes=("a", "b", "c", "d", "e"),
        code=None,
    )
    return replace(plain, weights=kind().state_dict(), weights_name="x.safetensors")


def test_averaged_heads_are_one_linear_layer_on_the_same_features() -> None:
    original = network(Distilled)
    rebuilt = tried(original, identity={})
    model: Any = pretrained(rebuilt)
    whole: Any = pretrained(original)
    assert (rebuilt.classes, type(rebuilt.headless)) == (None, str)
    with torch.no_grad():
        model.head.weight.copy_((whole.head.weight + whole.head_dist.weight) / 2)
        model.head.bias.copy_((whole.head.bias + whole.head_dist.bias) / 2)
        torch.testing.assert_close(model(IMAGES), whole(IMAGES))
    mapped = stage_map(model, IMAGES, verify="all")
    assert [(s.name, s.cuttable) for s in mapped.stages] == [("stem", True), ("top", True)]
    assert mapped.head.path == "head"


def test_features_of_a_convolution_as_head_are_pooled_as_its_scores_were() -> None:
    original = network(Squeezed)
    model: Any = pretrained(tried(original, identity={}))
    whole: Any = pretrained(original)
    features: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
    with torch.no_grad():
        model(IMAGES)
        assert torch.equal(features[0], whole.features(IMAGES).mean((2, 3)))


def test_two_builds_of_one_seed_are_equal_and_the_global_generator_is_left_alone() -> None:
    build = tried(network(Distilled), identity={}).build
    before = torch.get_rng_state()
    one, two = build(3).state_dict(), build(3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", [Softmaxed, Fused, Several])
def test_where_no_features_would_be_left_the_network_stays_as_it_is(kind: type[nn.Module]) -> None:
    rebuilt = tried(network(kind), identity={})
    assert isinstance(rebuilt.build(0), kind)
    assert rebuilt.headless is None


@pytest.mark.parametrize("kind", [LogSoftmaxed, Probable, Pair, Labelled])
def test_scores_are_read_before_a_softmax_and_without_what_else_is_returned(kind: type[Ending]) -> None:
    original = network(kind)
    rebuilt = tried(original, identity={})
    model: Any = pretrained(rebuilt)
    whole: Any = pretrained(original)
    with torch.no_grad():
        assert torch.equal(model(IMAGES), whole.fc(whole.top(whole.stem(IMAGES)).mean((2, 3))))
    assert (rebuilt.classes, rebuilt.headless) == (original.classes, None)  # its own head is there
    mapped = stage_map(model, IMAGES, verify="all")
    assert [(s.name, s.cuttable) for s in mapped.stages] == [("stem", True), ("top", True)]
    named = stage_map(model, IMAGES, verify="all", named=named_stages({"early": "stem", "late": "top"}))
    assert [s.cuttable for s in named.stages] == [True, True]


def test_a_network_that_ends_in_a_norm_layer_has_its_features_read() -> None:
    original = network(Headless)
    rebuilt = tried(original, identity={})
    model: Any = pretrained(rebuilt)
    whole: Any = pretrained(original)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(6)[:1])
        torch.testing.assert_close(model(IMAGES)[:, 0], whole(IMAGES)[:, 0])
    assert rebuilt.headless == "it has no classes of its own"


def test_weights_with_a_head_of_another_size_fit_a_network_that_ends_in_a_softmax() -> None:
    original = network(LogSoftmaxed)
    assert original.weights is not None
    other = {**original.weights, "fc.weight": torch.ones(9, 6), "fc.bias": torch.ones(9)}
    rebuilt = tried(replace(original, weights=other), identity={})
    assert rebuilt.loaded_head == "base.fc"
    model: Any = pretrained(rebuilt)
    assert torch.equal(model.base.stem[0].weight, original.weights["stem.0.weight"])
    assert model.base.fc.out_features == 5
