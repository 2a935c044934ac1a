"""Strategies by name: what their recipes say of each stage, and how wrong names are answered."""

from __future__ import annotations

import pytest

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import Choices, auto_strategies, make_recipe, spread
from frostline.recipe.terms import origin_summary, term


def stage(index: int, name: str, cuttable: bool = True) -> StageInfo:
    return StageInfo(index=index, name=name, parameters=10, output_shape=(4, 2, 2), stored_bytes=64, operations=100.0,
                     cuttable=cuttable, why_not=None if cuttable else "two tensors are live")  # fmt: skip


STAGES = [stage(1, "stem"), stage(2, "2"), stage(3, "body", cuttable=False), stage(4, "late"), stage(5, "last")]


def test_freeze_freezes_up_to_k_and_trains_the_rest() -> None:
    recipe = make_recipe("freeze@1", STAGES)
    assert [p.trained for p in recipe.phases[0].stages] == [False, True, True, True, True]
    assert recipe.frozen_stages == 1
    assert origin_summary(recipe) == "stages 1 pretrained, frozen; 2-5 pretrained, trained; head new"


def test_probe_at_k_throws_later_stages_away() -> None:
    recipe = make_recipe("probe@2", STAGES)
    assert (recipe.keep, recipe.cut_short, recipe.frozen_stages) == (2, True, 2)
    assert origin_summary(recipe) == "stages 1-2 pretrained, frozen; 3-5 thrown away; head new"


def test_the_last_stage_may_be_named_although_probe_says_the_same() -> None:
    assert not make_recipe("probe@5", STAGES).cut_short
    assert make_recipe("freeze@5", STAGES).frozen_stages == 5


def test_a_stage_name_wins_over_a_number() -> None:
    assert make_recipe("freeze@2", STAGES).frozen_stages == 2  # stage 2 is also called "2"
    assert make_recipe("freeze@late", STAGES).frozen_stages == 4


def test_batchnorm_is_frozen_in_fine_tuning_and_free_from_scratch() -> None:
    assert {p.batchnorm for p in make_recipe("finetune", STAGES).phases[0].stages} == {"frozen"}
    assert {p.batchnorm for p in make_recipe("scratch", STAGES).phases[0].stages} == {"all"}
    changed = make_recipe("finetune", STAGES, Choices(batchnorm="statistics"))
    assert {p.batchnorm for p in changed.phases[0].stages} == {"statistics"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("finetun", "Did you mean 'finetune'"),
        ("freeze@99", "no stage '99'"),
        ("freeze@0", "no stage '0'"),
        ("freeze", "needs a stage"),
        ("finetune@2", "takes no stage"),
        ("probe@body", "two tensors are live"),
        ("probe@", "no stage ''"),
    ],
)
def test_wrong_names_are_answered_with_what_to_type(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said.replace("(", r"\(")):
        make_recipe(name, STAGES)


def test_auto_compares_at_least_eight_on_a_usual_network_and_never_an_unclean_stage() -> None:
    names = auto_strategies(STAGES)
    assert len(names) >= 8
    assert not any(n.endswith("@3") for n in names)
    assert [make_recipe(n, STAGES).name for n in names] == list(names)
    assert all(term(make_recipe(n, STAGES)) for n in names)


def test_spread_is_even_and_holds_the_deepest() -> None:
    assert spread([1, 2, 3, 4, 5], 3) == [2, 3, 5]
    assert spread(list(range(1, 13)), 3) == [4, 8, 12]
    assert spread([1], 3) == [1]
