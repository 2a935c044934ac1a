"""Cuts of networks that are written in unusual ways, checked apart from frostline's own proof."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from cases.proof import examine
from cases.unusual import EVERY, Four, Hooked, Listening, Restless, Routed
from cases.zoo import by_hand
from frostline.base.errors import ModelError
from frostline.cutting.guard import forked_seed
from frostline.cutting.stages import stage_map, stages

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OFFERED = {"Routed": 1, "Restless": 0, "Twice": 3, "Listening": 2, "PartScripted": 3, "Biased": 5}  # the others: 4


@pytest.mark.filterwarnings("ignore:.*(requires_grad=True|is deprecated)")
@pytest.mark.parametrize("kind", EVERY)
def test_every_cut_of_an_unusual_network_is_exact(kind: type[nn.Module]) -> None:
    with forked_seed(3):
        case = by_hand(kind)
    row = examine(case.model, case.args, case.keywords, other=case.other)
    assert row.wrong == ()
    assert row.offered == OFFERED.get(kind.__name__, 4)


def reasons(model: nn.Module) -> list[str]:
    return [str(stage.why_not) for stage in stages(model.eval(), IMAGES) if not stage.cuttable]


def test_a_network_with_different_outputs_each_time_is_reported_as_such() -> None:
    assert all("different outputs when it runs again on the same samples" in reason for reason in reasons(Restless()))


def test_a_tensor_that_a_hook_keeps_for_later_is_live() -> None:
    assert "made in a.2" in reasons(Listening())[0]


def test_values_that_decide_how_large_tensors_are_forbid_the_cuts_after_them() -> None:
    assert reasons(Routed())[-1] == "values before it decide how large tensors are in the code of the network itself"


def test_activations_have_the_recorded_shape_where_hooks_change_it() -> None:
    model = Hooked().eval()
    mapped = stage_map(model, IMAGES, verify="all")
    shapes = [tuple(mapped.split(model, stage.index).prefix(IMAGES).shape[1:]) for stage in mapped.stages]
    assert shapes == [stage.output_shape for stage in mapped.stages] == [(4, 8, 8), (4,), (6,), (6,)]


def compiled(module: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(module, backend="eager"))


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (lambda: torch.jit.trace(Four().eval(), IMAGES), "is scripted"),
        (lambda: compiled(Four()), "The network is compiled"),
        (lambda: nn.Sequential(compiled(nn.Flatten()), nn.Linear(192, 5)), "The part 0"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "a LazyLinear that has no weights before its first"),
    ],
)
def test_networks_that_cannot_be_watched_are_refused_with_the_reason(model: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        stages(model(), IMAGES)
    assert caught.value.hint


def test_weights_outside_of_modules_are_reported_as_the_problem() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.head = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.conv2d(x, self.kernel).relu().mean((2, 3)))

    with pytest.raises(ModelError, match="its weights are read outside of modules"):
        stages(Bare(), IMAGES)


def test_a_loop_that_waits_for_a_value_ends_in_the_proof() -> None:
    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    class Waiting(Four):
        def __init__(self) -> None:
            super().__init__()
            self.shrink = Half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.b(self.a(x))
            while x.abs().max() > 0.01:
                x = self.shrink(x)
            return self.scores(self.d(self.c(x)))

    with forked_seed(3):
        mapped = stages(Waiting(), IMAGES)
    assert [stage.cuttable for stage in mapped] == [True, False, False, False]
    assert "a loop in Python code before the cut doesn't end" in str(mapped[-1].why_not)
