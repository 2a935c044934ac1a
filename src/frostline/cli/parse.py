"""From the words of a command line to values: numbers with commas, JSON objects, names with commas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from frostline.base.errors import RecipeError
from frostline.recipe.settings import Settings, budget_seconds


def parse_numbers(text: str, *, option: str) -> tuple[float, ...]:
    """`0.5` or `0.485,0.456,0.406`; raises RecipeError for anything else."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        hint = f"As in {option} 0.5 or {option} 0.485,0.456,0.406."
        raise RecipeError(f"{option} {text!r} is neither a number nor numbers with commas between.", hint) from None


def parse_object(text: str, *, option: str) -> dict[str, Any]:
    """A JSON object; raises RecipeError for anything else."""
    hint = f"""As in {option} '{{"width": 0.5}}'."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(f"{option} is not JSON: {error.msg} at character {error.pos + 1}.", hint) from None
    if not isinstance(value, dict):
        raise RecipeError(f"{option} holds a JSON {type(value).__name__}, but an object is expected.", hint)
    return value


def parse_names(text: str) -> tuple[str, ...]:
    """Names with commas between; blanks around them don't count."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def settings_from_options(params: Mapping[str, Any]) -> Settings:
    """The settings of `fit` from its parsed options (of which the drawing takes --plain and --json for itself).

    Raises RecipeError for values that can't be read or are out of range.
    """
    given = {f.name: params[f.name] for f in fields(Settings)}
    for name in ("mean", "std"):
        if given[name] is not None:
            given[name] = parse_numbers(given[name], option=f"--{name}")
    given["model_args"] = parse_object(given["model_args"], option="--model-args") if given["model_args"] else {}
    given["budget"] = budget_seconds(given["budget"]) if given["budget"] is not None else None
    given["strategies"] = parse_names(given["strategies"])
    return Settings(**given)
