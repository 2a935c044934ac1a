"""The strategies that can run here: the class map's part in `auto`, and options without effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import DataError, FrostlineError, RecipeError
from frostline.models.weights import LoadReport
from frostline.planning.choose import ChosenRecipes, check_applicable, choose_recipes
from helpers.train_studies import SETTINGS, mapped

OWN = ("ant", "bee", "cat", "dog", "elk")


def chosen(
    classes: tuple[str, ...], names: tuple[str, ...] | None = OWN, *, report: LoadReport | None = None, **settings: Any
) -> ChosenRecipes:
    network, model, stages = mapped()
    network = replace(network, classes=names, load_report=report)
    asked = replace(SETTINGS, **settings)
    choice = choose_recipes(asked, network, stages, classes)
    check_applicable(asked, choice.recipes, model, stages)
    return choice


def names_of(choice: ChosenRecipes) -> list[str]:
    return [r.name for r in choice.recipes]


def test_auto_takes_the_mapped_strategies_in_where_all_classes_are_known() -> None:
    choice = chosen(("ant", "dog"))
    assert names_of(choice)[:3] == ["baseline", "as-is", "probe"]
    assert {"continue", "lp-ft", "finetune", "scratch"} <= set(names_of(choice))
    assert choice.class_map is not None
    assert choice.class_map.groups == ((0,), (3,))


def test_auto_says_what_is_missing_where_some_are_known() -> None:
    choice = chosen(("ant", "wasp"))
    assert "as-is" not in names_of(choice)
    assert choice.skipped["as-is"] == choice.skipped["continue"] == "the network has no class that means 'wasp'"


@pytest.mark.parametrize("own", [OWN, None])
def test_auto_is_silent_where_none_is_known(own: tuple[str, ...] | None) -> None:
    choice = chosen(("wasp", "moth"), own)
    assert choice.skipped == {}
    assert "as-is" not in names_of(choice)


def test_a_head_that_was_not_loaded_maps_nothing() -> None:
    choice = chosen(("ant", "dog"), report=LoadReport(loaded=3, mismatched=("fc.weight",)))
    assert "head" in choice.skipped["as-is"]


def test_a_map_completes_the_names(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"wasp": ["bee", "elk"]}))
    choice = chosen(("ant", "wasp"), label_map=tmp_path / "map.json")
    assert choice.class_map is not None
    assert choice.class_map.groups == ((0,), (1, 4))


def test_names_from_a_file_have_to_be_as_many_as_the_outputs(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match=r"names.txt names 2 classes, but the network has 5 outputs"):
        chosen(("ant", "bee"), None, source_classes=tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strategies": ("as-is",)}, "as-is can't run: none of your classes"),
        ({"strategies": ("lp-ft",), "head": "mlp"}, "doesn't apply to lp-ft"),
        ({"strategies": ("probe",), "layer_decay": 0.5}, "no strategy here trains a pre-trained stage"),
        ({"strategies": ("scratch",), "layer_decay": 0.5}, "no strategy here trains a pre-trained stage"),
        ({"strategies": ("probe",), "lr": 0.1}, "no strategy here takes steps"),
        ({"strategies": ("freeze@2", "freeze@b")}, "names freeze@2 twice"),
    ],
)
def test_what_would_change_nothing_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(FrostlineError, match=message):
        chosen(("wasp", "moth"), **changed)


def test_a_map_without_a_strategy_that_reads_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"wasp": "bee", "moth": "ant"}))
    with pytest.raises(RecipeError, match="--label-map doesn't apply: no strategy here uses"):
        chosen(("wasp", "moth"), label_map=tmp_path / "map.json", strategies=("probe",))


def test_auto_with_an_mlp_head_leaves_lp_ft_out() -> None:
    choice = chosen(("wasp", "moth"), head="mlp")
    assert "lp-ft" not in names_of(choice)
    assert {r.head_kind for r in choice.recipes if r.name in ("probe", "finetune", "scratch")} == {"mlp"}
