"""Part of the sweep over many networks (benchmarks/sweep_cuts.py): every offered cut is exact, enough are offered."""

from __future__ import annotations

import importlib.util

import pytest

from cases import awkward
from cases.proof import examine
from cases.zoo import Entry, entries
from frostline.cutting.guard import forked_seed

PACKAGES = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers", "keras": "keras"}
NAMES = {
    "timm": ("test_resnet", "test_convnext", "test_mambaout", "test_vit_relpos", "cpubone_nano", "test_efficientnet"),
    "torchvision": ("squeezenet1_1", "shufflenet_v2_x0_5"),
    "hf": ("vit", "resnet", "bert", "gpt2", "bart"),
    "keras": ("MobileNet",),
    "by hand": tuple(kind.__name__ for kind in awkward.EVERY),
}
FEW = 4
CHOSEN = [e for e in entries() if e.name in NAMES.get(e.group, ())]


@pytest.mark.parametrize("entry", CHOSEN, ids=lambda e: f"{e.group}-{e.name}")
def test_cuts_of_the_zoo_are_exact(entry: Entry) -> None:
    package = PACKAGES.get(entry.group)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} isn't installed")
    with forked_seed(0):
        case = entry.build()
    row = examine(case.model, case.args, case.keywords, other=case.other)
    assert row.wrong == ()
    assert row.exact == row.offered
    assert row.offered >= FEW or len(row.reasons) == row.stages - row.offered
    assert row.offered >= FEW or entry.group == "by hand"
