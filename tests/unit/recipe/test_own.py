"""A user's own recipe: what is shown says the same as the strategy, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.own import OwnRecipe, read_own, recipe_as_file, recipe_of
from frostline.recipe.selection import make_recipe
from frostline.recipe.terms import term

STAGES = [
    StageInfo(index=i, name=n, parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=i != 4)
    for i, n in enumerate("abcdef", 1)
]
NAMES = [n.replace("K", "3") for n in CATALOGUE if n != "baseline"]


def named(strategy: str, /, **changed: Any) -> OwnRecipe:
    return OwnRecipe.model_validate({**recipe_as_file(strategy).model_dump(), **changed})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_the_strategy_under_another_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(recipe_as_file(name, len(STAGES) if name == "gradual" else None).model_dump_json())
    own, data = read_own(file)
    assert data == file.read_bytes()
    made, known = recipe_of(own, STAGES), make_recipe(name, STAGES)
    assert replace(made, name=known.name, kind=known.kind) == known
    assert term(known) == CATALOGUE[name.replace("3", "K")].called
    assert term(made) == term(known)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "freeze@9"}, "name is that of a strategy"),
        ({"rates": []}, "a stepped phase needs rates"),
        ({"rates": [-1.0]}, "rates have to be above 0"),
        ({"keep": 9}, "keep is 9, but the network has 6 stages"),
        ({"keep": 5}, "cut short is trained in its head only"),
        ({"head": "mapped"}, "mapped exactly where it is the network's own"),
        ({"origins": [{"stages": "1-2", "origin": "pretrained"}]}, "nothing is said about stage 3 of 6"),
        ({"origins": [{"stages": "2-", "origin": "pretrained"}]}, "should begin with stage 1"),
        ({"origins": [{"stages": "x", "origin": "pretrained"}]}, "'x' is no range of stages"),
        ({"origins": [{"stages": "1-9", "origin": "pretrained"}]}, "goes beyond the network's 6 stages"),
        ({"origins": [{"stages": "1-", "origin": "new"}]}, "a stage is pretrained or reinitialised"),
        ({"adapter": {"rank": 4, "alpha": 8}}, "no part trains by lora"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe_of(named("freeze@3", **changed), STAGES)


def phases_of(strategy: str, **part: Any) -> list[dict[str, Any]]:
    """The phases of a strategy, the last range of stages of the last phase changed."""
    phases = recipe_as_file(strategy).model_dump()["phases"]
    phases[-1]["stages"][-1] |= part
    return phases


DRAWN = [{"stages": "1-2", "origin": "pretrained"}, {"stages": "3-", "origin": "reinitialised"}]


@pytest.mark.parametrize(
    ("strategy", "changed", "said"),
    [
        ("probe", {"origins": DRAWN}, "reads the pre-trained network"),
        ("lp-ft", {"origins": DRAWN}, "reads the pre-trained network"),
        ("as-is", {"origins": DRAWN}, "reads the pre-trained network"),
        ("continue", {"origins": [{"stages": "1-", "origin": "reinitialised"}]}, "has no pre-trained head"),
        ("lp-ft", {"phases": phases_of("lp-ft")[::-1], "rates": [1e-3]}, "after the first phase there can only be"),
        ("as-is", {"phases": phases_of("as-is") + phases_of("finetune"), "rates": [1e-3]}, "has to be the only one"),
        ("finetune", {"interpolated": True}, "between a solved head and the end"),
        ("finetune", {"phases": phases_of("finetune", what="lora")}, "adapters have no size"),
        ("l2sp", {"phases": phases_of("l2sp", what="lora"), "adapter": {"rank": 2, "alpha": 1}}, "pull doesn't reach"),
        ("lora", {"phases": phases_of("finetune") + phases_of("lora")}, "by lora in one phase and not"),
        (
            "lora",
            {"phases": [{**p, "head": {"trained": True, "what": "lora"}} for p in phases_of("lora")]},
            "trained in all or not at all",
        ),
    ],
)
def test_what_phases_origins_and_adapters_do_not_allow_is_refused(
    strategy: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe_of(named(strategy, **changed), STAGES)


def test_origins_may_be_mixed_and_several_phases_may_take_steps() -> None:
    made = recipe_of(named("freeze@2", origins=DRAWN, phases=phases_of("freeze@2") * 2), STAGES)
    assert (made.frozen_stages, len(made.stepped)) == (2, 2)
    assert made.origins[1:3] == ("pretrained", "reinitialised")


def test_a_shown_gradual_recipe_has_a_phase_for_each_of_its_groups() -> None:
    assert [p.name for p in recipe_as_file("gradual").phases] == [
        "head",
        "stages 4-",
        "stages 3-",
        "stages 2-",
        "stages 1-",
    ]
    assert len(recipe_of(recipe_as_file("gradual"), STAGES).phases) == 5
    assert [p.name for p in recipe_as_file("gradual", 2).phases] == ["head", "stages 2-", "stages 1-"]


def test_a_stage_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"can't be cut after stage 4 \(d\)"):
        recipe_of(named("freeze@4"), STAGES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "mine.json is not a recipe: the file: Invalid JSON"),
        ("{}", "mine.json is not a recipe: format: Field required"),
        (lambda v: {**v, "freeze": 3}, "mine.json is not a recipe: freeze: Extra inputs are not permitted"),
        (lambda v: {**v, "format": 2}, "mine.json is not a recipe: format"),
        (lambda v: {**v, "phases": []}, "mine.json is not a recipe: phases"),
        (lambda v: {**v, "name": "a/b"}, "mine.json is not a recipe: name"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_key(text: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text if isinstance(text, str) else json.dumps(text(recipe_as_file("finetune").model_dump())))
    with pytest.raises(RecipeError) as error:
        read_own(file)
    assert said in error.value.message


@pytest.mark.parametrize("name", ["baseline", "freeze@stem", "freeze", "nothing"])
def test_what_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        recipe_as_file(name)


def test_terms_of_recipes_that_no_strategy_has() -> None:
    value = recipe_as_file("finetune").model_dump()
    part = value["phases"][0]["stages"][0]
    value["phases"][0]["stages"] = [{**part, "stages": "1"}, {**part, "stages": "2-", "trained": False}]
    assert term(recipe_of(OwnRecipe.model_validate(value), STAGES)).startswith("surgical fine-tuning")
