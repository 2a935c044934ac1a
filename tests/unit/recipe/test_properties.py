"""Recipes as files: they come back as they were, and whatever else is in a file is refused as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.from_file import RecipeFile, read_recipe_file, recipe_as_file, recipe_from_file
from frostline.recipe.recipe import Recipe
from helpers.odd_values import FEW, JSON, SEEDS, as_json, damaged, edited

STAGES = [
    StageInfo(index=i, name=n, parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=True)
    for i, n in enumerate("abcd", 1)
]
SHOWN = ("probe", "freeze@2", "finetune", "lora", "scratch", "gradual")
PARTS = st.fixed_dictionaries(
    {"trained": st.booleans()},
    optional={
        "lr_factor": st.floats(0.01, 10),
        "weight_decay": st.floats(0, 0.1),
        "batchnorm": st.sampled_from(["frozen", "statistics", "affine"]),
    },
)


@st.composite
def recipe_files(draw: st.DrawFn) -> dict[str, Any]:
    """Recipes of one stepped phase, whose stages are cut into ranges anywhere."""
    ends = sorted({*draw(st.lists(st.integers(1, 3), max_size=3)), 4})
    starts = [1, *(end + 1 for end in ends[:-1])]
    spans = [f"{first}-{last}" if last > first else str(first) for first, last in zip(starts, ends, strict=True)]
    origins = [{"stages": span, "origin": draw(st.sampled_from(["pretrained", "reinitialised"]))} for span in spans]
    stages = [{**draw(PARTS), "stages": span} for span in spans]
    phase = {"name": "train", "solver": "stepped", "stages": stages, "head": {**draw(PARTS), "trained": True}}
    rates = draw(st.lists(st.floats(1e-5, 1e-1), min_size=1, max_size=3, unique=True))
    return {"format": 1, "name": "mine", "origins": origins, "phases": [phase], "rates": rates}


def taken(path: Path) -> Recipe | RecipeError:
    """The recipe that a file holds for four stages; a refusal is an answer too."""
    try:
        file, data = read_recipe_file(path)
        assert data == path.read_bytes()
        return recipe_from_file(file, STAGES)
    except RecipeError as error:
        return error


@FEW
@given(value=recipe_files())
def test_a_recipe_comes_back_as_it_was_written(value: dict[str, Any], tmp_path: Path) -> None:
    file = RecipeFile.model_validate(value)
    path = tmp_path / "mine.json"
    path.write_text(file.model_dump_json())
    assert read_recipe_file(path)[0] == file
    again = taken(path)
    path.write_bytes(as_json(value))
    assert taken(path) == again or (isinstance(again, RecipeError) and str(taken(path)) == str(again))


@FEW
@given(value=JSON)
def test_any_json_value_is_a_recipe_or_a_recipe_error(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(as_json(value))
    assert isinstance(taken(path), RecipeError)


@pytest.mark.parametrize("name", SHOWN)
@FEW
@given(seed=SEEDS)
def test_an_edited_recipe_is_a_recipe_or_a_recipe_error(name: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    value = json.loads(recipe_as_file(name).model_dump_json())
    path.write_bytes(as_json(edited(value, seed)))
    taken(path)
    path.write_bytes(damaged(as_json(value), seed))
    taken(path)
