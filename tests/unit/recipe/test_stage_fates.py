"""What is told of each stage: for every strategy of the catalogue it is what its recipe does."""

from __future__ import annotations

from itertools import groupby

import pytest

from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.recipe import Part, Phase, Recipe
from frostline.recipe.selection import make_recipe
from frostline.recipe.terms import origin_summary, stage_fates

STAGES = [
    StageInfo(index=i, name=f"s{i}", parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=True)
    for i in range(1, 6)
]
NAMES = [name.replace("@K", f"@{k}") for name in CATALOGUE for k in ((1, 3, 5) if name.endswith("@K") else (0,))]
EXPECTED = {
    "baseline": (),
    "as-is": (*["pretrained, frozen"] * 5, "pretrained, frozen"),
    "probe": (*["pretrained, frozen"] * 5, "new, trained"),
    "probe@3": (*["pretrained, frozen"] * 3, *["thrown away"] * 2, "new, trained"),
    "freeze@3": (*["pretrained, frozen"] * 3, *["pretrained, trained"] * 2, "new, trained"),
    "finetune": (*["pretrained, trained"] * 5, "new, trained"),
    "continue": (*["pretrained, trained"] * 5, "pretrained, trained"),
    "scratch": (*["reinitialised, trained"] * 5, "new, trained"),
    "reinit-freeze@3": (*["pretrained, frozen"] * 3, *["reinitialised, trained"] * 2, "new, trained"),
    "reinit@3": (*["pretrained, trained"] * 3, *["reinitialised, trained"] * 2, "new, trained"),
    "bias": (*["pretrained, only biases trained"] * 5, "new, trained"),
    "norm": (*["pretrained, only normalisation trained"] * 5, "new, trained"),
    "lora": (*["pretrained, low-rank adapters trained"] * 5, "new, trained"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_fate_is_what_the_recipe_does(name: str) -> None:
    recipe = make_recipe(name, STAGES)
    fates = stage_fates(recipe)
    if not recipe.needs_network:
        assert fates == ()
        return
    assert len(fates) == len(STAGES) + 1
    for index, fate in enumerate(fates[:-1]):
        origin, _, done = fate.partition(", ")
        assert (fate == "thrown away") == (index >= recipe.keep)
        if index < recipe.keep:
            trained = any(phase.stages[index].trained for phase in recipe.phases)
            assert origin == recipe.origins[index]
            assert (done == "frozen") == (not trained)
    head, _, done = fates[-1].partition(", ")
    assert head == recipe.head_origin
    assert (done == "trained") == any(phase.head.trained for phase in recipe.phases)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_fates_of_well_known_strategies(name: str) -> None:
    assert stage_fates(make_recipe(name, STAGES)) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "baseline"])
def test_the_summary_tells_the_same(name: str) -> None:
    recipe = make_recipe(name, STAGES)
    told = []
    for part in origin_summary(recipe).removeprefix("stages ").split("; "):
        span, _, fate = part.partition(" ")
        if span != "head":
            first, _, last = span.partition("-")
            told.append((fate, int(last or first) - int(first) + 1))
    assert told == [(fate, len(list(group))) for fate, group in groupby(stage_fates(recipe)[:-1])]


def test_a_stage_that_a_later_phase_trains_is_trained() -> None:
    frozen = Part(trained=False)
    trained = Part(trained=True)
    first = Phase(name="one", solver="stepped", stages=(frozen, frozen), head=trained)
    second = Phase(name="two", solver="stepped", stages=(frozen, trained), head=trained)
    recipe = Recipe(
        name="mine",
        kind="own",
        origins=("pretrained", "pretrained"),
        head_origin="new",
        keep=2,
        phases=(first, second),
        rates=(1e-3,),
    )
    assert stage_fates(recipe) == ("pretrained, frozen", "pretrained, trained", "new, trained")
