"""Several networks: which settings hold for each, and the names of their strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import RecipeError
from frostline.planning.sources import entries_of, strategies_for
from frostline.recipe.catalogue import strategy_of
from frostline.recipe.recipe import named_for, source_and_strategy
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.recipe.terms import term
from helpers.race_plans import STAGES


def settings(model: str, **changed: Any) -> Settings:
    return Settings(data=Path("images"), model=model, **changed)


def test_a_single_network_keeps_its_settings() -> None:
    (entry,) = entries_of(settings("glyphs", weights="random"))
    assert entry.label == ""
    assert (entry.settings.model, entry.settings.weights) == ("glyphs", "random")


def test_weights_may_stand_with_a_single_network_too() -> None:
    (entry,) = entries_of(settings("glyphs=random"))
    assert (entry.label, entry.settings.model, entry.settings.weights) == ("", "glyphs", "random")


def test_each_of_several_networks_has_its_weights_and_strategies() -> None:
    entries = entries_of(settings("glyphs,glyphs=random", strategies=("baseline", "probe", "glyphs+finetune")))
    found = {e.label: (e.settings.weights, e.settings.strategies) for e in entries}
    assert found == {
        "glyphs": (None, ("baseline", "probe", "finetune")),
        "glyphs-random": ("random", ("probe",)),
    }


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"size": 32}, "--size"),
        ({"model_args": {"width": 8}}, "--model-args"),
        ({"label_map": Path("m.json")}, "--label-map"),
        ({"pretrain": Path("more")}, "--pretrain can't train several"),
        ({"strategies": ("other+probe",)}, "no network is called other"),
    ],
)
def test_what_does_not_apply_to_several_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        entries_of(settings("glyphs,glyphs=random", **changed))


def test_pretrained_arms_need_the_option() -> None:
    with pytest.raises(RecipeError, match="no network is called pretrain") as found:
        entries_of(settings("glyphs", strategies=("probe", "pretrain+probe")))
    assert "--pretrain FOLDER" in str(found.value.hint)
    (entry,) = entries_of(settings("glyphs", strategies=("probe", "pretrain+finetune"), pretrain=Path("more")))
    assert entry.settings.strategies == ("probe",)
    assert strategies_for(("probe", "pretrain+finetune"), "pretrain", first=False) == ("probe", "finetune")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("probe", ("", "probe")),
        ("glyphs+probe@3", ("glyphs", "probe@3")),
        ("freeze@a+b", ("", "freeze@a+b")),
        ("net+freeze@a+b", ("net", "freeze@a+b")),
        ("recipes/my+own.json", ("", "recipes/my+own.json")),
    ],
)
def test_a_label_stands_before_the_first_mark(name: str, expected: tuple[str, str]) -> None:
    assert source_and_strategy(name) == expected
    assert named_for(*expected) == name


def test_a_labelled_recipe_is_still_the_strategy_of_the_catalogue() -> None:
    recipe = make_recipe("freeze@2", STAGES).with_source("pretrain")
    assert (recipe.name, recipe.source, recipe.plain_name) == ("pretrain+freeze@2", "pretrain", "freeze@2")
    assert recipe.frozen_stages == 2
    assert strategy_of(recipe) is strategy_of(make_recipe("freeze@2", STAGES))
    assert term(recipe) == "own unlabelled data first, then partial fine-tuning"
