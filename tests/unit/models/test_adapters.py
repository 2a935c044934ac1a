"""Kinds of parameters and adapters of low rank: against peft, and bit for bit before and after they are merged."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cases.awkward import Tied
from frostline.cutting.guard import forked_seed
from frostline.models.adapters import Adapters, adapter_size, rank_of
from frostline.models.kinds import kinds_of
from frostline.recipe.recipe import Adapter


class Attention(nn.Module):
    """nn.MultiheadAttention, which reads its weights by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.own(x, x, x, need_weights=False)
        scores: Tensor = self.fc(self.norm(y).mean(1))
        return scores


class Standardised(nn.Conv2d):
    """Standardises its weight on every call, as weight-standardised ResNets do."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def convolutions() -> nn.Module:
    """Plain, grouped, depthwise and weight-standardised ones."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, padding=1, groups=4),
        nn.GroupNorm(2, 12),
        nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
        Standardised(12, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


class TwoNames(nn.Module):
    """One layer is registered twice, as in timm's CoaT."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)
        self.blocks = nn.ModuleList(nn.ModuleDict({"mix": self.mix, "own": nn.Linear(6, 6)}) for _ in range(2))
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        block: Any
        for block in self.blocks:
            x = x + torch.tanh(block["own"](block["mix"](x)))
        scores: Tensor = self.fc(x)
        return scores


class LlamaStyleRMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.table = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4, 4))


class NormalizedLinear(nn.Linear):
    pass


def test_kinds_follow_from_a_layers_class_or_its_name() -> None:
    kinds = kinds_of(convolutions())
    assert kinds.batchnorm == {"1.weight", "1.bias"}
    assert kinds.norm == {"1.weight", "1.bias", "3.weight", "3.bias"}
    assert kinds.bias == {"0.bias", "2.bias", "3.bias", "5.bias", "8.bias"}  # BatchNorm's shift isn't one
    assert kinds.matrices == {"0.weight", "2.weight", "4.weight", "5.weight", "8.weight"}
    assert kinds_of(LlamaStyleRMSNorm()).norm == {"weight"}
    assert kinds_of(nn.RMSNorm(4)).norm == {"weight"}
    assert kinds_of(NormalizedLinear(2, 2)).norm == frozenset()
    assert kinds_of(Attention()).matrices == {"own.in_proj_weight", "own.out_proj.weight", "fc.weight"}
    assert kinds_of(Attention()).bias == {"own.in_proj_bias", "own.out_proj.bias", "norm.bias", "fc.bias"}


@pytest.mark.parametrize(
    "name",
    ["layernorm", "layernorm2d", "groupnorm", "groupnorm1", "rmsnorm", "rmsnorm2d", "batchnorm2d", "frn", "evonorms0"],
)
def test_timms_own_norm_layers_are_norms(name: str) -> None:
    timm_layers = pytest.importorskip("timm.layers")
    layer = timm_layers.get_norm_act_layer(name, act_layer="relu")(32)
    assert kinds_of(layer).norm == {n for n, _ in layer.named_parameters()} != set()


def trained(adapters: Adapters, seed: int = 0) -> Adapters:
    """As after some training: B isn't zero any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in adapters.factors:
            up, _ = adapters.parameters_of(name)
            up.copy_(torch.randn(up.shape, generator=generator))
    return adapters


MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "convolutions": (convolutions, (4, 3, 12, 12)),
    "attention": (Attention, (4, 5, 8)),
    "tied": (Tied, (4, 6)),
    "under two names": (TwoNames, (4, 6)),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_merged_weights_answer_bit_for_bit_as_the_adapters_did(name: str, precision: str) -> None:
    make, shape = MODELS[name]
    with forked_seed(3):
        model = make().eval()
        x = torch.randn(shape)
    if name == "convolutions":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    before = copy.deepcopy(model.state_dict())
    adapters = Adapters(model, kinds_of(model).matrices, Adapter(rank=4, alpha=8), (0, 0))
    run = adapters.around(lambda inputs: model(inputs))

    def answers(of: Any) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"), torch.no_grad():
            scores: Tensor = of(x)
            return scores

    assert torch.equal(answers(run), answers(model))  # B begins at zero
    trained(adapters)
    adapted = answers(run)
    assert not torch.equal(adapted, answers(model))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    strides = {n: w.stride() for n, w in adapters.weights().items()}
    adapters.merge()
    assert torch.equal(answers(model), adapted)
    assert strides == {n: p.stride() for n, p in model.named_parameters() if n in strides}
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} == set(adapters.factors)


