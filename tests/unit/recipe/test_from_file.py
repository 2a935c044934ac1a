"""A recipe file says the same as the strategy that it was shown from; whatever is wrong in one is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.from_file import RecipeFile, read_recipe_file, recipe_as_file, recipe_from_file
from frostline.recipe.selection import make_recipe
from frostline.recipe.terms import term

STAGES = [
    StageInfo(index=i, name=n, parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=i != 4)
    for i, n in enumerate("abcdef", 1)
]
NAMES = [n.replace("K", "3") for n in CATALOGUE if n != "baseline"]


def named(strategy: str, /, **changed: Any) -> RecipeFile:
    return RecipeFile.model_validate({**recipe_as_file(strategy).model_dump(), **changed})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_the_strategy_under_another_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    groups_for = None
    if name == "gradual":
        groups_for = len(STAGES)
    file.write_text(recipe_as_file(name, groups_for).model_dump_json())
    content, data = read_recipe_file(file)
    assert data == file.read_bytes()
    mine = recipe_from_file(content, STAGES)
    known = make_recipe(name, STAGES)
    assert replace(mine, name=known.name, kind=known.kind) == known
    assert term(known) == CATALOGUE[name.replace("3", "K")].called
    assert term(mine) == term(known)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "freeze@9"}, "name is that of a strategy"),
        ({"rates": []}, "a stepped phase needs rates"),
        ({"rates": [-1.0]}, "rates have to be above 0"),
        ({"keep": 9}, "keep is 9, but the network has 6 stages"),
        ({"keep": 5}, "cut short only the head can be trained"),
        ({"head": "mapped"}, "a mapped head is the network's own"),
        ({"origins": [{"stages": "1-2", "origin": "pretrained"}]}, "no range covers stage 3 of 6"),
        ({"origins": [{"stages": "2-", "origin": "pretrained"}]}, "should begin with stage 1"),
        ({"origins": [{"stages": "x", "origin": "pretrained"}]}, "'x' is not a range of stages"),
        ({"origins": [{"stages": "1-9", "origin": "pretrained"}]}, "goes beyond the network's 6 stages"),
        ({"origins": [{"stages": "1-", "origin": "new"}]}, "a stage is pretrained or reinitialised"),
        ({"adapter": {"rank": 4, "alpha": 8}}, "no part trains by lora"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_from_file(named("freeze@3", **changed), STAGES)


def phases_of(strategy: str, **part: Any) -> list[dict[str, Any]]:
    """The phases of a strategy, the last range of stages of the last phase changed."""
    phases = recipe_as_file(strategy).model_dump()["phases"]
    phases[-1]["stages"][-1] |= part
    return phases


MIXED_ORIGINS = [{"stages": "1-2", "origin": "pretrained"}, {"stages": "3-", "origin": "reinitialised"}]


@pytest.mark.parametrize(
    ("strategy", "changed", "message"),
    [
        ("probe", {"origins": MIXED_ORIGINS}, "needs pre-trained stages"),
        ("lp-ft", {"origins": MIXED_ORIGINS}, "needs pre-trained stages"),
        ("as-is", {"origins": MIXED_ORIGINS}, "needs pre-trained stages"),
        ("continue", {"origins": [{"stages": "1-", "origin": "reinitialised"}]}, "has no pre-trained head"),
        ("lp-ft", {"phases": phases_of("lp-ft")[::-1], "rates": [1e-3]}, "only stepped phases can follow"),
        ("as-is", {"phases": phases_of("as-is") + phases_of("finetune"), "rates": [1e-3]}, "has to be the only one"),
        ("finetune", {"interpolated": True}, "between a solved head and the end"),
        ("finetune", {"phases": phases_of("finetune", what="lora")}, "adapters have no size"),
        ("l2sp", {"phases": phases_of("l2sp", what="lora"), "adapter": {"rank": 2, "alpha": 1}}, "pull doesn't reach"),
        ("lora", {"phases": phases_of("finetune") + phases_of("lora")}, "by lora in one phase and not"),
        (
            "lora",
            {"phases": [{**p, "head": {"trained": True, "what": "lora"}} for p in phases_of("lora")]},
            "can't be trained in part",
        ),
    ],
)
def test_what_phases_origins_and_adapters_do_not_allow_is_refused(
    strategy: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_from_file(named(strategy, **changed), STAGES)


def test_origins_may_be_mixed_and_several_phases_may_take_steps() -> None:
    recipe = recipe_from_file(named("freeze@2", origins=MIXED_ORIGINS, phases=phases_of("freeze@2") * 2), STAGES)
    assert (recipe.frozen_stages, len(recipe.stepped)) == (2, 2)
    assert recipe.origins[1:3] == ("pretrained", "reinitialised")


def test_a_shown_gradual_recipe_has_a_phase_for_each_of_its_groups() -> None:
    assert [p.name for p in recipe_as_file("gradual").phases] == [
        "head",
        "stages 4-",
        "stages 3-",
        "stages 2-",
        "stages 1-",
    ]
    assert len(recipe_from_file(recipe_as_file("gradual"), STAGES).phases) == 5
    assert [p.name for p in recipe_as_file("gradual", 2).phases] == ["head", "stages 2-", "stages 1-"]


def test_a_stage_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"can't be cut after stage 4 \(d\)"):
        recipe_from_file(named("freeze@4"), STAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "mine.json is not a recipe: the file: Invalid JSON"),
        ("{}", "mine.json is not a recipe: format: Field required"),
        (lambda v: {**v, "freeze": 3}, "mine.json is not a recipe: freeze: Extra inputs are not permitted"),
        (lambda v: {**v, "format": 2}, "mine.json is not a recipe: format"),
        (lambda v: {**v, "phases": []}, "mine.json is not a recipe: phases"),
        (lambda v: {**v, "name": "a/b"}, "mine.json is not a recipe: name"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_key(content: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    if callable(content):
        content = json.dumps(content(recipe_as_file("finetune").model_dump()))
    file.write_text(content)
    with pytest.raises(RecipeError) as error:
        read_recipe_file(file)
    assert message in error.value.message


@pytest.mark.parametrize("name", ["baseline", "freeze@stem", "freeze", "nothing"])
def test_what_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        recipe_as_file(name)


def test_terms_of_recipes_that_no_strategy_has() -> None:
    value = recipe_as_file("finetune").model_dump()
    part = value["phases"][0]["stages"][0]
    value["phases"][0]["stages"] = [{**part, "stages": "1"}, {**part, "stages": "2-", "trained": False}]
    assert term(recipe_from_file(RecipeFile.model_validate(value), STAGES)).startswith("surgical fine-tuning")
