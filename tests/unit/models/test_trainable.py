"""Normalisation policies and heads: each with an effect that was worked out by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cases.awkward import Masked, Mixed, Plain, Shared, Tied
from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut, find_cuts
from frostline.cutting.guard import forked_seed
from frostline.cutting.heads import HeadSite, find_head
from frostline.cutting.outputs import flat_logits
from frostline.cutting.pooling import pool
from frostline.cutting.recorder import record
from frostline.cutting.stages import StageMap, stage_map
from frostline.models.kinds import kinds_of
from frostline.models.new_heads import CutNetwork, new_head
from frostline.models.trainable import set_training, trained_parameters, updated_buffers
from frostline.recipe.recipe import BatchNorm, Part

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FROZEN, HEAD = Part(trained=False), Part(trained=True)


def plain() -> tuple[Any, StageMap]:
    with forked_seed(3):
        model = Plain()
    return model, stage_map(model, IMAGES)


def step(model: nn.Module) -> dict[str, Tensor]:
    """What one step of plain gradient descent leaves behind."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    functional.cross_entropy(model(IMAGES), torch.tensor([0, 1, 2, 3])).backward()
    optimiser.step()
    return model.state_dict()


EFFECTS: dict[BatchNorm, tuple[bool, bool]] = {  # statistics adapt, scale and shift are trained
    "frozen": (False, False),
    "statistics": (True, False),
    "affine": (False, True),
    "all": (True, True),
}


@pytest.mark.parametrize("policy", EFFECTS)
@pytest.mark.parametrize("trained", [False, True])
def test_batchnorm_policy_changes_what_it_says_and_nothing_else(policy: BatchNorm, trained: bool) -> None:
    model, mapped = plain()
    parts = (FROZEN, Part(trained=trained, batchnorm=policy), FROZEN)
    before = copy.deepcopy(model.state_dict())
    model.train()
    set_training(model, mapped, parts, HEAD)
    after = step(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    statistics, affine = EFFECTS[policy]
    expected = {"head.weight", "head.bias"} | ({"s2.0.weight"} if trained else set())
    expected |= {f"s2.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")} if statistics else set()
    expected |= {"s2.1.weight", "s2.1.bias"} if affine else set()
    assert changed == expected
    assert (
        set(trained_parameters(model, mapped, parts, HEAD)) | set(updated_buffers(model, mapped, parts, HEAD))
        == expected
    )


def test_running_mean_adapts_by_a_tenth_of_the_batch_mean() -> None:
    model, mapped = plain()
    set_training(model, mapped, (Part(trained=False, batchnorm="statistics"), FROZEN, FROZEN), HEAD)
    means = functional.conv2d(IMAGES, model.s1[0].weight, padding=1).mean((0, 2, 3))
    with torch.no_grad():
        model(IMAGES)
    torch.testing.assert_close(model.s1[1].running_mean, 0.1 * means, rtol=1e-5, atol=1e-7)


def test_modes_follow_stages_and_never_called_modules_stay_out() -> None:
    model, mapped = plain()
    model.train()
    set_training(model, mapped, (FROZEN, FROZEN, Part(trained=True)), HEAD)
    modes = {n: m.training for n, m in model.named_modules()}
    assert modes["s3.0"]
    assert modes["s3"]
    assert modes[""]
    assert modes["head"]
    assert not modes["s3.1"]  # batch norm is frozen by default
    assert not any(modes[n] for n in ("s1", "s1.0", "s1.1", "s2", "s2.2", "auxiliary"))
    assert not model.auxiliary.weight.requires_grad
    assert mapped.parameter_stage["auxiliary.weight"] == 0


def test_all_frozen_trains_the_head_only() -> None:
    model, mapped = plain()
    set_training(model, mapped, (FROZEN,) * 3, HEAD)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    assert trained_parameters(model, mapped, (FROZEN,) * 3, HEAD) == {"head.weight": 4, "head.bias": 4}
    assert updated_buffers(model, mapped, (FROZEN,) * 3, HEAD) == {}


@pytest.mark.parametrize("trained", [False, True])
def test_vectors_of_spectral_norm_change_with_their_stage_only(trained: bool) -> None:
    model, _ = plain()
    nn.utils.parametrizations.spectral_norm(model.s2[0])
    mapped = stage_map(model, IMAGES)
    parts = (FROZEN, Part(trained=trained), FROZEN)
    before = copy.deepcopy(model.state_dict())
    set_training(model, mapped, parts, HEAD)
    after = step(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    vectors = {f"s2.0.parametrizations.weight.0.{n}" for n in ("_u", "_v")}
    assert set(updated_buffers(model, mapped, parts, HEAD)) == (vectors if trained else set())
    assert (vectors <= changed) == trained
    assert changed <= set(trained_parameters(model, mapped, parts, HEAD)) | (vectors if trained else set())


def test_timms_fused_batchnorm_obeys_the_policy() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("mobilenetv3_small_050", num_classes=3)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mapped = stage_map(model, x)
    parts = tuple(Part(trained=True) for _ in mapped.stages)
    model.train()
    set_training(model, mapped, parts, HEAD)
    before = {n: b.clone() for n, b in model.named_buffers()}
    model(x)
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".bn" in n or n.startswith("bn"))
    adapting = tuple(Part(trained=True, batchnorm="all") for _ in mapped.stages)
    set_training(model, mapped, adapting, HEAD)
    model(x)
    changed = {n for n, b in model.named_buffers() if not torch.equal(b, before[n])}
    assert changed == set(updated_buffers(model, mapped, adapting, HEAD))