@pytest.mark.parametrize("name", ["convolutions", "attention"])
def test_answers_gradients_and_merged_weights_are_those_of_peft(name: str) -> None:
    """What peft supports in the same form: linear layers and ungrouped convolutions (its r is our r)."""
    peft = pytest.importorskip("peft")
    make, shape = (
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(16, 16, 3),
                nn.Flatten(),
                nn.Linear(16 * 16, 12),
                nn.GELU(),
                nn.Linear(12, 8),
            ),
            (4, 3, 12, 12),
        )
        if name == "convolutions"
        else MODELS[name]
    )
    targets = {"convolutions": ["0", "2", "4", "6"], "attention": ["fc"]}[name]
    with forked_seed(3):
        model, x = make().eval(), torch.randn(shape)
    theirs = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=1, lora_alpha=3, target_modules=targets))
    adapters = trained(Adapters(model, [f"{t}.weight" for t in targets], Adapter(rank=1, alpha=3), (0, 0)))
    layers = {t: theirs.base_model.model.get_submodule(t) for t in targets}
    with torch.no_grad():
        for target, layer in layers.items():
            up, down = adapters.parameters_of(f"{target}.weight")
            layer.lora_A["default"].weight.copy_(down.view_as(layer.lora_A["default"].weight))
            layer.lora_B["default"].weight.copy_(up.view_as(layer.lora_B["default"].weight))
    mine, expected = adapters.around(lambda inputs: model(inputs))(x), theirs(x)
    assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-5)
    mine.square().mean().backward()
    expected.square().mean().backward()
    for target, layer in layers.items():
        up, down = adapters.parameters_of(f"{target}.weight")
        for ours, their in ((down, layer.lora_A["default"].weight), (up, layer.lora_B["default"].weight)):
            assert ours.grad is not None
            assert torch.allclose(ours.grad, their.grad.view_as(ours), rtol=1e-3, atol=1e-5)
    adapters.merge()
    merged = theirs.merge_and_unload()
    for target in targets:
        ours, their = (m.get_parameter(f"{target}.weight") for m in (model, merged))
        assert torch.allclose(ours, their, atol=1e-6)


def test_the_draw_depends_on_seed_block_and_name_only() -> None:
    model = convolutions()

    def drawn(names: list[str], seeds: tuple[int, int]) -> Tensor:
        return Adapters(model, names, Adapter(), seeds).parameters_of("2.weight")[1]

    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = drawn(["2.weight"], (0, 0))
    assert torch.equal(first, drawn(["0.weight", "2.weight"], (0, 0)))
    assert not torch.equal(first, drawn(["2.weight"], (1, 0)))
    assert not torch.equal(first, drawn(["2.weight"], (0, 1)))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.abs().max() <= 1 / 18**0.5  # n = 2 channels per group x 9 positions


@pytest.mark.parametrize(
    ("shape", "rank", "size"),
    [((64, 32), 8, 8 * 96), ((12, 1, 3, 3), 4, 4 * 21), ((4, 3, 3, 3), 2, 2 * 31), ((3, 1, 2), 1, 5)],
)
def test_rank_is_at_most_half_of_the_smaller_side(shape: tuple[int, ...], rank: int, size: int) -> None:
    assert rank_of(torch.zeros(shape), Adapter()) == rank
    assert adapter_size(torch.zeros(shape), Adapter()) == size
