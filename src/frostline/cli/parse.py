"""From the words of a command line to values: comma-separated numbers and names, JSON objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from frostline.base.errors import RecipeError
from frostline.base.files import parse_json
from frostline.recipe.settings import Settings, budget_seconds


def parse_numbers(text: str, *, option: str) -> tuple[float, ...]:
    """Parse `0.5` or `0.485,0.456,0.406`; raise RecipeError for anything else."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        hint = f"As in {option} 0.5 or {option} 0.485,0.456,0.406."
        raise RecipeError(f"{option} {text!r} is neither a number nor comma-separated numbers.", hint) from None


def parse_object(text: str, *, option: str) -> dict[str, Any]:
    """Parse a JSON object; raise RecipeError for anything else."""
    hint = f"""As in {option} '{{"width": 0.5}}'."""
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
        raise RecipeError(f"{option} is not JSON: {error.msg} at character {error.pos + 1}.", hint) from None
    if not isinstance(value, dict):
        raise RecipeError(f"{option} holds a JSON {type(value).__name__}, but an object is expected.", hint)
    return value


def parse_names(text: str) -> tuple[str, ...]:
    """Parse comma-separated names; spaces around them are ignored."""
    names = [part.strip() for part in text.split(",")]
    return tuple(filter(None, names))


def settings_from_options(params: Mapping[str, Any]) -> Settings:
    """Return the settings of `fit` from the parsed options of a verb, which may lack some.

    --plain, --json and --track are no settings. Raises RecipeError for values that can't be read or are out of range.
    """
    values = {f.name: params[f.name] for f in fields(Settings) if f.name in params}
    for name in ("mean", "std"):
        if values[name] is not None:
            values[name] = parse_numbers(values[name], option=f"--{name}")
    values["model_args"] = parse_object(values["model_args"] or "{}", option="--model-args")
    if values.get("budget") is not None:
        values["budget"] = budget_seconds(values["budget"])
    values["strategies"] = parse_names(values["strategies"])
    return Settings(**values)
