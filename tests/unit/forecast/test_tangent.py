"""Gradients of single samples, read off one batched backward pass, are those of autograd on each sample alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.forecast.groups import Groups, group_parameters
from frostline.forecast.tangent import Tangent, read_tangent
from frostline.recipe.selection import make_recipe
from frostline.train.study import Study
from helpers.train_studies import Net, block, study

ROWS = 9  # more than two chunks of four


class Odd(nn.Module):
    """Layers that are read in their own way: dilated, padded by name, grouped, depthwise, scaled, with a token."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 6, 3, 2, padding=2, dilation=2), nn.GroupNorm(2, 6), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv2d(6, 6, 3, padding="same", groups=6), nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8))
        self.c = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.Hardswish())
        self.d = Tokens()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.d(self.c(self.b(self.a(x)))))
        return scores


class Tokens(nn.Module):
    """A class token, positions, a layer norm, a weight used by matmul, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 37, 8))
        self.norm = nn.LayerNorm(8)
        self.mixed = nn.Parameter(torch.randn(8, 8) / 3)
        self.gamma = nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = x + self.positions
        x = x + torch.relu(self.norm(x) @ self.mixed) * self.gamma
        return x.mean(1)


class Attentive(nn.Module):
    """torch's own attention, whose weights are used inside one function; twelve tokens, a multiple of a chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 4, 4)
        self.b = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        self.c = nn.MultiheadAttention(8, 4)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).flatten(2).transpose(1, 2)[:, :12])
        turned = x.transpose(0, 1)
        x = x + self.c(turned, turned, turned)[0].transpose(0, 1)
        scores: Tensor = self.fc(x.mean(1))
        return scores


class Hidden(nn.Module):
    """A parameter that is used in a way that isn't watched, beside ones that are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = block(3, 4, 2), block(4, 6, 2)
        self.twist = nn.Parameter(torch.rand(6))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x)).mean((2, 3))
        scores: Tensor = self.fc(x * torch.exp(self.twist))
        return scores


def tangent_of(made: Study, *names: str) -> tuple[Tangent, Groups]:
    recipes = [make_recipe(name, made.stages.stages) for name in names]
    groups = group_parameters(made.trunk.model, made.stages, recipes)
    made.features.want(raw=[], pooled=[len(made.stages)], views=1, pooled_views=[0])
    return read_tangent(made.features, groups.members, np.arange(ROWS)), groups


def exact_kernel(made: Study, members: Any, directions: list[Tensor]) -> Tensor:
    """(N, N): inner products of the gradients of v . f(x), one sample at a time."""
    model = made.trunk.model
    named = dict(model.named_parameters())
    head = made.stages.head.path
    taken: list[Tensor] = []
    hook = model.get_submodule(head).register_forward_pre_hook(lambda _m, args: taken.append(args[0]))
    rows = []
    for i in range(ROWS):
        row = []
        for vector in directions:
            model(made.features.inputs(torch.tensor([i]), 0))
            wanted = [named[name].requires_grad_(True) for name in members]
            scalar = (taken.pop().flatten() * vector).sum()
            found = torch.autograd.grad(scalar, wanted, allow_unused=True, materialize_grads=True)
            row.append(torch.cat([g.flatten() for g in found]))
        rows.append(torch.cat(row))
    hook.remove()
    stacked = torch.stack(rows).detach()
    return stacked @ stacked.T


@pytest.mark.parametrize("make", [Net, Odd, Attentive])
def test_inner_products_are_those_of_each_samples_own_gradient(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    monkeypatch.setattr("frostline.forecast.projection.GROUP_SIDE", 99)  # keep every number

    def three(features: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        drawn[:] = [torch.randn(features.shape[1], generator=generator) for _ in range(3)]
        return drawn

    monkeypatch.setattr("frostline.forecast.tangent._directions", three)
    made = study(ROWS, make=make)
    tangent, groups = tangent_of(made, "finetune", "norm", "bias")
    assert not tangent.missing
    for group, members in groups.members.items():
        sketch = tangent.sketch(group).double()
        expected = exact_kernel(made, members, drawn).double()
        # signs cancel in products of a group that isn't folded, so nothing but rounding is left
        assert float((sketch @ sketch.T - expected).norm()) <= 1e-4 * float(expected.norm()), group


def test_the_proof_names_what_is_not_watched_and_keeps_the_rest() -> None:
    tangent, _ = tangent_of(study(ROWS, make=Hidden), "finetune")
    assert list(tangent.missing) == ["twist"]
    assert "isn't watched" in tangent.missing["twist"]
    assert len(tangent.columns) >= 2


def test_the_network_is_left_as_it_was() -> None:
    made = study(ROWS)
    before = {name: (p.requires_grad, p.grad, p.clone()) for name, p in made.trunk.model.named_parameters()}
    tangent_of(made, "finetune")
    for name, parameter in made.trunk.model.named_parameters():
        requires_grad, gradient, values = before[name]
        assert parameter.requires_grad == requires_grad
        assert parameter.grad is gradient
        assert torch.equal(parameter, values)


def test_the_store_gives_the_same_bits_and_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, _ = tangent_of(study(ROWS), "finetune", "norm")
    written, _ = tangent_of(study(ROWS, store=tmp_path), "finetune", "norm")
    assert torch.equal(without.sketches, written.sketches)
    monkeypatch.setattr("frostline.forecast.tangent._sketches", lambda *_: pytest.fail("computed again"))
    read, _ = tangent_of(study(ROWS, store=tmp_path), "finetune", "norm")
    assert torch.equal(read.sketches, written.sketches)
    assert torch.equal(read.features, written.features)


def test_a_folded_group_keeps_inner_products_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, groups = tangent_of(study(ROWS), "finetune")
    monkeypatch.setattr("frostline.forecast.projection.WIDTH", 97)
    folded, _ = tangent_of(study(ROWS), "finetune")
    kernels = []
    for tangent in (whole, folded):
        kernels.append(sum(tangent.sketch(g) @ tangent.sketch(g).T for g in groups.members))
    assert folded.sketches.shape[1] < whole.sketches.shape[1]
    error = float((kernels[1] - kernels[0]).norm() / kernels[0].norm())
    assert error < 0.25  # a random fold to 97 numbers in each of three directions


def test_a_layer_decay_weighs_the_groups() -> None:
    made = study(ROWS)
    recipe = make_recipe("finetune", made.stages.stages)
    phase = recipe.phases[-1]
    slower = tuple(replace(part, lr_factor=0.5**i) for i, part in enumerate(reversed(phase.stages), 1))[::-1]
    slowed = replace(recipe, phases=(replace(phase, stages=slower),))
    weights = group_parameters(made.trunk.model, made.stages, [slowed]).weights["finetune"]
    assert weights["4 matrix"] == 0.5
    assert weights["1 matrix"] == 0.5**4