def test_what_a_frozen_stage_reads_too_stays_frozen() -> None:
    with forked_seed(3):
        tied, shared = Tied(), Shared()
    mapped = stage_map(tied, torch.randn(2, 6))
    frozen_first = trained_parameters(tied, mapped, (FROZEN, HEAD, HEAD), HEAD)
    assert "one.weight" not in frozen_first
    assert {"three.bias", "two.weight"} <= set(frozen_first)
    assert "one.weight" in trained_parameters(tied, mapped, (HEAD, HEAD, HEAD), HEAD)
    mapped = stage_map(shared, IMAGES)
    set_training(shared, mapped, (FROZEN, FROZEN, Part(trained=True, batchnorm="all"), HEAD), HEAD)
    assert not any(m.training for m in shared.block.modules())
    assert not any(p.requires_grad for p in shared.block.parameters())
    assert shared.between[1].training


def test_new_head_is_zero_and_leaves_the_generator_alone() -> None:
    model, mapped = plain()
    state = torch.get_rng_state()
    head = new_head(model, mapped.head, 9)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.head is head
    assert isinstance(head, nn.Conv2d)
    assert torch.equal(model(IMAGES), torch.zeros(4, 9))
    set_training(model, mapped, (FROZEN,) * 3, HEAD)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


def head_of(model: nn.Module, *inputs: Tensor) -> HeadSite:
    return find_head(record(model, inputs))


def test_head_inside_a_container_is_replaced_in_its_place() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Dropout(), nn.Linear(8, 5)))
    site = head_of(model, torch.randn(2, 6))
    assert (site.path, site.kind, site.in_features, site.out_features) == ("2.1", "linear", 8, 5)
    new_head(model, site, 3)
    assert model(torch.randn(2, 6)).shape == (2, 3)


def test_heads_of_awkward_networks_are_found() -> None:
    assert head_of(Mixed(), IMAGES).path == "head"
    assert head_of(Masked(), torch.ones(2, 4, dtype=torch.long)).path == "head"
    assert flat_logits(Mixed()(IMAGES)).shape == (4, 5)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.Softmax(1)), "_softmax comes after it"),
        (nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)), "is a LayerNorm, not a linear layer"),
        (nn.Sequential(nn.Flatten()), "no layer with weights"),
    ],
)
def test_networks_without_a_linear_end_are_refused_with_what_was_found(model: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        find_head(record(model, [torch.randn(2, 6)]))


def test_pooling_is_the_mean_over_everything_but_samples_and_channels() -> None:
    x = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert pool(x, channel_axis=1).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    assert torch.equal(pool(x.permute(0, 2, 3, 1), channel_axis=3), pool(x, channel_axis=1))
    tokens = x.reshape(2, 4, 3)
    assert torch.equal(pool(tokens, channel_axis=2), tokens.mean(1))
    assert pool(x[:, :, 0, 0], channel_axis=1) is not None
    assert torch.equal(pool(x[:, :, 0, 0], channel_axis=1), x[:, :, 0, 0])


def test_channels_are_found_by_the_operations_and_not_by_the_sizes() -> None:
    timm = pytest.importorskip("timm")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    arguments = {"img_size": 32, "window_size": 4, "depths": (1, 1, 1, 1), "embed_dim": 24}
    swin = stage_map(timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, **arguments), x)
    assert [(c.channel_axis, c.shape[c.channel_axis]) for c in swin.cuts if c] == [
        (3, 24),
        (3, 24),
        (3, 48),
        (3, 96),
        (1, 192),
    ]
    convnext = stage_map(timm.create_model("convnext_atto", num_classes=3), x)
    assert [c.channel_axis for c in convnext.cuts if c] == [1, 1, 1, 1, 1]


def test_channels_are_followed_through_a_channel_shuffle() -> None:
    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    end = (nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Shuffle(), *end)
    cut = find_cuts(record(model, [IMAGES]))["out", "1"]
    assert isinstance(cut, Cut)
    assert cut.channel_axis == 1


def test_cut_network_gives_a_linear_layer_on_the_pooled_prefix() -> None:
    model, mapped = plain()
    model.eval()
    short = CutNetwork(mapped.split(model, 2), classes=3)
    assert torch.equal(short(IMAGES), torch.zeros(4, 3))
    nn.init.ones_(short.get_parameter("head.weight"))
    with torch.no_grad():
        expected = model.s2(model.s1(IMAGES)).mean((2, 3)).sum(1)
        torch.testing.assert_close(short(IMAGES), expected[:, None].expand(4, 3))
    assert short.in_features == 4


def test_adapters_hold_what_layers_keep_and_let_a_containers_own_buffer_change() -> None:
    class Counting(nn.Module):
        steps: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)), nn.Linear(6, 6))
            self.head = nn.Linear(6, 3)
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.steps += 1
            scores: Tensor = self.head(self.body(x))
            return scores

    model = Counting()
    mapped = stage_map(model, torch.randn(4, 6))
    parts = tuple(Part(trained=True, what="lora") for _ in mapped.stages)
    set_training(model, mapped, parts, HEAD)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randn(4, 6))
    changed = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    assert changed == {"steps"} == set(updated_buffers(model, mapped, parts, HEAD))


def test_biases_of_recurrent_layers_and_weights_of_gpt2s_layers_are_known() -> None:
    class Conv1D(nn.Module):  # as transformers calls it
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(4, 6)), nn.Parameter(torch.zeros(6))

    kinds = kinds_of(nn.ModuleDict({"gru": nn.GRU(4, 3), "own": Conv1D()}))
    assert kinds.bias == {"gru.bias_ih_l0", "gru.bias_hh_l0", "own.bias"}
    assert kinds.matrices == {"own.weight"}
