"""Settings are checked once, at the edge, and say what a run depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import RecipeError
from frostline.recipe.recipe import Part, batchnorm_policy
from frostline.recipe.settings import Settings, budget_seconds, settings_from


def settings(**values: Any) -> Settings:
    return Settings(data=Path("data"), model="timm:x", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": -1e-3}, r"--lr -0\.001 is not a learning rate"),
        ({"lr": 0.0}, "--lr 0 is not"),
        ({"lr": float("inf")}, "--lr inf"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"epochs": 0}, r"--epochs 0 is below 1\."),
        ({"batch_size": 1}, "--batch-size 1: BatchNorm"),
        ({"blocks": 0}, "--blocks 0"),
        ({"labels_per_class": -2}, "--labels-per-class -2"),
        ({"size": 0}, "--size 0"),
        ({"threads": 0}, "--threads 0"),
        ({"margin": 1.0}, "--margin 1 is not between"),
        ({"margin": float("nan")}, "--margin nan"),
        ({"abstain": 1.0}, r"--abstain 1\.0 is not between 0 and 1"),
        ({"abstain": float("nan")}, "--abstain nan"),
        ({"abstain": "0.9"}, "--abstain '0.9'"),
        ({"seed": -1}, "--seed -1 is negative"),
        ({"std": (0.2, 0.0)}, "--std 0 is not above 0"),
        ({"strategies": ()}, "--strategies is empty"),
        ({"batchnorm": "frozn"}, "--batchnorm 'frozn' is not a policy"),
        ({"augment": "strong"}, "--augment 'strong' is not known"),
        ({"prefer": "best"}, "--prefer 'best'"),
        ({"budget": 0.0}, r"--budget 0\.0 is not a time"),
        ({"budget": -5}, "--budget -5 is not a time"),
        ({"precision": "fp16"}, "--precision 'fp16'"),
    ],
)
def test_values_out_of_range_are_refused_by_the_options_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        settings(**values)
    assert refused.value.hint


@pytest.mark.parametrize(
    "values", [{"epochs": 2.5}, {"blocks": "3"}, {"seed": 0.5}, {"lr": "1e-3"}, {"augment": 3}, {"batchnorm": 3}]
)
def test_values_of_another_kind_are_refused_in_a_sentence(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        settings(**values)


@pytest.mark.parametrize("std", ["abc", ["a"], object()])
def test_text_for_mean_or_std_is_refused_in_a_sentence(std: Any) -> None:
    with pytest.raises(RecipeError, match="is not a mean or std"):
        settings_from("data", "timm:x", {"std": std})


def test_the_nearest_word_is_named() -> None:
    with pytest.raises(RecipeError) as refused:
        batchnorm_policy("frozn")
    assert refused.value.hint == "Did you mean 'frozen'?"


def test_identity_holds_what_can_change_a_result_and_no_place() -> None:
    same = [settings(), settings(out=Path("a"), resume=True, trust_code=True), settings(store="elsewhere")]
    assert len({json.dumps(s.identity(), sort_keys=True) for s in same}) == 1
    for changed in (
        {"seed": 1},
        {"store": "off"},
        {"threads": 1},
        {"lr": 0.1},
        {"strategies": ("probe",)},
        {"model_args": {"width": 2}},
    ):
        assert settings(**changed).identity() != settings().identity()
    assert settings(max_memory="1GB").identity() == settings().identity()


@pytest.mark.parametrize("values", [{"lr_factor": 0.0}, {"lr_factor": float("nan")}, {"weight_decay": -1.0}])
def test_parts_of_a_recipe_have_rates_above_zero(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Part(trained=True, **values)


def test_only_a_part_with_frozen_statistics_is_frozen() -> None:
    assert Part(trained=False).frozen
    assert not Part(trained=False, batchnorm="statistics").frozen
    assert not Part(trained=True).frozen


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2m ", 120.0), (45, 45.0), (0.5, 0.5)],
)
def test_a_budget_is_given_in_seconds_minutes_or_hours(budget: Any, seconds: float) -> None:
    assert budget_seconds(budget) == seconds
    assert settings_from("data", "timm:x", {"budget": budget}).budget == seconds


@pytest.mark.parametrize("budget", ["", "s", "10 minutes", "-5m", "1e3", "0", "0m", "m10", "inf", "nan", True, "10d"])
def test_a_budget_that_is_no_time_is_refused_in_a_sentence(budget: Any) -> None:
    with pytest.raises(RecipeError, match="is not a time") as refused:
        settings_from("data", "timm:x", {"budget": budget})
    assert "90s, 10m or 1.5h" in refused.value.hint
