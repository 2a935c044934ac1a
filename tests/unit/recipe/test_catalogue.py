"""Strategies by name: what their recipes say of each stage, and how wrong names are answered."""

from __future__ import annotations

import pytest

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.catalogue import Choices, spread
from frostline.recipe.recipe import Adapter, Part
from frostline.recipe.selection import auto_strategies, make_recipe
from frostline.recipe.terms import origin_summary, term


def stage(index: int, name: str, cuttable: bool = True) -> StageInfo:
    return StageInfo(
        index=index,
        name=name,
        parameters=10,
        output_shape=(4, 2, 2),
        stored_bytes=64,
        operations=100.0,
        cuttable=cuttable,
        why_not=None if cuttable else "two tensors are live",
    )


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


def test_gradual_unfreezes_group_after_group_from_the_head_downwards() -> None:
    recipe = make_recipe("gradual", STAGES)
    trained = [[p.trained for p in phase.stages].count(True) for phase in recipe.phases]
    assert trained == [0, 1, 3, 4, 5]  # groups 5, 3-4, 2, 1 of five stages
    assert [p.lr_factor for p in recipe.phases[-1].stages] == pytest.approx([2.6**-3, 2.6**-2, 1 / 2.6, 1 / 2.6, 1])
    assert {phase.head for phase in recipe.phases} == {Part(trained=True, lr_factor=10.0, weight_decay=1e-4)}
    decayed = make_recipe("gradual", STAGES, Choices(layer_decay=0.5, batchnorm="all")).phases[-1]
    assert [p.lr_factor for p in decayed.stages] == [0.5**k for k in (5, 4, 3, 2, 1)]
    assert {p.batchnorm for p in decayed.stages} == {"all"}
    deep = make_recipe("gradual", [stage(i, f"s{i}") for i in range(1, 13)])
    assert [phase.name for phase in deep.phases] == ["head", "stages 10-", "stages 7-", "stages 4-", "stages 1-"]


@pytest.mark.parametrize(("name", "frozen", "kept"), [("reinit-freeze@2", 2, "frozen"), ("reinit@2", 0, "trained")])
def test_reinit_keeps_the_first_stages_and_draws_the_later_ones_anew(name: str, frozen: int, kept: str) -> None:
    recipe = make_recipe(name, STAGES)
    assert recipe.origins == ("pretrained",) * 2 + ("reinitialised",) * 3
    assert recipe.frozen_stages == frozen
    assert [p.batchnorm for p in recipe.phases[0].stages] == ["frozen"] * 2 + ["all"] * 3
    assert {p.lr_factor for p in (*recipe.phases[0].stages, recipe.phases[0].head)} == {1.0}
    summary = f"stages 1-2 pretrained, {kept}; 3-5 reinitialised, trained; head new"
    assert origin_summary(recipe) == summary


def test_partial_strategies_learn_ten_times_as_fast_as_finetune() -> None:
    slow = make_recipe("finetune", STAGES).rates
    for name in ("norm", "bias", "lora"):
        recipe = make_recipe(name, STAGES)
        assert recipe.rates == pytest.approx([10 * rate for rate in slow])
        assert {p.what for p in recipe.phases[0].stages} == {name}
        assert recipe.partial
        assert (recipe.adapter is not None) == (name == "lora")
    assert {p.batchnorm for p in make_recipe("norm", STAGES).phases[0].stages} == {"affine"}
    assert {p.batchnorm for p in make_recipe("norm", STAGES, Choices(batchnorm="all")).phases[0].stages} == {"all"}


def test_an_adapter_has_a_size() -> None:
    with pytest.raises(RecipeError, match="rank 0"):
        Adapter(rank=0)
